"""A small host, with and without sealing."""

from collections.abc import Iterator

import pytest

from hypercbt.lab.wire.server import WireOptions, WireServer
from lab.wire.tiny import Tiny


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer(Tiny(), users={"lab": "geheim"}) as server:
        yield server


@pytest.fixture
def in_clear() -> Iterator[WireServer]:
    options = WireOptions(allow_unencrypted=True, max_envelope_bytes=20_000)
    with WireServer(Tiny(), users={"lab": "geheim"}, options=options) as server:
        yield server

"""A host of three machines, and a session with it."""

from collections.abc import Iterator

import pytest

from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.wire.server import WireServer
from integration.hyperv.wsman.asking import LAB
from lab.wire.tiny import Tiny


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercbt.hyperv.conversation._FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture
def server(tiny: Tiny) -> Iterator[WireServer]:
    with WireServer(tiny, users={"lab": "lab"}) as server:
        yield server


@pytest.fixture
def session(server: WireServer) -> Iterator[WsmanSession]:
    with WsmanSession.open(server.url, credentials=LAB) as session:
        yield session

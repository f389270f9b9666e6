"""A bench whose conversations are looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.hyperv.watched import Watched, watched


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Watched]:
    with watched(tmp_path) as made:
        yield made

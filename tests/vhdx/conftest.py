import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .readers import OurReader, Reader, SlowReader, SlowVhdReader


@pytest.fixture(params=[OurReader, SlowReader], ids=["hypercbt", "slow"])
def reader(request: pytest.FixtureRequest) -> Reader:
    """Every case is held against the reader under test and against the second opinion."""
    made: Reader = request.param()
    return made


@pytest.fixture(params=[OurReader, SlowVhdReader], ids=["hypercbt", "slow"])
def vhd_reader(request: pytest.FixtureRequest) -> Reader:
    """The same for legacy VHD."""
    made: Reader = request.param()
    return made


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Like pytest's, but gone after the test: these files are many and large."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)

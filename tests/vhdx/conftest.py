import pytest

from .readers import OurReader, Reader, SlowReader


@pytest.fixture(params=[OurReader, SlowReader], ids=["hypercbt", "slow"])
def reader(request: pytest.FixtureRequest) -> Reader:
    """Every case is held against the reader under test and against the second opinion."""
    made: Reader = request.param()
    return made

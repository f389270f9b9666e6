"""A folder for sockets."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name: a socket's path has at most about a hundred characters, and `tmp_path` may have more."""
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        yield Path(name)

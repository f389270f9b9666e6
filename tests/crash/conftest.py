"""A worker for the whole session, and folders where a sync costs nothing."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scene import fast_folder
from .workers import Worker, started_worker


@pytest.fixture(scope="module", autouse=True)
def forks_are_possible() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked here, which this system cannot do")


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    with started_worker() as started:
        yield started


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    """A folder for the scenes of one module."""
    with tempfile.TemporaryDirectory(prefix="hypercbt-", dir=fast_folder()) as name:
        yield Path(name)


@pytest.fixture
def folder(folders: Path) -> Iterator[Path]:
    """A folder for one test."""
    with tempfile.TemporaryDirectory(dir=folders) as name:
        yield Path(name)

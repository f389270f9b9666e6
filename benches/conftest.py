"""Seeded disks, built once per session."""

import random
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from hypercbt import Extents, Repository, RestorePoint, backup_disk
from seeded import CHUNK, DISK_BYTES, piece


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk, all of it data."""
    path = tmp_path_factory.mktemp("disk") / "disk.img"
    rng = random.Random(1)
    with path.open("wb") as file:
        for _ in range(DISK_BYTES // CHUNK):
            file.write(piece(rng, CHUNK))
    return path


@pytest.fixture(scope="session")
def changed(disk: Path) -> tuple[Path, Extents]:
    """The same disk with 1 % of it changed in pieces of 64 KiB, and where."""
    path = disk.with_name("changed.img")
    path.write_bytes(disk.read_bytes())
    rng = random.Random(2)
    count = max(1, DISK_BYTES // 100 // (64 << 10))
    places = [
        slot * (64 << 10) for slot in rng.sample(range(DISK_BYTES // (64 << 10)), count)
    ]
    with path.open("r+b") as file:
        for at in places:
            file.seek(at)
            file.write(piece(rng, 64 << 10))
    flat = array("Q", (number for at in sorted(places) for number in (at, 64 << 10)))
    return path, Extents(flat)


@pytest.fixture(scope="session")
def filled(
    disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Repository, RestorePoint]:
    """A repository that holds the disk."""
    repository = Repository.create(tmp_path_factory.mktemp("filled"))
    return repository, backup_disk(disk, repository=repository, name="bench")


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Repository]:
    """Make an empty repository."""
    return lambda: Repository.create(tmp_path_factory.mktemp("empty"))

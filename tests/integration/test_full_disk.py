"""A repository that gets full at every stage of a run: nothing is lost, and later it goes on.

The repository is on a small file system in memory, which only root may mount.
"""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import hypercbt
from hypercbt import Repository, RestorePoint, errors
from support import files_under, overwrite

CHUNK = 64 << 10
SMALL_BYTES = 6 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 6 MiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path_factory.mktemp("small")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "none", str(folder)]
    try:
        mounted = (
            subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Nearly:
    """A repository with one point, on a file system that can be filled up to any number of free bytes."""

    def __init__(self, small: Path, disk: Path) -> None:
        self.small = small
        self.disk = disk
        self.filler = small / "filler"
        self.repository = Repository.create(
            small / f"repository-{disk.stem}", chunk_size=CHUNK
        )
        rng = random.Random(1)
        disk.write_bytes(rng.randbytes(2 * CHUNK))
        self.point = self.back_up()
        self.state = disk.read_bytes()
        disk.write_bytes(rng.randbytes(20 * CHUNK))

    def back_up(self) -> RestorePoint:
        return hypercbt.backup_disk(self.disk, repository=self.repository)

    def leave(self, free_bytes: int) -> None:
        """Fill the file system up to this many free bytes."""
        self.filler.unlink(missing_ok=True)
        usage = os.statvfs(self.small)
        with self.filler.open("wb") as file:
            file.write(bytes(max(0, usage.f_bavail * usage.f_frsize - free_bytes)))

    def check_older(self) -> None:
        assert self.point.open().read() == self.state
        assert self.repository.verify().clean
        assert files_under(Path(self.repository.path, "tmp")) == []


@pytest.fixture
def nearly(small: Path, tmp_path: Path) -> Iterator[Nearly]:
    made = Nearly(small, tmp_path / "web01.raw")
    yield made
    for name in files_under(small):
        (small / name).unlink()
    for folder, _, _ in os.walk(small, topdown=False):
        if folder != str(small):
            Path(folder).rmdir()


def test_it_may_get_full_at_any_stage(nearly: Nearly) -> None:
    """Page by page at the start, where leases stand, and at the end, where index and point do."""
    chunks = 20 * CHUNK // 4096
    steps = [0, 1, 2, 3, 16, 100, *range(chunks - 4, chunks + 20)]
    full = 0
    for pages in steps:
        nearly.leave(pages * 4096)
        try:
            nearly.back_up()
        except errors.RepositoryFullError as error:
            full += 1
            assert (error.exit_code, error.retryable) == (4, True)  # noqa: PT017
            assert len(nearly.repository.points()) == 1
        else:
            break
        nearly.check_older()
    assert full >= 10
    assert len(nearly.repository.points()) == 2
    nearly.check_older()


def test_after_space_was_freed_the_next_run_completes(nearly: Nearly) -> None:
    nearly.leave(10 * CHUNK)
    with pytest.raises(errors.RepositoryFullError, match="space"):
        nearly.back_up()
    nearly.filler.unlink()
    point = nearly.back_up()
    assert point.open().read() == nearly.disk.read_bytes()
    nearly.check_older()


def test_a_full_repository_can_still_be_read_and_deleted_from(
    nearly: Nearly, tmp_path: Path
) -> None:
    second = nearly.back_up()
    nearly.leave(0)
    assert len(nearly.repository.points()) == 2
    second.restore(tmp_path / "out.raw")
    assert (tmp_path / "out.raw").read_bytes() == nearly.disk.read_bytes()
    nearly.repository.delete(second)
    nearly.check_older()


def test_damage_in_a_full_repository_is_reported_and_said_to_be_unlisted(
    nearly: Nearly,
) -> None:
    """The damage list cannot be written then; that is no reason to keep the damage secret."""
    [pack] = Path(nearly.repository.path, "pack").rglob("*/*")
    pack.chmod(0o644)
    overwrite(pack, (300, b"damaged"))
    nearly.leave(0)
    report = nearly.repository.verify()
    assert not report.clean
    assert report.damaged
    assert report.unlisted is not None
    nearly.filler.unlink()
    report = nearly.repository.verify()
    assert not report.clean
    assert report.unlisted is None

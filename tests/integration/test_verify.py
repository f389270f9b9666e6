"""What a verification reads, what it calls clean, and whom it covers."""

import os
import random
from pathlib import Path

import pytest

from hypercbt import Repository, backup_disk, errors

CHUNK = 64 << 10


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", chunk_size=CHUNK)


def make_disk(path: Path, seed: int, chunks: int = 32) -> Path:
    path.write_bytes(random.Random(seed).randbytes(chunks * CHUNK))
    return path


def change(path: Path, chunk: int, seed: int) -> None:
    with path.open("r+b") as file:
        file.seek(chunk * CHUNK)
        file.write(random.Random(seed).randbytes(CHUNK))


def flip(repository: Repository, at: int) -> None:
    """Flip a bit of the one pack."""
    [pack] = Path(repository.path, "pack").glob("*/*")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_what_is_new_since_a_point_is_new_for_every_machine(
    repository: Repository, tmp_path: Path
) -> None:
    a, b = make_disk(tmp_path / "a.img", 1), make_disk(tmp_path / "b.img", 2)
    backup_disk(a, repository=repository)
    since = backup_disk(b, repository=repository)
    for disk in (a, b):
        change(disk, 3, seed=9 + disk.stat().st_ino)
        backup_disk(disk, repository=repository)
    report = repository.verify(since=since)
    assert report.points == 2
    assert report.chunks == 2, "each machine has its own base"
    assert report.clean


def test_a_machine_that_is_newer_than_the_point_is_verified_whole(
    repository: Repository, tmp_path: Path
) -> None:
    since = backup_disk(make_disk(tmp_path / "a.img", 1), repository=repository)
    backup_disk(make_disk(tmp_path / "b.img", 2), repository=repository)
    assert repository.verify(since=since).chunks == 32


def test_damage_that_was_stored_again_is_told_and_no_longer_counts(
    repository: Repository, tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "a.img", 1)
    first = backup_disk(disk, repository=repository)
    flip(repository, at=300)
    report = repository.verify()
    assert not report.clean
    assert [record.lost for record in report.damaged] == [True]
    # Verifying again does not make it better.
    assert not repository.verify().clean

    backup_disk(disk, repository=repository)
    report = repository.verify()
    assert report.clean
    assert [(record.lost, record.healed) for record in report.damaged] == [
        (False, True)
    ]
    first.restore(tmp_path / "out.img")
    assert (tmp_path / "out.img").read_bytes() == disk.read_bytes()


def test_new_damage_counts_even_where_another_place_holds_the_chunk(
    repository: Repository, tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "a.img", 1)
    backup_disk(disk, repository=repository)
    flip(repository, at=300)
    assert not repository.verify().clean
    flip(repository, at=300 + CHUNK + 96)
    report = repository.verify()
    assert not report.clean
    assert len(report.damaged) == 2


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_only_a_regular_file_is_ever_replaced(
    repository: Repository, tmp_path: Path, kind: str
) -> None:
    point = backup_disk(make_disk(tmp_path / "a.img", 1), repository=repository)
    output, aim = tmp_path / "out.img", tmp_path / "aim"
    aim.write_bytes(b"precious")
    if kind == "pipe":
        os.mkfifo(output)
    elif kind == "link":
        output.symlink_to(aim)
    else:
        output.mkdir()
    before = output.lstat()
    with pytest.raises(errors.TargetError, match="not a regular file"):
        point.restore(output, overwrite=True)
    assert output.lstat().st_mode == before.st_mode
    assert output.lstat().st_ino == before.st_ino
    assert aim.read_bytes() == b"precious"
    assert not list(tmp_path.glob(".*.part"))

"""Bad input, line by line: a typed error or a defined result, and nothing lost."""

import os
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

import hypercbt
from hypercbt import Repository, VirtualDisk, errors
from support import files_under, overwrite, write_disk
from support import hypercbt as run
from vhdx.generator import Image, full, partial

CHUNK = 64 << 10
MIB = 1 << 20
OTHER_ID = UUID("0badf00d-0000-4000-8000-0123456789ab")

PARENT = Image(size=4 * MIB, name="parent.vhdx", blocks={0: full("p")})
CHILD = Image(
    size=4 * MIB, name="child.vhdx", parent=PARENT, blocks={1: partial("own", 0b101)}
)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", chunk_size=CHUNK)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "web01.raw"
    write_disk(path)
    return path


# Disks.


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.raw", b""),
        ("odd.raw", bytes(513)),
    ],
)
def test_what_is_no_disk_is_refused(
    tmp_path: Path, repository: Repository, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(errors.UnsupportedDiskError, match=name):
        hypercbt.backup_disk(path, repository=repository)
    assert repository.points() == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("start.vhd", b"conectix" + bytes(1016)),
        ("start.img", b"conectix" + bytes(1016)),
        ("footer.img", bytes(1024) + b"conectix" + bytes(504)),
        ("raw.vhd", bytes(1024)),
    ],
)
def test_a_vhd_without_a_valid_footer_is_corrupt_and_no_raw_disk(
    tmp_path: Path, repository: Repository, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(errors.VhdxCorruptError, match=f"the footer of .*{name}"):
        hypercbt.backup_disk(path, repository=repository)
    assert repository.points() == []


def test_a_folder_and_a_missing_file_are_no_disks(
    tmp_path: Path, repository: Repository
) -> None:
    for path in (tmp_path, tmp_path / "absent.vhdx"):
        with pytest.raises(errors.SourceError, match=path.name):
            hypercbt.backup_disk(path, repository=repository)
    assert run("inspect", tmp_path / "absent.vhdx").exit_code == 1


def test_a_truncated_vhdx_is_refused_and_harms_no_older_point(
    tmp_path: Path, repository: Repository
) -> None:
    path = Image(size=4 * MIB, blocks={n: full(n) for n in range(4)}).write(tmp_path)
    first = hypercbt.backup_disk(path, repository=repository, name="web01")
    for length in (5, 100_000, 2 * MIB, path.stat().st_size - 3 * MIB // 2):
        os.truncate(path, length)
        with pytest.raises(errors.SourceError):
            hypercbt.backup_disk(path, repository=repository, name="web01")
    assert repository.points() == [first]
    assert repository.verify().clean


def test_two_blocks_at_one_place_are_a_corrupt_vhdx(
    tmp_path: Path, repository: Repository
) -> None:
    blocks = {0: full("a", at=8 * MIB), 1: full("b", at=8 * MIB)}
    path = Image(size=4 * MIB, blocks=blocks).write(tmp_path)
    with pytest.raises(errors.VhdxCorruptError):
        hypercbt.backup_disk(path, repository=repository)
    assert run("inspect", path).exit_code == 3


def test_a_missing_a_wrong_and_a_cyclic_parent_are_refused(
    tmp_path: Path, repository: Repository
) -> None:
    child = CHILD.write(tmp_path)
    with pytest.raises(errors.ParentDiskError):
        hypercbt.backup_disk(child, repository=repository)
    replace(PARENT, data_guid=OTHER_ID).write(tmp_path)
    with pytest.raises(errors.ParentDiskError):
        hypercbt.backup_disk(child, repository=repository)
    shutil.copyfile(child, tmp_path / PARENT.name)  # its parent is a child of itself
    with pytest.raises(errors.ParentDiskError):
        hypercbt.backup_disk(child, repository=repository)
    PARENT.write(tmp_path)
    point = hypercbt.backup_disk(child, repository=repository)
    assert point.open().read() == CHILD.expected(0, CHILD.size)


def test_a_disk_whose_size_changed_is_compared_and_not_patched(
    repository: Repository, disk: Path
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    os.truncate(disk, 12 << 20)
    data = overwrite(disk, (11 << 20, b"grown"))
    grown = hypercbt.backup_disk(disk, repository=repository)
    assert grown.open().read() == data
    assert grown.stats.new_bytes == CHUNK
    os.truncate(disk, 5 << 20)
    shrunk = hypercbt.backup_disk(disk, repository=repository)
    assert shrunk.open().read() == disk.read_bytes()
    assert first.open().read()[: 5 << 20] == shrunk.open().read()


def test_another_disk_under_the_same_name_is_refused_until_it_is_said(
    tmp_path: Path, repository: Repository
) -> None:
    one = Image(size=4 * MIB, name="web01.vhdx", blocks={0: full("one")})
    path = one.write(tmp_path)
    first = hypercbt.backup_disk(path, repository=repository)
    vhdx = tmp_path / "other.vhdx"
    first.restore(vhdx, new_disk_id=True)
    with pytest.raises(errors.DiskIdentityError):
        hypercbt.backup_disk(vhdx, repository=repository, name="web01")
    done = run("backup", vhdx, "-r", repository.path, "--name", "web01")
    assert done.exit_code == 1
    assert "new disk" in done.stderr
    done = run("backup", vhdx, "-r", repository.path, "--name", "web01", "--new-disk")
    assert done.exit_code == 0, done.stderr
    assert len(repository.points("web01")) == 2


@pytest.mark.parametrize("act", ["grows", "shrinks", "changes"])
def test_a_disk_that_somebody_writes_to_makes_no_point(
    repository: Repository, disk: Path, act: str
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    stat = disk.stat()

    def interfere(*_: object) -> None:
        if act == "changes":
            overwrite(disk, (3, b"changed"))
            os.utime(disk, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
        else:
            os.truncate(disk, (16 << 20) if act == "grows" else (2 << 20))

    with pytest.raises(errors.SourceError) as caught:
        hypercbt.backup_disk(disk, repository=repository, full=True, progress=interfere)
    if act != "shrinks":  # there a read may fail first
        assert isinstance(caught.value, errors.SourceChangedError)
        assert caught.value.retryable
    assert repository.points() == [first]
    assert repository.verify().clean


# Lists of changes.


@pytest.mark.parametrize("extent", [(8 << 20, 1), ((8 << 20) - 1, 2), (1 << 50, 1)])
def test_a_change_outside_the_disk_is_misuse(
    repository: Repository, disk: Path, extent: tuple[int, int]
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    with pytest.raises(ValueError, match="outside"):
        hypercbt.backup_disk(disk, repository=repository, changes=[extent], since=first)
    assert repository.points() == [first]


@pytest.mark.parametrize("extent", [(-1, 5), (0, -5), ((1 << 64) - 1, 2)])
def test_a_change_that_is_no_extent_is_misuse(
    repository: Repository, disk: Path, extent: tuple[int, int]
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    with pytest.raises((ValueError, OverflowError)):
        hypercbt.backup_disk(disk, repository=repository, changes=[extent], since=first)


def test_a_list_without_since_is_misuse_on_the_command_line_too(
    tmp_path: Path, repository: Repository, disk: Path
) -> None:
    changes = tmp_path / "changes.json"
    changes.write_text("[[0, 1]]")
    done = run("backup", disk, "-r", repository.path, "--changes", changes, "--json")
    assert done.exit_code == 2
    assert done.document["error"]["type"] == "ValueError"
    assert repository.points() == []


def test_a_since_that_is_missing_or_of_another_disk_is_refused(
    tmp_path: Path, repository: Repository, disk: Path
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    other = hypercbt.backup_disk(disk, repository=repository, name="other")
    gone = hypercbt.backup_disk(disk, repository=repository)
    repository.delete(gone)
    for since, error in (
        (other, errors.DiskIdentityError),
        (gone, errors.HypercbtError),
        ("f" * 32, errors.PointNotFoundError),
    ):
        with pytest.raises(error):
            hypercbt.backup_disk(
                disk, repository=repository, changes=[(0, 1)], since=since
            )
    assert repository.points("web01") == [first]


def test_half_a_pair_on_standard_input_is_misuse(
    repository: Repository, disk: Path
) -> None:
    hypercbt.backup_disk(disk, repository=repository)
    done = run(
        "backup", disk, "-r", repository.path, "--changes", "-",
        "--since", "web01@latest",
        stdin=struct.pack("<Q", 0),
    )  # fmt: skip
    assert done.exit_code == 2
    assert len(repository.points()) == 1


# Repositories.


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        with pytest.raises(errors.RepositoryNotFoundError, match=name):
            hypercbt.backup_disk(disk, repository=tmp_path / name)
    assert run("points", "-r", tmp_path / "empty").exit_code == 4
    assert not (tmp_path / "absent").exists()


def test_a_repository_of_a_newer_format_is_refused(
    repository: Repository, disk: Path
) -> None:
    config = Path(repository.path, "config")
    config.chmod(0o644)
    overwrite(config, (8, struct.pack("<H", 1)))
    with pytest.raises(errors.RepositoryError) as caught:
        hypercbt.backup_disk(disk, repository=repository.path)
    # The format stands before the checksum that covers it, so either may speak first.
    assert isinstance(
        caught.value, errors.RepositoryFormatError | errors.IntegrityError
    )


def test_init_where_something_stands_is_refused(
    tmp_path: Path, repository: Repository
) -> None:
    before = files_under(Path(repository.path))
    with pytest.raises(errors.RepositoryExistsError):
        Repository.create(repository.path)
    assert files_under(Path(repository.path)) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(errors.RepositoryExistsError):
        Repository.create(tmp_path / "full")
    assert files_under(tmp_path / "full") == ["letter.txt"]
    with pytest.raises(errors.RepositoryExistsError):
        Repository.create(tmp_path / "full" / "letter.txt")


def test_a_size_that_no_number_holds_is_misuse(tmp_path: Path) -> None:
    done = run("init", "-r", tmp_path / "new", "--chunk-size", "9" * 30)
    assert done.exit_code == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size", [0, 1000, 32 << 10, 8 << 20, 100_000, 1 << 40])
def test_a_chunk_size_that_is_not_allowed_is_misuse(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        Repository.create(tmp_path / "new", chunk_size=size)
    assert files_under(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_repository_that_is_not_writable_is_out_of_reach(
    repository: Repository, disk: Path
) -> None:
    folders = [Path(folder) for folder, _, _ in os.walk(repository.path)]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with pytest.raises(errors.RepositoryUnavailableError):
            hypercbt.backup_disk(disk, repository=repository)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_two_backups_of_one_name_at_once_both_complete(
    tmp_path: Path, repository: Repository
) -> None:
    disks = [tmp_path / "a.raw", tmp_path / "b.raw"]
    states = [write_disk(path, seed=number) for number, path in enumerate(disks)]
    barrier = threading.Barrier(2)

    def back_up(disk: Path) -> hypercbt.RestorePoint:
        barrier.wait()
        return hypercbt.backup_disk(disk, repository=repository, name="web01")

    with ThreadPoolExecutor(2) as pool:
        points = list(pool.map(back_up, disks))
    for point, state in zip(points, states, strict=True):
        assert point.open().read() == state
    assert {point.id for point in repository.points("web01")} == {p.id for p in points}
    assert repository.verify().clean


# Restore targets.


def test_a_target_that_exists_is_left_alone_unless_overwrite_is_said(
    tmp_path: Path, repository: Repository, disk: Path
) -> None:
    point = hypercbt.backup_disk(disk, repository=repository)
    target = tmp_path / "target.raw"
    target.write_bytes(b"precious")
    with pytest.raises(errors.TargetExistsError, match=r"target\.raw"):
        point.restore(target)
    assert target.read_bytes() == b"precious"
    done = run("restore", "web01@latest", target, "-r", repository.path, "--json")
    assert (done.exit_code, done.document["error"]["type"]) == (1, "TargetExistsError")
    point.restore(target, overwrite=True)
    assert target.read_bytes() == disk.read_bytes()


def test_a_target_in_a_folder_that_is_not_there_is_an_error(
    tmp_path: Path, repository: Repository, disk: Path
) -> None:
    point = hypercbt.backup_disk(disk, repository=repository)
    with pytest.raises(errors.TargetError):
        point.restore(tmp_path / "nowhere" / "target.raw")


def test_a_source_is_never_written(repository: Repository, disk: Path) -> None:
    disk.chmod(0o444)
    before = (disk.read_bytes(), disk.stat().st_mtime_ns)
    hypercbt.backup_disk(disk, repository=repository)
    with VirtualDisk.open(disk) as opened:
        opened.inspect()
    assert (disk.read_bytes(), disk.stat().st_mtime_ns) == before

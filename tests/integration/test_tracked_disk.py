"""A disk that the lab tracks, from Python."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercbt import Extents, Repository, VirtualDisk, backup_disk
from hypercbt.errors import (
    ChangeTrackingLostError,
    DiskInUseError,
    SourceError,
    TrackerFileError,
    VhdxCorruptError,
)
from hypercbt.lab import TrackedDisk

KIB = 1 << 10
MIB = 1 << 20
DOCS = Path(__file__).parents[2] / "docs"
DISK_BYTES = 8 * MIB
UNKNOWN_ID = "rctX:00000000:0000:0000:0000:000000000000:00000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web01.vhdx"


@pytest.fixture
def disk(path: Path) -> Iterator[TrackedDisk]:
    with TrackedDisk.create(path, DISK_BYTES) as opened:
        yield opened


def test_what_is_written_is_read_and_reported(disk: TrackedDisk) -> None:
    assert (disk.size, disk.logical_sector_size) == (DISK_BYTES, 512)
    sealed = disk.seal()
    disk.write_at(3 * 4096, b"x" * 512)
    disk.write_at(MIB, bytearray(b"y" * 4096))
    disk.zero(MIB, 512)
    disk.unmap(5 * MIB, 512)
    assert disk.read_at(3 * 4096, 513) == b"x" * 512 + b"\0"
    assert disk.read_at(MIB, 1024) == bytes(512) + b"y" * 512
    changes = disk.changes_since(sealed)
    assert changes == Extents([(3 * 4096, 4096), (MIB, 4096), (5 * MIB, 4096)])


def test_ids_are_kept_until_they_are_forgotten(path: Path, disk: TrackedDisk) -> None:
    first, second = disk.seal(), disk.seal()
    assert disk.ids == [first, second]
    disk.forget(first)
    with pytest.raises(ChangeTrackingLostError, match="not an id that is kept"):
        disk.changes_since(first)
    disk.close()
    with TrackedDisk.open(path) as again:
        assert again.tracking.state == "continued"
        assert again.ids == [second]


def test_a_frozen_file_is_backed_up_while_the_guest_goes_on(
    path: Path, disk: TrackedDisk, tmp_path: Path
) -> None:
    repository = Repository.create(tmp_path / "repository")
    disk.write_at(0, b"a" * MIB)
    frozen = disk.freeze()
    checkpoint = disk.frozen
    assert checkpoint is not None
    assert (checkpoint.id, checkpoint.file) == (frozen.id, path)
    assert re.fullmatch(r"web01_[0-9A-F-]{36}\.avhdx", checkpoint.leaf.name)
    disk.write_at(0, b"b" * 4096)
    first = backup_disk(frozen.file, repository=repository)
    disk.thaw()
    assert disk.frozen is None
    assert not checkpoint.leaf.exists()
    second_frozen = disk.freeze()
    changes = disk.changes_since(frozen.id)
    second = backup_disk(
        second_frozen.file,
        repository=repository,
        changes=changes,
        since=first,
        audit="off",
    )
    assert changes == Extents([(0, 4096)])
    assert first.open().read(MIB) == b"a" * MIB
    assert second.open().read(MIB) == b"b" * 4096 + b"a" * (MIB - 4096)


def test_what_cannot_be_done_is_refused(path: Path, disk: TrackedDisk) -> None:
    for misuse in (
        lambda: disk.thaw(),
        lambda: disk.write_at(1, b"x" * 512),
        lambda: disk.write_at(0, b"x"),
        lambda: disk.write_at(DISK_BYTES, b"x" * 512),
        lambda: disk.zero(DISK_BYTES - 512, 1024),
        lambda: disk.unmap(2**64 - 512, 1024),
        lambda: disk.read_at(DISK_BYTES - 1, 2),
        lambda: disk.read_at(0, 2**60),
        lambda: disk.changes_since("no id"),
        lambda: TrackedDisk.create(path.with_name("odd.vhdx"), 513),
        lambda: TrackedDisk.create(path.with_name("odd.vhdx"), MIB, block_size=3),
    ):
        with pytest.raises(ValueError, match=r"."):
            misuse()
    with pytest.raises(ValueError, match="not frozen"):
        disk.discard()
    with pytest.raises(ValueError, match="volatile"):
        disk.cut_power()
    disk.freeze()
    with pytest.raises(ValueError, match="checkpoints"):
        disk.resize(2 * DISK_BYTES)
    with pytest.raises(ChangeTrackingLostError):
        disk.changes_since(UNKNOWN_ID)
    with pytest.raises(SourceError):
        TrackedDisk.create(path, DISK_BYTES)
    with pytest.raises(SourceError):
        TrackedDisk.open(path.with_name("none.vhdx"))
    disk.write_at(0, b"")
    disk.zero(0, 0)
    assert disk.read_at(0, DISK_BYTES) == bytes(DISK_BYTES)


def test_a_disk_is_written_by_one_process_at_a_time(
    path: Path, disk: TrackedDisk
) -> None:
    with pytest.raises(DiskInUseError):
        TrackedDisk.open(path)
    disk.freeze()
    with pytest.raises(DiskInUseError):
        TrackedDisk.open(path)
    disk.close()
    TrackedDisk.open(path).close()


def test_a_closed_disk_is_used_no_more(disk: TrackedDisk) -> None:
    disk.close()
    disk.close()
    with pytest.raises(ValueError, match="closed"):
        disk.read_at(0, 512)


def test_files_of_the_trackers_names_that_are_not_ours_are_left_alone(
    path: Path, disk: TrackedDisk
) -> None:
    disk.close()
    for name in (f"{path.name}.rct", f"{path.name}.mrt"):
        theirs = path.with_name(name)
        ours = theirs.read_bytes()
        theirs.write_bytes(b"somebody else's" * 1000)
        with pytest.raises(TrackerFileError):
            TrackedDisk.open(path)
        assert theirs.read_bytes() == b"somebody else's" * 1000
        theirs.write_bytes(ours)
    with TrackedDisk.open(path) as again:
        assert again.tracking.state == "continued"


def test_a_disk_whose_file_is_broken_is_refused(path: Path, disk: TrackedDisk) -> None:
    disk.close()
    with path.open("r+b") as file:
        file.seek(64 * KIB)
        file.write(bytes(128 * KIB))
    with pytest.raises(VhdxCorruptError):
        TrackedDisk.open(path)


def test_threads_write_at_once_and_a_freeze_waits_for_them(disk: TrackedDisk) -> None:
    def write(part: int) -> None:
        for number in range(64):
            disk.write_at((part * 64 + number) * 4096, bytes([number + 1]) * 4096)

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    frozen = disk.freeze()
    for thread in threads:
        thread.join()
    changed = disk.changes_since(frozen.id)
    with VirtualDisk.open(frozen.file) as base:
        for at in range(0, 256 * 4096, 4096):
            assert base.read_at(at, 1) == disk.read_at(at, 1) or at in changed


def test_checkpoints_stand_one_over_the_other(
    path: Path, disk: TrackedDisk, tmp_path: Path
) -> None:
    held = []
    for number in range(1, 9):
        disk.write_at(0, bytes([number]) * 4096)
        disk.freeze()
        held.append(bytes([number]))
    with pytest.raises(ValueError, match="8 checkpoints"):
        disk.freeze()
    disk.write_at(0, b"x" * 4096)
    checkpoints = disk.checkpoints
    assert checkpoints[0].file == path
    assert disk.frozen == checkpoints[-1]
    assert len({checkpoint.file for checkpoint in checkpoints}) == 8
    for checkpoint, byte in zip(checkpoints, held, strict=True):
        with VirtualDisk.open(checkpoint.file) as frozen:
            assert frozen.read_at(0, 1) == byte
    for left in range(7, -1, -1):
        disk.thaw()
        assert len(disk.checkpoints) == left
        assert disk.read_at(0, 4096) == b"x" * 4096
    assert sorted(tmp_path.iterdir()) == [
        path,
        path.with_name("web01.vhdx.mrt"),
        path.with_name("web01.vhdx.rct"),
    ]


def test_a_freeze_tells_what_had_changed_until_then(disk: TrackedDisk) -> None:
    first = disk.seal()
    disk.write_at(0, b"x" * 512)
    second = disk.seal()
    frozen = disk.freeze(since=[first, second, UNKNOWN_ID])
    disk.write_at(MIB, b"x" * 512)
    assert frozen.changes == {first: Extents([(0, 4096)]), second: Extents([])}
    assert disk.freeze().changes == {}
    with pytest.raises(ValueError, match="no id"):
        disk.freeze(since=["no id"])


def test_a_disk_goes_back_to_its_newest_checkpoint_and_no_id_is_believed(
    path: Path, disk: TrackedDisk
) -> None:
    disk.write_at(0, b"a" * 512)
    sealed = disk.freeze().id
    disk.write_at(0, b"b" * 512)
    disk.discard()
    assert disk.read_at(0, 512) == b"a" * 512
    assert disk.tracking.state == "lost"
    assert disk.tracking.reason == "the disk was reverted to a checkpoint"
    with pytest.raises(ChangeTrackingLostError, match="reverted to a checkpoint"):
        disk.changes_since(sealed)
    assert [checkpoint.file for checkpoint in disk.checkpoints] == [path]
    disk.thaw()
    disk.close()
    with TrackedDisk.open(path) as again:
        assert again.tracking.state == "continued"


def test_a_layer_of_a_checkpoint_alone_is_over_the_frozen_file(
    disk: TrackedDisk, tmp_path: Path
) -> None:
    auto = tmp_path / "web01-auto.avhdx"
    disk.write_at(0, b"a" * 1024)
    with pytest.raises(ValueError, match="not frozen"):
        disk.add_layer(auto, [])
    disk.freeze()
    disk.write_at(0, b"b" * 1024)
    disk.add_layer(auto, [(512, b"c" * 512), (4096, bytearray(b"d" * 512))])
    with VirtualDisk.open(auto) as checkpoint:
        assert checkpoint.read_at(0, 1024) == b"a" * 512 + b"c" * 512
        assert checkpoint.read_at(4096, 512) == b"d" * 512
    assert disk.read_at(0, 1024) == b"b" * 1024
    with pytest.raises(SourceError):
        disk.add_layer(auto, [])
    assert disk.frozen is not None
    with pytest.raises(ValueError, match="only files of the disk"):
        disk.add_layer(disk.frozen.leaf, [])
    with pytest.raises(ValueError, match=r"."):
        disk.add_layer(tmp_path / "odd.avhdx", [(1, b"x")])
    assert not (tmp_path / "odd.avhdx").exists()
    auto.unlink()
    disk.thaw()


def test_a_disk_gets_another_size_and_forgets_its_ids(
    path: Path, disk: TrackedDisk
) -> None:
    sealed = disk.seal()
    disk.resize(2 * DISK_BYTES)
    assert disk.size == 2 * DISK_BYTES
    disk.write_at(2 * DISK_BYTES - 512, b"x" * 512)
    with pytest.raises(ChangeTrackingLostError, match="resized"):
        disk.changes_since(sealed)
    with pytest.raises(SourceError):
        disk.resize(MIB)
    disk.close()
    with TrackedDisk.open(path) as again:
        assert (again.size, again.tracking.state) == (2 * DISK_BYTES, "continued")


def test_killing_a_volatile_disk_loses_what_was_not_flushed_and_nothing_else(
    path: Path, disk: TrackedDisk
) -> None:
    sealed = disk.seal()
    disk.close()
    guest = (
        "import os, sys\n"
        "from hypercbt.lab import TrackedDisk\n"
        "disk = TrackedDisk.open(sys.argv[1], volatile=True)\n"
        "disk.write_at(0, b'a' * 4096)\n"
        "disk.flush()\n"
        "disk.write_at(0, b'b' * 4096)\n"
        "disk.write_at(4096, b'b' * 4096)\n"
        "os.abort()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", guest, path], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGABRT
    with TrackedDisk.open(path) as again:
        assert again.tracking.state == "continued"
        assert again.read_at(0, 8192) == b"a" * 4096 + bytes(4096)
        assert 0 in again.changes_since(sealed)


def test_a_power_cut_inside_a_process_loses_what_was_not_flushed(path: Path) -> None:
    TrackedDisk.create(path, DISK_BYTES).close()
    disk = TrackedDisk.open(path, volatile=True)
    sealed = disk.seal()
    disk.write_at(0, b"a" * 4096)
    disk.flush()
    disk.write_at(0, b"b" * 4096)
    disk.write_at(4096, b"b" * 4096)
    disk.cut_power()
    disk.close()
    disk.cut_power()
    with pytest.raises(ValueError, match="closed"):
        disk.read_at(0, 512)
    with TrackedDisk.open(path, volatile=True) as again:
        assert again.tracking.state == "continued"
        assert again.read_at(0, 8192) == b"a" * 4096 + bytes(4096)
        assert 0 in again.changes_since(sealed)


def test_a_power_cut_stops_a_merge_of_another_thread_and_the_next_open_ends_it(
    path: Path,
) -> None:
    TrackedDisk.create(path, 64 * MIB).close()
    disk = TrackedDisk.open(path, volatile=True)
    disk.write_at(0, b"a" * MIB)
    sealed = disk.freeze().id
    for number in range(32):
        disk.write_at(number * MIB, bytes([number + 1]) * MIB)
    disk.flush()
    ended: list[Exception | None] = []

    def merge() -> None:
        try:
            disk.thaw()
        except (SourceError, ValueError) as error:
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=merge)
    thread.start()
    # Whenever it comes, before the merge, in it or after it: nothing that was flushed is lost.
    disk.cut_power()
    thread.join()
    assert len(ended) == 1
    with TrackedDisk.open(path) as again:
        assert again.tracking.state == "continued"
        for number in range(32):
            assert again.read_at(number * MIB, 1) == bytes([number + 1])
        assert 31 * MIB in again.changes_since(sealed)


def test_the_python_of_the_document_runs(tmp_path: Path) -> None:
    document = (DOCS / "lab.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "import TrackedDisk" in block)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    with Repository.open(tmp_path / "repository") as repository:
        newest, first = repository.points("disk")
    methods = [point.disks[0].stats.method for point in (first, newest)]
    assert methods == ["full", "list"]

"""What the demo puts on its disk: it must be real content that a broken disk breaks."""

import random
import shutil
from pathlib import Path

import pytest

from hypercbt.demo import file_systems
from hypercbt.demo.file_systems import (
    Archive,
    Ext4,
    FileSystem,
    Sample,
    choose_file_system,
    take_sample,
)
from hypercbt.demo.images import changed_pages

DISK_BYTES = 48 << 20


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return take_sample(tmp_path / "sample", 4 << 20, random.Random(1))


@pytest.fixture(params=["ext4", "tar"])
def file_system(request: pytest.FixtureRequest) -> FileSystem:
    if request.param == "tar":
        return Archive("no e2fsprogs")
    found = choose_file_system()
    if not isinstance(found, Ext4):
        pytest.skip("e2fsprogs is not installed")
    return found


def test_a_guest_changes_some_of_the_disk_and_leaves_it_whole(
    tmp_path: Path, sample: Sample, file_system: FileSystem
) -> None:
    before, after = tmp_path / "before.raw", tmp_path / "after.raw"
    file_system.make(before, DISK_BYTES, sample)
    assert before.stat().st_size == DISK_BYTES
    assert file_system.check(before) is None
    shutil.copyfile(before, after)
    writes = file_system.change(after, sample, random.Random(2))
    assert after.stat().st_size == DISK_BYTES
    assert file_system.check(after) is None
    assert writes.added
    assert writes.rewritten
    assert writes.deleted
    assert writes.pages == 64
    changed = sum(length for _, length in changed_pages(before, after, 4096))
    assert 64 * 4096 <= changed < DISK_BYTES // 2


def test_a_broken_disk_does_not_pass(
    tmp_path: Path, sample: Sample, file_system: FileSystem
) -> None:
    image = tmp_path / "disk.raw"
    file_system.make(image, DISK_BYTES, sample)
    with image.open("r+b") as file:
        file.write(random.Random(3).randbytes(64 << 10))
    assert file_system.check(image)


def test_the_sample_is_bounded_and_copied(sample: Sample) -> None:
    assert sample.files
    assert sample.total_bytes <= (4 << 20) + file_systems.DATABASE_BYTES
    assert all((sample.folder / name).is_file() for name in sample.files)


def test_without_e2fsprogs_the_demo_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    found = choose_file_system()
    assert isinstance(found, Archive)
    assert found.note is not None
    assert "e2fsprogs is not installed (mke2fs, debugfs, e2fsck missing)" in found.note

"""Restore points as values."""

from typing import Any, cast

import pytest

from hypercbt import _native, asdict
from hypercbt.points import RestorePoint, point_from_document, restore_format
from support import POINT_ID, disk_document, point_document, stats_document

NO_REPOSITORY = cast("_native.Repository", None)


def point(**changed: Any) -> RestorePoint:
    return point_from_document(point_document(**changed), NO_REPOSITORY)


class FakeRepository:
    """Notes what it is asked to restore."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def restore_disk(self, *arguments: object, **options: object) -> str:
        self.calls.append((*arguments, options))
        return '{"disk_bytes": 9, "written_bytes": 5, "read_bytes": 3, "elapsed_micros": 2000000}'


def test_a_native_document_becomes_a_point() -> None:
    web = point()
    assert web.id == POINT_ID
    assert web.created.isoformat() == "2026-01-02T03:04:05.678901+00:00"
    assert web.stats.elapsed_seconds == 1.5
    assert web.disks[0].stats.stored_bytes == 400
    assert web.disks[0].stats.disk == web.disks[0].name == "disk0"


def test_a_count_that_a_newer_core_adds_is_no_error() -> None:
    disk = disk_document(stats=stats_document(invented_bytes=1))
    assert not hasattr(point(disks=[disk]).disks[0].stats, "invented_bytes")


def test_the_json_of_a_point_names_its_disks() -> None:
    document = asdict(point())
    assert document["restore_point"] == POINT_ID
    assert document["machine"] == "file:web01"
    (disk,) = cast("list[dict[str, object]]", document["disks"])
    assert disk["index"] == 0
    assert disk["disk_format"] == "raw"
    assert disk["stored_bytes"] == 400


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.vhdx", "vhdx"), ("a.VHDX", "vhdx"), ("a.raw", "raw"), ("b/a.img", "raw")],
)
def test_the_suffix_says_the_format(name: str, expected: str) -> None:
    assert restore_format(name, None) == expected


def test_the_format_that_is_said_wins_over_the_suffix() -> None:
    assert restore_format("disk.bak", "raw") == "raw"
    assert restore_format("disk.vhdx", "raw") == "raw"
    assert restore_format("disk.vhd", "vhd-fixed") == "vhd-fixed"


def test_a_suffix_says_the_format() -> None:
    names = ["a.vhdx", "a.VHD", "a.img", "a.raw"]
    assert [restore_format(name, None) for name in names] == [
        "vhdx",
        "vhd",
        "raw",
        "raw",
    ]


@pytest.mark.parametrize("name", ["disk", "disk.avhd", "disk.avhdx", ".vhdx"])
def test_a_name_that_does_not_say_the_format_is_misuse(name: str) -> None:
    with pytest.raises(ValueError, match="does not say the format"):
        restore_format(name, None)


def test_an_unknown_format_is_misuse() -> None:
    with pytest.raises(ValueError, match="no restore format"):
        restore_format("disk.vhdx", "qcow2")


def test_a_point_of_several_disks_wants_to_know_which() -> None:
    two = point(disks=[disk_document(0), disk_document(1)])
    with pytest.raises(ValueError, match=r"2 disks \(disk0, disk1\)"):
        two.restore("disk.raw")
    with pytest.raises(ValueError, match="say which"):
        two.open()


def test_a_disk_is_found_by_its_number() -> None:
    two = point(disks=[disk_document(0), disk_document(3)])
    assert two.disk(3).name == "disk3"
    with pytest.raises(ValueError, match="has no disk 1; it has 0, 3"):
        two.disk(1)


def test_a_restore_says_what_it_did() -> None:
    repository = FakeRepository()
    web = point_from_document(point_document(), cast("_native.Repository", repository))
    report = web.restore("out.vhdx", overwrite=True)
    ((point_id, index, output, options),) = repository.calls
    assert (point_id, index, output) == (POINT_ID, 0, "out.vhdx")
    assert options["format"] == "vhdx"
    assert options["overwrite"] is True
    assert report.written_bytes == 5
    assert report.elapsed_seconds == 2.0

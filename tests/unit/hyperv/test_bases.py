"""Which restore point a disk's changes are asked from."""

from typing import Any

import pytest

from hypercbt.hyperv.bases import (
    Base,
    Baseline,
    BaselineDisk,
    baselines_of,
    choose,
    ids_of,
    older,
)
from unit.hyperv.pretend import VM, Scene, vm_disk

DISK = vm_disk()
STANDING = frozenset({"rp-1", "rp-2"})


def baseline(number: int, **changed: Any) -> Baseline:
    disk = {
        "disk_id": DISK.disk_id,
        "size": DISK.size,
        "rct_id": f"rctX:{number}",
        "location": DISK.location,
        **changed,
    }
    return Baseline(f"point-{number}", f"RP-{number}", (BaselineDisk(**disk),))


def test_the_newest_point_with_a_baseline_is_the_base() -> None:
    found = choose(DISK, [baseline(2), baseline(1)], STANDING)
    assert found == Base("point-2", "rctX:2")


def test_a_point_whose_reference_point_is_gone_is_passed_over() -> None:
    found = choose(DISK, [baseline(3), baseline(1)], STANDING)
    assert found == Base("point-1", "rctX:1")


def test_a_disk_of_another_size_has_no_base() -> None:
    found = choose(DISK, [baseline(2, size=1)], STANDING)
    assert isinstance(found, str)
    assert "had 1 bytes" in found


def test_a_disk_that_no_baseline_knows_has_no_base() -> None:
    assert isinstance(choose(vm_disk(slot=9), [baseline(2)], STANDING), str)


def test_a_disk_without_an_identity_has_no_base() -> None:
    nameless = (
        Scene(vm_disk()).active[0].__class__("a", r"C:\a.vhdx", "vhdx", "SCSI 0:0")
    )
    assert isinstance(choose(nameless, [baseline(2)], STANDING), str)


def test_a_disk_that_hangs_elsewhere_now_is_the_same_disk() -> None:
    found = choose(DISK, [baseline(2, location="IDE 0:0")], STANDING)
    assert found == Base("point-2", "rctX:2")


def test_copies_of_one_disk_are_told_apart_by_their_place() -> None:
    one, two = baseline(1).disks[0], baseline(2, location="SCSI 0:1").disks[0]
    both = Baseline("point-2", "RP-2", (one, two))
    assert choose(DISK, [both], STANDING) == Base("point-2", "rctX:1")
    moved = vm_disk(slot=5, disk_id=DISK.disk_id)
    assert isinstance(choose(moved, [both], STANDING), str)


def test_a_copy_that_was_added_later_does_not_take_the_others_base() -> None:
    copy = vm_disk(slot=1, disk_id=DISK.disk_id)
    assert isinstance(choose(copy, [baseline(2)], STANDING, copies=True), str)
    assert choose(DISK, [baseline(2)], STANDING, copies=True) == Base(
        "point-2", "rctX:2"
    )


def test_guids_are_compared_whatever_their_case() -> None:
    assert DISK.disk_id is not None
    found = choose(DISK, [baseline(2, disk_id=DISK.disk_id.upper())], STANDING)
    assert found == Base("point-2", "rctX:2")


def test_only_baselines_of_the_machine_count() -> None:
    scene = Scene()
    scene.add_baseline("one", "RP-1")
    scene.add_baseline("two", "RP-2", machine="vm:another")
    found = baselines_of(f"vm:{VM}", scene.baselines)
    assert [b.point for b in found] == ["one"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_reference_points_of_ours_stay(count: int) -> None:
    scene = Scene()
    points = [scene.add_reference_point(f"RP-{n}") for n in range(count)]
    assert older([baseline(n) for n in reversed(range(count))], points) == []


def test_what_is_older_than_two_goes_and_foreign_ones_are_not_counted() -> None:
    scene = Scene()
    points = [scene.add_reference_point(f"RP-{n}") for n in range(4)]
    foreign = scene.add_reference_point("foreign")
    gone = older([baseline(n) for n in (3, 2, 1, 0)], [foreign, *points])
    assert ids_of(gone) == {"rp-0", "rp-1"}


def test_a_reference_point_that_is_gone_is_not_one_of_the_two_that_stay() -> None:
    scene = Scene()
    points = [scene.add_reference_point(f"RP-{n}") for n in (0, 1)]
    assert older([baseline(n) for n in (3, 2, 1, 0)], points) == []

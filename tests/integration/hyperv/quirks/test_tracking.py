"""The quirks of change tracking, Q21 to Q24 (hyperv-rct (b)), through whole backups: as in test_quirks.py."""

from pathlib import Path
from typing import Literal

import pytest

from hypercbt.lab import Quirks
from integration.hyperv.backups import MIB, overwrite
from integration.hyperv.quirks.shows import CHANGES
from integration.hyperv.watched import Watched, watched


def test_q21_empty_and_whole_answers_are_answers(world: Watched) -> None:
    vm = world.web01()
    (disk,) = vm.disks
    world.backup(consistency="crash")
    for pretended, read in (([], 0), ([(0, disk.size)], disk.size)):
        disk.pretend(pretended)
        point = world.backup(consistency="crash", audit="off")
        assert world.methods(point) == ["rct"]
        assert point.stats.read_bytes == read


@pytest.mark.parametrize("how", ["return", "job", "fault"])
def test_q22_each_way_of_not_knowing_means_a_comparison(
    tmp_path: Path, how: Literal["return", "job", "fault"]
) -> None:
    codes = [*range(0xC03A0020, 0xC03A0025), 0xC03A0029, 0xC03A002A, 0xC03A0030]
    with watched(tmp_path, quirks=Quirks(lost=how)) as world:
        vm = world.web01()
        world.backup()
        for code in codes:
            overwrite(vm, code)
            vm.disks[0].lose_tracking(code)
            reason = world.reason(world.backup())
            assert "change tracking was lost" in reason
            if how != "return":
                assert f"0x{code:08X}" in reason
            world.assert_clean(vm)


def test_q22_an_id_that_was_purged_under_its_reference_point_means_a_comparison(
    world: Watched,
) -> None:
    vm = world.web01()
    world.backup()
    overwrite(vm, 1)
    tracked = vm.disks[0].tracked
    for known in tracked.ids:
        tracked.forget(known)
    assert len(vm.reference_points) == 1
    assert "change tracking was lost" in world.reason(world.backup())
    overwrite(vm, 2)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    world.assert_clean(vm)


def test_q22_the_id_that_was_sealed_is_asked_for(world: Watched) -> None:
    vm = world.web01(disks=[4 * MIB] * 2)
    world.backup()
    overwrite(vm, 1)
    (point,) = vm.machine.points.values()
    point.disks[:] = [(place, "rctX:another") for place, _ in point.disks]
    assert world.methods(world.backup()) == ["rct"] * 2
    listed = "".join(world.wire.answers("Msvm_VirtualSystemReferencePoint"))
    assert "rctX:another" in listed
    assert "rctX:another" not in "".join(world.wire.asked(CHANGES))
    world.assert_clean(vm)


def test_q23_a_disk_that_comes_back_is_told_from_what_it_was(world: Watched) -> None:
    vm = world.web01(disks=[4 * MIB] * 2)
    world.backup()
    kept = vm.disks[0].state
    vm.detach("SCSI 0:0")
    overwrite(vm, 1)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    named = "".join(world.wire.answers("Msvm_VirtualSystemReferencePoint"))
    assert named.count("VirtualDiskIdentifiers>") > 2
    vm.attach(kept)
    overwrite(vm, 2)
    point = world.backup(audit="off")
    assert world.methods(point)[1] == "rct"
    world.assert_clean(vm)


def test_q24_a_disk_that_was_written_behind_the_trackers_back_is_compared(
    world: Watched,
) -> None:
    vm = world.web01()
    world.backup()
    file = vm.disks[0].files[0]
    world.lab.model.files.close(vm.machine)
    for suffix in (".rct", ".mrt"):
        file.with_name(file.name + suffix).unlink()
    overwrite(vm, 1)
    assert "change tracking was lost" in world.reason(world.backup())
    overwrite(vm, 2)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    world.assert_clean(vm)

"""The failure table of hyperv-rct (a), B11 to B14: failures after the data has been read, on a host that fails so."""

from pathlib import Path

import pytest

from hypercbt.errors import (
    HostUnreachableError,
)
from hypercbt.lab import LabVm, Pace
from hypercbt.lab.faults import (
    Drop,
    Effect,
    FailJob,
    Return,
)
from integration.hyperv.backups import Bench, bench, overwrite
from integration.hyperv.failing import ALWAYS, cured, fail


@pytest.mark.parametrize(
    "what", [FailJob(0x8007052F - (1 << 32), "0x8007052f"), Return(32768), Return(5)]
)
def test_b11_a_conversion_that_fails_costs_a_comparison_and_no_more(
    world: Bench, vm: LabVm, what: Effect
) -> None:
    fail(world, "ConvertToReferencePoint", what, times=ALWAYS)
    done = world.try_backup()
    world.compare(done.point)
    assert "no baseline" in done.point.stats.findings[0]
    world.assert_clean(vm)
    assert vm.reference_points == ()
    world.lab.faults.clear()
    point = world.backup()
    assert world.methods(point) == ["compare"]


def test_b11_a_conversion_whose_answer_was_lost_is_found(
    world: Bench, vm: LabVm
) -> None:
    fail(world, "ConvertToReferencePoint", Drop(after=True))
    world.backup()
    assert len(vm.reference_points) == 1
    overwrite(vm, 1)
    assert world.methods(world.backup(audit="off")) == ["rct"]


def test_b12_a_checkpoint_that_is_busy_is_asked_for_again(
    world: Bench, vm: LabVm
) -> None:
    fail(world, "GetVirtualDiskChanges", Drop(), times=ALWAYS)
    fail(world, "DestroySnapshot", Return(32775), times=5)
    world.backup()
    with pytest.raises(HostUnreachableError):
        world.backup()
    world.assert_clean(vm)
    cured(world, vm)


def test_b12_what_the_host_does_not_give_back_is_the_next_runs_job(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    fail(world, "GetVirtualDiskChanges", Drop(), times=ALWAYS)
    fail(world, "DestroySnapshot", Return(32769), times=ALWAYS)
    fail(world, "ConvertToReferencePoint", Return(32769), times=ALWAYS)
    with pytest.raises(HostUnreachableError) as raised:
        world.backup()
    assert "could not be tidied up" in raised.value.__notes__[0]
    assert len(vm.checkpoints) == 1
    world.lab.faults.clear()
    overwrite(vm, 1)
    done = world.try_backup(audit="off")
    world.compare(done.point)
    assert world.methods(done.point) == ["rct"]
    world.assert_clean(vm)


def test_b13_a_merge_that_fails_is_a_finding_and_the_next_backup_reads_the_chain(
    world: Bench, vm: LabVm
) -> None:
    vm.fail_merges()
    done = world.try_backup()
    world.compare(done.point)
    assert "does not merge its disks" in done.point.stats.findings[0]
    overwrite(vm, 1)
    done = world.try_backup(audit="off")
    world.compare(done.point)
    assert world.methods(done.point) == ["rct"]


def test_b13_a_merge_that_takes_too_long_is_a_finding(tmp_path: Path) -> None:
    with bench(tmp_path, pace=Pace(merge_seconds=10_000.0)) as world:
        world.add_vm()
        done = world.try_backup()
        world.compare(done.point)
        assert "still merging disks" in done.point.stats.findings[0]


def test_b14_an_older_reference_point_that_is_gone_is_fine(
    world: Bench, vm: LabVm
) -> None:
    for seed in range(4):
        overwrite(vm, seed)
        world.backup(audit="off")
        machine = vm.machine
        if seed == 1:
            oldest = next(iter(machine.points))
            del machine.points[oldest]
    assert len(vm.reference_points) == 2


def test_b14_those_of_other_products_stay(world: Bench, vm: LabVm) -> None:
    vm.add_reference_points(3)
    for seed in range(4):
        overwrite(vm, seed)
        world.backup(audit="off")
    assert len(vm.reference_points) == 5

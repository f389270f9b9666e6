"""The failure table of hyperv-rct (a), C1 to C7: where changes are not known; and a connection that breaks at any request."""

from pathlib import Path

import pytest

from hypercbt.errors import (
    HostUnreachableError,
    HyperVError,
)
from hypercbt.lab import LabVm
from hypercbt.lab.faults import (
    Drop,
    Refuse,
    Return,
)
from integration.hyperv.backups import Bench, bench, overwrite
from integration.hyperv.failing import ALWAYS, cured, fail


def test_c1_a_reference_point_that_is_gone_means_a_comparison(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    vm.machine.points.clear()
    overwrite(vm, 1)
    point = world.backup()
    assert "no longer has the reference point" in world.reason(point)


def test_c1_what_is_known_of_a_machine_before_its_restore_is_not_used(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    world.repository.void_baselines(f"vm:{vm.id}")
    overwrite(vm, 1)
    assert world.methods(world.backup()) == ["compare"]
    overwrite(vm, 2)
    assert world.methods(world.backup(audit="off")) == ["rct"]


@pytest.mark.parametrize("code", [32768, 32775, 2])
def test_c4_any_refusal_to_tell_the_changes_means_a_comparison(
    world: Bench, vm: LabVm, code: int
) -> None:
    world.backup()
    overwrite(vm, 1)
    fail(world, "GetVirtualDiskChanges", Return(code), times=ALWAYS)
    point = world.backup()
    assert "change tracking was lost" in world.reason(point)
    cured(world, vm)


def test_c4_an_answer_that_is_too_big_is_asked_for_in_pieces(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    overwrite(vm, 1)
    fail(world, "GetVirtualDiskChanges", Refuse("w:EncodingLimit", 2150858827))
    assert world.methods(world.backup(audit="off")) == ["rct"]
    cured(world, vm)


def test_c4_a_connection_that_breaks_once_is_none_of_the_disks_concern(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    overwrite(vm, 1)
    fail(world, "GetVirtualDiskChanges", Drop(after=True))
    assert world.methods(world.backup(audit="off")) == ["rct"]
    cured(world, vm)


def test_c4_a_connection_that_stays_broken_fails_the_backup(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    fail(world, "GetVirtualDiskChanges", Drop(), times=ALWAYS)
    with pytest.raises(HostUnreachableError):
        world.backup()
    world.assert_clean(vm)
    cured(world, vm)


def test_c7_where_two_points_exist_either_is_built_upon(
    world: Bench, vm: LabVm
) -> None:
    world.backup()
    overwrite(vm, 1)
    world.backup(audit="off")
    newest = list(vm.machine.points)[-1]
    del vm.machine.points[newest]
    overwrite(vm, 2)
    assert world.methods(world.backup(audit="off")) == ["rct"]


# Any request may be the one that fails


def requests_of_a_backup(folder: Path) -> int:
    """Return how often an incremental asks its host."""
    with bench(folder) as world:
        vm = world.add_vm()
        world.backup()
        overwrite(vm, 1)
        before = world.lab.counts["*"]
        world.backup(audit="off")
        return world.lab.counts["*"] - before


@pytest.mark.parametrize(("after", "first"), [(False, 1), (True, 3)])
def test_a_connection_that_breaks_at_any_request_leaves_host_and_repository_clean(
    tmp_path: Path, after: bool, first: int
) -> None:
    count = requests_of_a_backup(tmp_path / "count")
    assert count > 20
    notes: list[str] = []
    with bench(tmp_path / "sweep") as world:
        vm = world.add_vm()
        world.backup()
        # Every fourth: each costs a backup.
        for nth in range(first, count + 1, 4):
            overwrite(vm, nth)
            fail(world, "*", Drop(after=after), nth=nth)
            try:
                done = world.try_backup(audit="off")
            except HyperVError as error:
                notes.extend(getattr(error, "__notes__", ()))
            else:
                world.compare(done.point)
            world.assert_clean(vm)
            world.lab.faults.clear()
        assert notes == []
        overwrite(vm, count + 1)
        assert world.methods(world.backup(audit="off")) == ["rct"]
        assert len(vm.reference_points) == 2


def test_a_backup_asks_the_same_number_of_requests_whatever_else_the_host_has(
    tmp_path: Path,
) -> None:
    counts = []
    for others in (3, 40):
        with bench(tmp_path / str(others)) as world:
            vm = world.add_vm()
            for number in range(others):
                other = world.lab.add_vm(f"other{number}", disks=[], light=True)
                other.add_reference_points(5)
            world.backup()
            overwrite(vm, 1)
            before = world.lab.counts["*"]
            world.backup(audit="off")
            counts.append(world.lab.counts["*"] - before)
    assert counts[0] == counts[1]

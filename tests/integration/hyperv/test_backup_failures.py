"""The failure table of hyperv-rct (a), B1 to B14 and C1 to C7: each failure has one reaction, on a host that fails so.

What is missing here has its test in test_backup.py (C1 to C3: other disks, other hosts) or, where a host cannot be made to
fail like this, in tests/unit/hyperv/test_backup.py.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hypercbt.errors import (
    CheckpointError,
    ForeignCheckpointError,
    HostFileError,
    HostUnreachableError,
    HyperVError,
    SourceChangedError,
    VmBusyError,
)
from hypercbt.hyperv.owners import this_process
from hypercbt.hyperv.stale import marker
from hypercbt.lab import LabVm, Pace, Quirks
from hypercbt.lab.faults import (
    Drop,
    Effect,
    FailJob,
    Fault,
    Refuse,
    Return,
    Run,
)
from integration.hyperv.backups import MIB, Bench, bench, overwrite

ALWAYS = None
RUN = "ab" * 16


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


@pytest.fixture
def vm(world: Bench) -> LabVm:
    return world.add_vm()


def fail(
    world: Bench, call: str, what: Effect, *, nth: int = 1, times: int | None = 1
) -> None:
    world.lab.faults.add(Fault(call, what, nth=nth, times=times))


def cured(world: Bench, vm: LabVm) -> None:
    """See that the next two backups are right, the second by change tracking, and that nothing is left."""
    assert world.lab.faults.struck
    world.lab.faults.clear()
    overwrite(vm, 7)
    world.backup()
    overwrite(vm, 8)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    world.assert_clean(vm)
    assert len(vm.reference_points) == 2


def test_b1_a_machine_that_is_being_merged_is_waited_for(tmp_path: Path) -> None:
    with bench(tmp_path, pace=Pace(merge_seconds=60.0)) as world:
        vm = world.add_vm()
        vm.checkpoint()
        vm.delete_checkpoint()
        world.backup()
        world.assert_clean(vm)


def test_b1_a_machine_that_stays_busy_is_left_alone(tmp_path: Path) -> None:
    with bench(tmp_path, pace=Pace(merge_seconds=10_000.0)) as world:
        vm = world.add_vm()
        vm.checkpoint()
        vm.delete_checkpoint()
        with pytest.raises(VmBusyError, match="still merging disks"):
            world.backup()
        assert vm.checkpoints == ()


def dead_run(world: Bench, vm: LabVm) -> str:
    """Let a run of this repository have died: it holds its lease, and nobody remembers it."""
    run = world.repository.native.begin_machine(
        machine=f"vm:{vm.id}",
        name=vm.name,
        created=int(datetime.now(UTC).timestamp() * 1_000_000),
        bases=[],
        owner=this_process(),
        host=world.lab.host,
        checkpoints=[],
        reference_points=[],
    )
    run.leave_open()
    return run.id


@pytest.mark.parametrize("marked", [True, False])
def test_b2_a_dead_runs_checkpoint_is_removed(
    world: Bench, vm: LabVm, marked: bool
) -> None:
    run = dead_run(world, vm)
    name = marker(world.repository.id, run) if marked else None
    vm.recovery_checkpoint(name)
    overwrite(vm, 1)
    done = world.try_backup()
    world.compare(done.point)
    assert "removed the checkpoint" in done.warnings[0]
    world.assert_clean(vm)


def test_b2_a_host_that_refuses_to_delete_it_is_asked_to_convert_it(
    tmp_path: Path,
) -> None:
    with bench(tmp_path, quirks=Quirks(recovery_destroy_works=False)) as world:
        vm = world.add_vm()
        vm.recovery_checkpoint(marker(world.repository.id, dead_run(world, vm)))
        done = world.try_backup()
        world.compare(done.point)
        world.assert_clean(vm)
        assert len(vm.reference_points) == 1


@pytest.mark.parametrize("name", [None, "Bareos JobId 7", f"hypercbt {RUN} {RUN}"])
def test_b2_a_foreign_checkpoint_is_refused_and_removed_only_where_it_is_adopted(
    world: Bench, vm: LabVm, name: str | None
) -> None:
    vm.recovery_checkpoint(name)
    with pytest.raises(ForeignCheckpointError):
        world.backup()
    assert len(vm.checkpoints) == 1
    done = world.try_backup(adopt=True)
    world.compare(done.point)
    world.assert_clean(vm)


def test_b4_an_application_consistent_checkpoint_is_tried_again(
    world: Bench, vm: LabVm
) -> None:
    fail(world, "CreateSnapshot", FailJob(0x800423F2 - (1 << 32), "VSS"))
    assert world.backup().consistency == "application"
    cured(world, vm)


def test_b4_where_it_fails_twice_a_crash_consistent_one_is_taken(
    world: Bench, vm: LabVm
) -> None:
    fail(world, "CreateSnapshot", FailJob(32768, "VSS"), times=2)
    done = world.try_backup()
    world.compare(done.point)
    assert done.point.consistency == "crash"
    cured(world, vm)


def test_b4_where_it_is_required_nothing_else_will_do(world: Bench, vm: LabVm) -> None:
    fail(world, "CreateSnapshot", FailJob(32768, "VSS"), times=2)
    with pytest.raises(CheckpointError, match="VSS"):
        world.backup(consistency="require")
    world.assert_clean(vm)
    cured(world, vm)


@pytest.mark.parametrize("code", [1, 6, 32768])
def test_b4_whatever_the_host_refuses_with_the_machine_stays_as_it_was(
    world: Bench, vm: LabVm, code: int
) -> None:
    fail(world, "CreateSnapshot", Return(code), times=ALWAYS)
    with pytest.raises(CheckpointError):
        world.backup()
    world.assert_clean(vm)
    cured(world, vm)


def test_b5_a_checkpoint_whose_answer_was_lost_is_found(
    world: Bench, vm: LabVm
) -> None:
    fail(world, "CreateSnapshot", Drop(after=True))
    world.backup()
    cured(world, vm)


def test_b6_a_checkpoint_that_cannot_be_marked_is_good_enough(
    world: Bench, vm: LabVm
) -> None:
    fail(world, "ModifySystemSettings", Return(32769), times=ALWAYS)
    done = world.try_backup()
    world.compare(done.point)
    assert "could not be marked" in done.warnings[0]
    cured(world, vm)


def test_b7_a_folder_that_is_not_mapped_fails_before_the_machine_is_touched(
    world: Bench, vm: LabVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(world.lab), "map", {"D:\\elsewhere": world.folder})
    with pytest.raises(HostFileError, match="--map"):
        world.backup()
    assert world.lab.counts["CreateSnapshot"] == 0


def test_b7_a_frozen_file_that_cannot_be_reached_takes_the_checkpoint_back(
    world: Bench, vm: LabVm
) -> None:
    def hide() -> None:
        vm.disks[0].files[0].rename(world.folder / "hidden.vhdx")

    def show() -> None:
        (world.folder / "hidden.vhdx").rename(base)

    base = vm.disks[0].files[0]
    fail(world, "ModifySystemSettings", Run(hide, after=True))
    fail(world, "DestroySnapshot", Run(show))
    with pytest.raises(HyperVError):
        world.backup()
    world.assert_clean(vm)
    cured(world, vm)


def test_b8_a_configuration_without_guest_state_is_whole(
    world: Bench, vm: LabVm
) -> None:
    def remove() -> None:
        for file in world.lab.map["C:\\VMs"].rglob("*.vmgs"):
            file.unlink()

    fail(world, "ModifySystemSettings", Run(remove, after=True))
    point = world.backup()
    suffixes = {Path(file.name).suffix.lower() for file in point.configuration}
    assert suffixes == {".vmcx", ".vmrs"}


def test_b8_a_configuration_that_cannot_be_read_is_a_finding(
    world: Bench, vm: LabVm
) -> None:
    def remove() -> None:
        for file in world.lab.map["C:\\VMs"].rglob("*.vmcx"):
            if "Snapshots" in str(file):
                file.unlink()

    fail(world, "ModifySystemSettings", Run(remove, after=True))
    done = world.try_backup()
    world.compare(done.point)
    assert "is not in the point" in done.point.stats.findings[0]
    cured(world, vm)


def test_b9_a_file_that_changes_while_it_is_read_takes_the_checkpoint_back(
    world: Bench, vm: LabVm
) -> None:
    base = vm.disks[0].files[0]
    size = base.stat().st_size

    def resize(size: int) -> None:
        with base.open("r+b") as file:
            file.truncate(size)

    fail(world, "DestroySnapshot", Run(lambda: resize(size)))
    with pytest.raises(SourceChangedError):
        world.backup(progress=lambda *_: resize(size + MIB))
    world.assert_clean(vm)
    cured(world, vm)


def test_b9_whoever_watches_may_end_it_and_the_checkpoint_goes(
    world: Bench, vm: LabVm
) -> None:
    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.backup(progress=stop)
    world.assert_clean(vm)
    assert world.repository.points() == []


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

"""The failure table of hyperv-rct (a), B1 to B9: each failure until the data is read has one reaction, on a host that fails so.

What is missing here has its test in test_backup.py (C1 to C3: other disks), in quirks/ (other hosts) or, where a host cannot
be made to fail like this, in tests/unit/hyperv/test_backup*.py.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hypercbt.errors import (
    CheckpointError,
    ForeignCheckpointError,
    HostFileError,
    HyperVError,
    SourceChangedError,
    VmBusyError,
)
from hypercbt.hyperv.owners import this_process
from hypercbt.hyperv.stale import marker
from hypercbt.lab import LabVm, Pace, Quirks
from hypercbt.lab.faults import (
    Drop,
    FailJob,
    Return,
    Run,
)
from integration.hyperv.backups import MIB, Bench, bench, overwrite
from integration.hyperv.failing import ALWAYS, cured, fail

RUN = "ab" * 16


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


def test_a6_what_is_there_and_cannot_be_opened_fails_before_the_machine_is_touched(
    world: Bench, vm: LabVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world.lab.map["C:\\VMs"]
    elsewhere = world.folder / "elsewhere"
    (elsewhere / vm.disks[0].files[0].relative_to(place)).mkdir(parents=True)
    monkeypatch.setattr(type(world.lab), "map", {"C:\\VMs": elsewhere})
    with pytest.raises(HostFileError, match="cannot be read from here"):
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

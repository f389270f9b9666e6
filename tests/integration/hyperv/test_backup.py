"""Backups of a lab host's machines: full, by change tracking, and what happens to each kind of machine and disk."""

from pathlib import Path
from typing import Literal

import pytest

import hypercbt
from hypercbt.errors import VmNotFoundError, VmUnsupportedError
from hypercbt.hyperv.credentials import Credentials
from hypercbt.lab import LabHost, NewDisk, Quirks
from integration.hyperv.backups import CHUNK, MIB, Bench, bench, overwrite


def test_the_first_backup_holds_every_byte_that_was_frozen(world: Bench) -> None:
    vm = world.add_vm(disks=[8 * MIB, 4 * MIB])
    point = world.backup()
    assert world.methods(point) == ["full", "full"]
    assert point.machine == f"vm:{vm.id}"
    assert point.name == "web01"
    assert point.consistency == "application"
    assert [disk.location for disk in point.disks] == ["SCSI 0:0", "SCSI 0:1"]
    world.assert_clean(vm)


def test_the_next_one_reads_what_changed_and_holds_every_byte(world: Bench) -> None:
    vm = world.add_vm()
    world.backup()
    for seed in range(3):
        overwrite(vm, seed)
        point = world.backup(audit="off")
        assert world.methods(point) == ["rct"]
        assert point.stats.read_bytes <= 8 * CHUNK
        world.assert_clean(vm)
    assert len(vm.reference_points) == 2


def test_nothing_changed_and_nothing_is_read_but_what_the_checkpoint_itself_wrote(
    world: Bench,
) -> None:
    world.add_vm()
    world.backup(consistency="crash")
    point = world.backup(consistency="crash", audit="off")
    assert point.stats.read_bytes == 0


@pytest.mark.parametrize("layer", [True, False])
@pytest.mark.parametrize("in_changes", [True, False])
def test_it_does_not_matter_what_an_application_consistent_checkpoint_adds(
    tmp_path: Path, layer: bool, in_changes: bool
) -> None:
    quirks = Quirks(application_layer=layer, layer_in_changes=in_changes)
    with bench(tmp_path, quirks=quirks) as world:
        vm = world.add_vm()
        world.backup()
        for seed in range(3):
            overwrite(vm, seed)
            point = world.backup(audit="off")
            assert world.methods(point) == ["rct"]


def test_a_guest_that_never_stops_writing_harms_nothing(world: Bench) -> None:
    vm = world.add_vm()
    with vm.guest(seed=1) as guest:
        world.backup()
        for _ in range(3):
            guest.wait(10)
            point = world.backup(audit="off")
            assert world.methods(point) == ["rct"]
    world.assert_clean(vm)


def test_the_configuration_is_part_of_the_point(world: Bench, tmp_path: Path) -> None:
    world.add_vm()
    point = world.backup()
    suffixes = sorted(Path(file.name).suffix.lower() for file in point.configuration)
    assert suffixes == [".vmcx", ".vmgs", ".vmrs"]
    for file in point.configuration:
        file.restore(tmp_path / file.name)
        assert (tmp_path / file.name).stat().st_size == file.size


# What the caller may say


def test_one_call_does_it_all(tmp_path: Path) -> None:
    with LabHost(tmp_path / "lab") as lab:
        vm = lab.add_vm("web01", disks=[4 * MIB])
        vm.disks[0].write(0, b"what the guest does".ljust(4096))
        hypercbt.Repository.create(tmp_path / "repository")
        said = {
            "host": lab.host,
            "credentials": Credentials(*lab.credentials),
            "map": lab.map,
            "repository": tmp_path / "repository",
            "space_floor": 0,
        }
        hypercbt.backup("web01", **said)  # type: ignore[arg-type]
        vm.disks[0].write(MIB, b"and more".ljust(4096))
        point = hypercbt.backup(vm.id, **said)  # type: ignore[arg-type]
    assert point.disks[0].stats.method == "rct"
    with point.open() as file:
        assert file.read(19) == b"what the guest does"
        assert file.read_at(MIB, 8) == b"and more"


def test_an_open_host_stays_open_and_has_its_own_map(world: Bench) -> None:
    world.add_vm()
    with world.open() as host:
        hypercbt.backup("web01", host=host, repository=world.repository, space_floor=0)
        assert host.vm("web01").name == "web01"
        with pytest.raises(ValueError, match="has its own"):
            hypercbt.backup("web01", host=host, repository=world.repository, map={})


def test_a_machine_that_is_not_there_is_no_machine(world: Bench) -> None:
    with pytest.raises(VmNotFoundError):
        world.backup("web02")


def test_a_disk_that_is_left_out_is_not_in_the_point_and_joins_later(
    world: Bench,
) -> None:
    vm = world.add_vm(disks=[4 * MIB, 4 * MIB])
    point = world.backup(exclude=["SCSI 0:1"])
    assert [disk.location for disk in point.disks] == ["SCSI 0:0"]
    overwrite(vm, 1)
    point = world.backup()
    assert world.methods(point) == ["rct", "full"]


def test_a_full_backup_builds_on_nothing(world: Bench) -> None:
    world.add_vm()
    world.backup()
    point = world.backup(full=True)
    assert world.methods(point) == ["full"]
    assert point.disks[0].base is None


# Machines in each state


@pytest.mark.parametrize("state", ["off", "saved", "paused"])
def test_a_machine_that_does_not_run_is_backed_up_and_its_state_recorded(
    world: Bench, state: Literal["off", "saved", "paused"]
) -> None:
    vm = world.add_vm()
    {"off": vm.stop, "saved": vm.save, "paused": vm.pause}[state]()
    assert world.backup().consistency == ("off" if state == "off" else "crash")
    vm.start()
    overwrite(vm, 1)
    assert world.methods(world.backup(audit="off")) == ["rct"]


def test_a_machine_whose_guest_cannot_be_made_consistent_is_crash_consistent(
    world: Bench,
) -> None:
    vm = world.add_vm()
    vm.set_consistency(possible=False)
    done = world.try_backup()
    world.compare(done.point)
    assert done.point.consistency == "crash"
    assert "only crash-consistent" in done.warnings[0]
    world.assert_clean(vm)


def test_an_old_machine_is_compared(world: Bench) -> None:
    vm = world.add_vm(version="5.0")
    world.backup()
    overwrite(vm, 1)
    point = world.backup()
    assert "version 5.0 has no change tracking" in world.reason(point)


def test_a_machine_between_the_versions_is_tried_and_falls_back(world: Bench) -> None:
    vm = world.add_vm(version="7.0")
    done = world.try_backup()
    world.compare(done.point)
    assert any("no change tracking id" in text for text in done.point.stats.findings)
    world.assert_clean(vm)


def test_a_replica_is_left_to_its_primary(world: Bench) -> None:
    world.add_vm(replica=True)
    with pytest.raises(VmUnsupportedError, match="replica"):
        world.backup()


# Disks of each kind


def test_a_vhd_file_is_compared_beside_one_that_is_tracked(world: Bench) -> None:
    vm = world.add_vm(disks=[NewDisk(8 * MIB), NewDisk(8 * MIB, kind="vhd")])
    world.backup()
    overwrite(vm, 1)
    point = world.backup()
    assert world.methods(point) == ["rct", "compare"]
    assert point.disks[1].stats.fallback_reason == "a VHD file has no change tracking"


@pytest.mark.parametrize("kind", ["vhds", "pass-through"])
def test_what_no_checkpoint_holds_is_refused_unless_it_is_excluded(
    world: Bench, kind: str
) -> None:
    vm = world.add_vm(disks=[NewDisk(8 * MIB), NewDisk(8 * MIB, kind=kind)])
    with pytest.raises(VmUnsupportedError, match="exclude it"):
        world.backup()
    assert vm.checkpoints == ()
    point = world.backup(exclude=["SCSI 0:1"])
    assert [disk.location for disk in point.disks] == ["SCSI 0:0"]
    overwrite(vm, 1)
    assert world.methods(world.backup(exclude=["SCSI 0:1"])) == ["rct"]


@pytest.mark.parametrize("untracked", ["short", "null"])
@pytest.mark.parametrize("shuffled", [True, False])
def test_ids_find_their_disks_however_the_host_lists_them(
    tmp_path: Path, untracked: Literal["short", "null"], shuffled: bool
) -> None:
    quirks = Quirks(untracked=untracked, shuffled_disks=shuffled)
    with bench(tmp_path, quirks=quirks) as world:
        disks = [NewDisk(4 * MIB), NewDisk(4 * MIB, kind="vhd"), NewDisk(6 * MIB)]
        vm = world.add_vm(disks=disks)
        done = world.try_backup()
        world.compare(done.point)
        overwrite(vm, 1)
        done = world.try_backup(audit="off")
        world.compare(done.point)
        methods = world.methods(done.point)
        assert methods[1] == "compare"
        # Where both arrays are shorter and out of order, nobody can tell which id is whose.
        assert methods[0] == methods[2]


# Checkpoints of the machine's owner


def test_a_machine_with_user_checkpoints_is_backed_up_through_the_chain(
    world: Bench,
) -> None:
    vm = world.add_vm()
    world.backup()
    overwrite(vm, 1)
    vm.checkpoint("before the update")
    overwrite(vm, 2)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    overwrite(vm, 3)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    assert [c.name for c in vm.checkpoints] == ["before the update"]


def test_after_a_user_checkpoint_was_deleted_every_byte_is_right(world: Bench) -> None:
    vm = world.add_vm()
    vm.checkpoint("one")
    overwrite(vm, 1)
    world.backup()
    overwrite(vm, 2)
    vm.delete_checkpoint()
    overwrite(vm, 3)
    world.backup()
    overwrite(vm, 4)
    assert world.methods(world.backup()) == ["rct"]


def test_after_a_revert_the_disk_is_compared_and_it_is_said_why(world: Bench) -> None:
    vm = world.add_vm()
    vm.checkpoint("before")
    overwrite(vm, 1)
    world.backup()
    overwrite(vm, 2)
    vm.revert()
    overwrite(vm, 3)
    point = world.backup()
    assert world.methods(point) == ["compare"]
    assert world.reason(point)
    overwrite(vm, 4)
    assert world.methods(world.backup(audit="off")) == ["rct"]


# Disks that come, go and change


def test_a_disk_that_was_added_is_full_and_the_other_is_asked_for_its_changes(
    world: Bench,
) -> None:
    vm = world.add_vm()
    world.backup()
    overwrite(vm, 1)
    vm.attach(world.lab.new_disk(vm.machine, NewDisk(4 * MIB)))
    vm.disks[1].write(0, b"new".ljust(4096))
    assert world.methods(world.backup(audit="off")) == ["rct", "full"]


def test_a_disk_that_was_removed_is_no_longer_there_and_nothing_else_changes(
    world: Bench,
) -> None:
    vm = world.add_vm(disks=[4 * MIB, 4 * MIB])
    world.backup()
    vm.detach("SCSI 0:0")
    overwrite(vm, 1)
    point = world.backup(audit="off")
    assert [disk.location for disk in point.disks] == ["SCSI 0:1"]
    assert world.methods(point) == ["rct"]


def test_a_disk_that_was_resized_is_compared(world: Bench) -> None:
    vm = world.add_vm()
    world.backup()
    vm.disks[0].resize(12 * MIB)
    overwrite(vm, 1)
    point = world.backup()
    assert "bytes at restore point" in world.reason(point)
    assert point.disks[0].size == 12 * MIB


# Tracking; where it is lost, coarse or left behind: quirks/test_quirks.py


def test_a_missed_change_is_found_by_the_audit_and_the_point_is_right(
    world: Bench,
) -> None:
    vm = world.add_vm()
    world.backup()
    vm.disks[0].under_report([(2 * MIB, CHUNK)])
    vm.disks[0].write(2 * MIB, b"missed".ljust(4096))
    wrong = world.try_backup(audit="off").point
    with pytest.raises(AssertionError):
        world.compare(wrong)
    done = world.try_backup(audit="full")
    world.compare(done.point)
    assert done.point.stats.missed_chunks == 1
    (suspect,) = world.repository.suspects()
    assert (suspect.first, suspect.last) == (wrong.id, wrong.id)
    assert suspect.extents == ((2 * MIB, CHUNK),)


# What a host goes through


def test_after_a_power_cut_of_the_host_every_byte_is_right(tmp_path: Path) -> None:
    with bench(tmp_path, power_cuts=True) as world:
        vm = world.add_vm()
        vm.disks[0].flush()
        world.backup()
        for seed in range(3):
            overwrite(vm, seed)
            vm.disks[0].flush()
            overwrite(vm, seed + 100)
            world.lab.power_cut()
            world.lab.restart()
            world.lab.when_frozen(world.hold)
            vm = world.lab.vm("web01")
            vm.start()
            assert world.methods(world.backup(audit="off")) == ["rct"]

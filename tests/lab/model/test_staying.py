"""What stays: over a restart, a power cut, a hand-over to another host; and what a thousand machines cost."""

import threading
from pathlib import Path

import pytest

from hypercbt import VirtualDisk
from hypercbt.lab import NewDisk, Quirks, TrackedDisk
from hypercbt.lab.wire.provider import Ref
from lab.model.calling import SETTINGS, Host, piece, system


def covered(ranges: list[tuple[int, int]], at: int) -> bool:
    return any(start <= at < start + length for start, length in ranges)


def test_all_is_there_after_a_restart(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        since = host.base(vm)
        vm.disks[0].write(0, piece(1))
        host.restart()
        (row,) = host.all("Msvm_VirtualSystemReferencePoint")
        assert row["ResilientChangeTrackingIdentifiers"] == (since,)
        (file,) = host.files(host.snapshot(vm))
        assert covered(host.ranges(file, since), 0)
        assert vm.disks[0].read(0, 4096) == piece(1)


def test_another_process_finds_what_one_has_left(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        checkpoint = vm.recovery_checkpoint("somebody else's")
    with Host(tmp_path) as again:
        (found,) = again.vm("web01").checkpoints
        assert (found.id.lower(), found.name) == (checkpoint, "somebody else's")


def test_a_power_cut_takes_what_was_not_synced_and_no_change_is_missed(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        since = host.base(vm)
        vm.disks[0].write(0, piece(1))
        vm.disks[0].flush()
        vm.disks[0].write(8 << 20, piece(2))
        host.power_cut()
        host.restart()
        assert vm.disks[0].read(0, 4096) == piece(1)
        assert vm.disks[0].read(8 << 20, 4096) == bytes(4096)
        (file,) = host.files(host.snapshot(vm))
        assert covered(host.ranges(file, since), 0)


def test_a_power_cut_takes_the_jobs_along_and_what_they_would_have_done(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        answer = host.ask_snapshot(vm)
        host.power_cut()
        host.restart()
        host.time.advance(10)
        assert host.get(answer["Job"]) is None
        assert vm.checkpoints == ()
        assert host.done(host.ask_snapshot(vm))


def test_a_merge_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        snapshot = host.snapshot(vm)
        base = host.files(snapshot)[0]
        vm.disks[0].write(0, piece(1))
        vm.disks[0].flush()
        host.convert(snapshot)
        host.power_cut()
        host.restart()
        found = host.get(system(vm))
        assert found is not None
        assert found.values["OperationalStatus"] == (2, 32772)
        host.merge()
        assert vm.disks[0].path == base
        assert vm.disks[0].read(0, 4096) == piece(1)


def test_a_freeze_that_the_host_could_not_note_any_more_is_merged_away(
    tmp_path: Path,
) -> None:
    """As a cut between the freeze of a disk and the host's own note of it leaves it."""
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[16 << 20, 16 << 20])
        base = vm.disks[0].files[0]
    with TrackedDisk.open(base) as disk:
        disk.freeze()
        disk.write_at(0, piece(1))
    with Host(tmp_path) as host:
        vm = host.vm("web01")
        before = vm.disks[0].files
        assert (len(before), before[0]) == (2, base)
        host.merge()
        assert vm.disks[0].files[-1] == base
        assert vm.disks[0].read(0, 4096) == piece(1)


def test_a_checkpoint_survives_a_power_cut_with_its_content(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.disks[0].write(0, piece(1))
        (file,) = host.files(host.snapshot(vm))
        vm.disks[0].write(0, piece(2))
        host.power_cut()
        with VirtualDisk.open(host.local(file)) as disk:
            assert disk.read_at(0, 4096) == piece(1)
        host.restart()
        assert len(vm.checkpoints) == 1


def test_only_a_host_that_was_made_for_it_loses_its_power(tmp_path: Path) -> None:
    with (
        Host(tmp_path, power_cuts=False) as host,
        pytest.raises(ValueError, match="power_cuts"),
    ):
        host.power_cut()


@pytest.mark.parametrize("shared", [True, False])
def test_a_machine_that_is_handed_over_keeps_its_ids(
    tmp_path: Path, shared: bool
) -> None:
    storage = tmp_path / "shared" if shared else None
    with (
        Host(tmp_path / "one", name="HV1", storage=storage) as one,
        Host(tmp_path / "two", name="HV2", storage=storage) as two,
    ):
        vm = one.add_vm("web01")
        since = one.base(vm)
        vm.disks[0].write(0, piece(1))
        one.move(vm, two)
        assert one.vms == ()
        assert one.all("Msvm_VirtualSystemReferencePoint") == []
        vm.disks[0].write(1 << 20, piece(2))
        (file,) = two.files(two.snapshot(vm))
        ranges = two.ranges(file, since)
        assert covered(ranges, 0)
        assert covered(ranges, 1 << 20)
        with VirtualDisk.open(two.local(file)) as disk:
            assert disk.read_at(0, 4096) == piece(1)


def test_where_tracking_does_not_travel_the_ids_are_lost(tmp_path: Path) -> None:
    lost = Quirks(tracking_travels=False)
    with (
        Host(tmp_path / "one", name="HV1") as one,
        Host(tmp_path / "two", name="HV2", quirks=lost) as two,
    ):
        vm = one.add_vm("web01")
        since = one.base(vm)
        one.move(vm, two)
        (file,) = two.files(two.snapshot(vm))
        assert two.changes(file, since)["ReturnValue"] == 32768


def test_what_a_test_does_to_tracking_goes_with_the_machine(tmp_path: Path) -> None:
    with Host(tmp_path / "one") as one, Host(tmp_path / "two", name="HV2") as two:
        vm = one.add_vm("web01")
        since = one.base(vm)
        vm.disks[0].under_report([(0, 4096)])
        one.move(vm, two)
        vm.disks[0].write(0, piece(1))
        (file,) = two.files(two.snapshot(vm))
        assert not covered(two.ranges(file, since), 0)


def test_a_busy_machine_is_not_handed_over(tmp_path: Path) -> None:
    with Host(tmp_path / "one") as one, Host(tmp_path / "two", name="HV2") as two:
        vm = one.add_vm("web01")
        answer = one.ask_snapshot(vm)
        with pytest.raises(ValueError, match="busy"):
            one.move(vm, two)
        assert one.done(answer)


def test_a_guest_writes_on_through_a_backup_and_every_byte_is_told(
    tmp_path: Path,
) -> None:
    """What differs between two frozen states is in the answer: read whole, compared sector by sector."""
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[4 << 20, 4 << 20])
        states: list[list[bytes]] = []

        def keep(_: object, files: dict[str, Path]) -> None:
            state = []
            for file in files.values():
                with VirtualDisk.open(file) as disk:
                    state.append(disk.read_at(0, disk.size))
            states.append(state)

        host.when_frozen(keep)  # type: ignore[arg-type]
        with vm.guest(seed=3, pause_seconds=0) as guest:
            guest.wait(20)
            snapshot = host.snapshot(vm)
            guest.wait(5)
            host.convert(snapshot)
            host.merge()
            ids = dict(vm.reference_points[-1].disks)
            for disk in vm.disks:  # whatever the guest has time for, each has changed
                disk.write(0, bytes(4096) if disk.read(0, 1)[0] else b"\1" * 4096)
            guest.wait(20)
            files = host.files(host.snapshot(vm))
            guest.wait(5)
        assert guest.error is None
        for number, disk in enumerate(vm.disks):
            since = ids[disk.location]
            assert since is not None
            answer = host.changes(files[number], since, 0, disk.size)
            told = bytearray(disk.size)
            for at, length in zip(
                answer["ChangedByteOffsets"], answer["ChangedByteLengths"], strict=True
            ):
                told[at : at + length] = b"\1" * length
            old, new = states[0][number], states[1][number]
            assert old != new
            for at in range(0, disk.size, 4096):
                if old[at : at + 4096] != new[at : at + 4096]:
                    assert all(told[at : at + 4096])
            with VirtualDisk.open(host.local(files[number])) as whole:
                assert whole.read_at(0, disk.size) == new


def test_a_guest_goes_on_where_its_machine_is_handed_over(tmp_path: Path) -> None:
    with Host(tmp_path / "one") as one, Host(tmp_path / "two", name="HV2") as two:
        vm = one.add_vm("web01")
        with vm.guest(pause_seconds=0) as guest:
            guest.wait(5)
            one.move(vm, two)
            guest.wait(5)
        assert guest.error is None


@pytest.mark.parametrize("state", ["stop", "pause", "save"])
def test_a_guest_waits_while_its_machine_does_not_run(
    tmp_path: Path, state: str
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[4 << 20])
        with vm.guest(pause_seconds=0) as guest:
            guest.wait(5)
            getattr(vm, state)()
            content = vm.disks[0].read(0, 4 << 20)
            vm.checkpoint()
            assert vm.disks[0].read(0, 4 << 20) == content
            vm.start()
            guest.wait(5)
        assert guest.error is None


def test_a_guest_ends_with_the_power(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        with vm.guest(pause_seconds=0) as guest:
            guest.wait(5)
            host.power_cut()
            guest.wait(1_000_000)
            assert guest.error is not None
        host.restart()
        assert vm.disks[0].tracked.tracking.state == "continued"


def test_a_guest_ends_with_its_host_and_leaves_the_disk_to_the_next(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        with vm.guest(pause_seconds=0) as guest:
            guest.wait(5)
            host.restart()
            guest.wait(1_000_000)
            assert guest.error is not None
        vm.disks[0].write(0, piece(1))
        assert vm.disks[0].read(0, 4096) == piece(1)


def test_power_is_cut_in_the_middle_of_whatever_runs(tmp_path: Path) -> None:
    """Freezes and merges against a cut at any moment: the machine comes back, and what was synced is there."""
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[16 << 20, 16 << 20])
        for round_ in range(8):
            mark = piece(round_)
            vm.disks[0].write(0, mark)
            vm.disks[0].flush()
            host.time.advance(1)
            host.settle()
            answer = host.ask_snapshot(vm)
            assert answer["ReturnValue"] == 4096
            host.time.advance(1)
            cutter = threading.Thread(target=host.power_cut)
            cutter.start()
            try:
                host.settle()
                if vm.checkpoints:
                    newest = Ref(
                        SETTINGS, {"InstanceID": f"Microsoft:{vm.checkpoints[-1].id}"}
                    )
                    host.ask_destroy(newest)
                    host.time.advance(1)
                    host.settle()
                    host.time.advance(1)
                    host.settle()
            except (OSError, ValueError):
                pass  # the power was gone
            cutter.join()
            host.restart()
            assert vm.disks[0].read(0, 4096) == mark
            for kept in vm.checkpoints:
                vm.delete_checkpoint(kept.id)
            host.merge()
            assert len(vm.disks[0].files) == len(vm.disks[1].files) == 1


def test_a_file_to_begin_with_is_copied(tmp_path: Path) -> None:
    with Host(tmp_path / "first") as host:
        vm = host.add_vm("web01")
        vm.disks[0].write(0, piece(1))
        vm.disks[0].flush()
        source = vm.disks[0].files[0]
    with Host(tmp_path / "second") as host:
        vm = host.add_vm("copy", disks=[source, NewDisk(source=source)])
        assert vm.disks[0].read(0, 4096) == piece(1)
        assert vm.disks[0].size == 64 << 20
        assert vm.disks[0].id == vm.disks[1].id  # as copies have it


def test_a_thousand_machines_and_ten_thousand_points_have_no_files_and_are_found(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        for number in range(1000):
            host.add_vm(f"vm{number}", light=True).add_reference_points(10)
        assert not list((tmp_path / "VMs").iterdir())
        vm = host.vm("vm500")
        assert len(host.all("Msvm_ComputerSystem")) == 1001
        name = "Msvm_VirtualSystemReferencePoint"
        assert len(host.all(name, VirtualSystemIdentifier=vm.id.upper())) == 10
        assert len(host.all(name)) == 10_000
        assert host.base(vm)  # now it has files

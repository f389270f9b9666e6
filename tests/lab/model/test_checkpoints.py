"""Checkpoints that fail, stay, are not ours, or cannot be made."""

from pathlib import Path

import pytest

from hypercbt import VirtualDisk
from hypercbt.lab import NewDisk, Quirks
from hypercbt.lab.model.services import MANAGEMENT, SNAPSHOTS
from hypercbt.lab.wire.provider import ProviderError, Ref, Thing
from lab.model.calling import (
    APPLICATION,
    CRASH,
    SETTINGS,
    SNAPSHOT_SETTINGS,
    Host,
    piece,
    system,
)


def of(id: str) -> Ref:
    return Ref(SETTINGS, {"InstanceID": f"Microsoft:{id.upper()}"})


def test_crash_consistency_works_where_the_guest_cannot_be_made_consistent(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.set_consistency(False)
        assert host.job(host.ask_snapshot(vm, APPLICATION))["JobState"] == 10
        assert host.job(host.ask_snapshot(vm, CRASH))["JobState"] == 7


@pytest.mark.parametrize("state", ["pause", "save"])
def test_a_paused_or_saved_machine_cannot_be_made_consistent(
    tmp_path: Path, state: str
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        getattr(vm, state)()
        assert host.job(host.ask_snapshot(vm, APPLICATION))["JobState"] == 10
        assert host.job(host.ask_snapshot(vm, CRASH))["JobState"] == 7


@pytest.mark.parametrize("works", [True, False])
def test_a_machine_that_is_off_is_consistent_or_refused(
    tmp_path: Path, works: bool
) -> None:
    with Host(tmp_path, quirks=Quirks(application_of_off=works)) as host:
        vm = host.add_vm("web01")
        vm.stop()
        assert host.job(host.ask_snapshot(vm, APPLICATION))["JobState"] == (
            7 if works else 10
        )


@pytest.mark.parametrize("kind", ["pass-through", "vhds"])
def test_disks_that_cannot_be_frozen_are_skipped_only_where_it_is_said(
    tmp_path: Path, kind: str
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[32 << 20, NewDisk(kind=kind)])
        refused = host.ask_snapshot(vm, CRASH, IgnoreNonSnapshottableDisks=False)
        assert host.job(refused)["JobState"] == 10
        assert len(host.files(host.snapshot(vm))) == 1


def test_a_property_that_an_older_host_does_not_know_fails_the_job(
    tmp_path: Path,
) -> None:
    with Host(tmp_path, quirks=Quirks(guest_backup_type=False)) as host:
        vm = host.add_vm("web01")
        assert host.job(host.ask_snapshot(vm, GuestBackupType=1))["JobState"] == 10
        assert host.job(host.ask_snapshot(vm))["JobState"] == 7


def test_settings_may_be_left_out_or_not(tmp_path: Path) -> None:
    for allowed in (True, False):
        with Host(
            tmp_path / str(allowed), quirks=Quirks(empty_settings=allowed)
        ) as host:
            answer = host.call(
                SNAPSHOTS,
                "CreateSnapshot",
                AffectedSystem=system(host.add_vm("web01")),
                SnapshotSettings=None,
                SnapshotType=32768,
            )
            assert answer["ReturnValue"] == (4096 if allowed else 4)


def test_a_merge_that_fails_leaves_its_file_and_the_next_checkpoint_freezes_that(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        base = vm.disks[0].path
        vm.fail_merges()
        host.convert(host.snapshot(vm))
        vm.disks[0].write(0, piece(1))
        host.merge()
        left = vm.disks[0].path
        assert left != base
        snapshot = host.snapshot(vm)
        (file,) = host.files(snapshot)
        assert file == left
        assert host.setting_data(file)["ParentPath"] == base
        with VirtualDisk.open(host.local(file)) as disk:
            assert disk.read_at(0, 4096) == piece(1)
        host.convert(snapshot)
        host.merge()
        assert vm.disks[0].path == base
        assert vm.disks[0].read(0, 4096) == piece(1)


def test_changes_are_right_over_a_merge_that_failed(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.fail_merges()
        since = host.base(vm)
        vm.disks[0].write(4096, piece(1))
        (file,) = host.files(host.snapshot(vm))
        assert host.ranges(file, since) == [(4096, 4096)]


def test_an_export_without_storage_stops_merging_until_it_is_switched_on(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        base = vm.disks[0].path
        settings = Thing(
            "Msvm_VirtualSystemExportSettingData", {"CopyVmStorage": False}
        )
        exported = host.call(
            MANAGEMENT,
            "ExportSystemDefinition",
            ComputerSystem=system(vm),
            ExportDirectory="C:\\VMs\\export",
            ExportSettingData=settings,
        )
        assert host.job(exported)["JobState"] == 7
        assert list(host.local("C:\\VMs\\export").rglob("*.vmcx"))
        host.convert(host.snapshot(vm))
        host.merge()
        assert vm.disks[0].path != base
        (said,) = host.all("Msvm_DiskMergeSettingData")
        assert said["EnabledState"] == 0
        on = Thing(
            "Msvm_DiskMergeSettingData",
            {"InstanceID": said["InstanceID"], "EnabledState": 1},
        )
        host.call(MANAGEMENT, "ModifyDiskMergeSettings", SettingData=on)
        host.merge()
        assert vm.disks[0].path == base


def test_a_checkpoint_that_is_removed_leaves_no_file(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        before = sorted(tmp_path.glob("VMs/**/*"))
        host.job(host.ask_destroy(host.snapshot(vm, APPLICATION)))
        host.merge()
        left = {path.name for path in sorted(tmp_path.glob("VMs/**/*"))}
        assert left - {path.name for path in before} == {"Snapshots"}
        assert vm.checkpoints == ()
        assert vm.disks[0].tracked.ids == []


def test_an_older_reference_point_outlives_a_checkpoint_that_is_removed(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        since = host.base(vm)
        vm.disks[0].write(0, piece(1))
        host.job(host.ask_destroy(host.snapshot(vm)))
        host.merge()
        (file,) = host.files(host.snapshot(vm))
        assert host.ranges(file, since) == [(0, 4096)]


def test_a_tree_of_recovery_checkpoints_is_not_removed(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        answer = host.call(
            SNAPSHOTS, "DestroySnapshotTree", SnapshotSettingData=host.snapshot(vm)
        )
        assert answer["ReturnValue"] == 32775


def test_a_recovery_checkpoint_can_refuse_to_go_and_be_converted_all_the_same(
    tmp_path: Path,
) -> None:
    with Host(tmp_path, quirks=Quirks(recovery_destroy_works=False)) as host:
        vm = host.add_vm("web01")
        snapshot = host.snapshot(vm)
        assert host.ask_destroy(snapshot)["ReturnValue"] == 32775
        assert host.convert(snapshot)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_second_recovery_checkpoint_is_made_or_refused(
    tmp_path: Path, allowed: bool
) -> None:
    quirks = Quirks(second_recovery_checkpoint=allowed)
    with Host(tmp_path, quirks=quirks) as host:
        vm = host.add_vm("web01")
        vm.recovery_checkpoint("of another product")
        answer = host.ask_snapshot(vm)
        assert answer["ReturnValue"] == (4096 if allowed else 32775)


@pytest.mark.parametrize(
    ("quirks", "state", "level"),
    [
        (Quirks(application_layer=False), "start", APPLICATION),
        (Quirks(), "stop", APPLICATION),
        (Quirks(), "start", CRASH),
    ],
)
def test_no_layer_where_no_guest_writes_last(
    tmp_path: Path, quirks: Quirks, state: str, level: int
) -> None:
    with Host(tmp_path, quirks=quirks) as host:
        vm = host.add_vm("web01")
        getattr(vm, state)()
        active = vm.disks[0].path
        assert host.files(host.snapshot(vm, level)) == [active]


def test_a_users_checkpoint_has_no_layer_though_it_is_consistent(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        active = vm.disks[0].path
        settings = Thing(SNAPSHOT_SETTINGS, {"ConsistencyLevel": APPLICATION})
        answer = host.call(
            SNAPSHOTS,
            "CreateSnapshot",
            AffectedSystem=system(vm),
            SnapshotSettings=settings,
            SnapshotType=2,
        )
        (made,) = host.done(answer)
        assert made.values["VirtualSystemType"] == "Microsoft:Hyper-V:Snapshot:Realized"
        assert host.files(of(vm.checkpoints[0].id)) == [active]


def test_checkpoints_hang_on_each_other_and_close_the_gap(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        first, second, third = (vm.checkpoint() for _ in range(3))
        vm.delete_checkpoint(second)
        found = host.get(of(third))
        assert found is not None
        assert found.values["Parent"] == f"Microsoft:{first.upper()}"
        # The file in the middle cannot go before what stands on it.
        assert len(vm.disks[0].files) == 4
        vm.delete_checkpoint(third)
        host.merge()
        assert len(vm.disks[0].files) == 2


def test_the_ninth_checkpoint_fails_as_a_job_and_not_as_the_host(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        for _ in range(8):
            vm.checkpoint()
        assert host.job(host.ask_snapshot(vm))["JobState"] == 10
        assert len(vm.checkpoints) == 8


def test_a_users_checkpoint_stays_under_a_backup(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.disks[0].write(0, piece(1))
        mine = vm.checkpoint("before the update")
        vm.disks[0].write(0, piece(2))
        snapshot = host.snapshot(vm)
        (file,) = host.files(snapshot)
        with VirtualDisk.open(host.local(file)) as disk:
            assert disk.read_at(0, 4096) == piece(2)
        (old,) = host.files(of(mine))
        assert host.setting_data(file)["ParentPath"] == old
        host.convert(snapshot)
        host.merge()
        assert [found.id.lower() for found in vm.checkpoints] == [mine]
        assert vm.disks[0].path == file


def test_a_users_checkpoint_cannot_be_converted(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        mine = of(vm.checkpoint())
        assert host.job(host.ask_convert(mine))["JobState"] == 10


def test_a_checkpoint_is_renamed_and_nothing_else_of_it_changes(tmp_path: Path) -> None:
    for by_job in (False, True):
        with Host(tmp_path / str(by_job), quirks=Quirks(rename_by_job=by_job)) as host:
            vm = host.add_vm("web01")
            made = str(host.snapshot(vm).keys["InstanceID"])
            answer = host.modify(made, ElementName="hypercbt 1 2")
            if by_job:
                host.done(answer)
            else:
                assert answer["ReturnValue"] == 0
            assert vm.checkpoints[0].name == "hypercbt 1 2"
            assert host.job(host.modify(made, Version="11.0"))["JobState"] == 10


def test_a_revert_makes_every_id_unknown(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        since = host.base(vm)
        vm.checkpoint()
        vm.disks[0].write(0, piece(1))
        vm.stop()
        newest = of(vm.checkpoints[-1].id)
        assert (
            host.job(host.call(SNAPSHOTS, "ApplySnapshot", Snapshot=newest))["JobState"]
            == 7
        )
        assert vm.disks[0].read(0, 4096) == bytes(4096)
        (file,) = host.files(host.snapshot(vm))
        assert host.changes(file, since)["ReturnValue"] == 32768


def test_what_does_not_exist_is_a_fault(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        snapshot = host.snapshot(vm)
        host.convert(snapshot)
        host.merge()
        with pytest.raises(ProviderError) as caught:
            host.ask_convert(snapshot)
        assert caught.value.subcode == "a:DestinationUnreachable"


def test_configuration_files_of_a_checkpoint_are_beside_each_other(
    tmp_path: Path,
) -> None:
    for version, suffixes in (
        ("10.0", {".vmcx", ".vmrs", ".vmgs"}),
        ("8.0", {".vmcx", ".vmrs"}),
    ):
        with Host(tmp_path / version) as host:
            found = host.get(host.snapshot(host.add_vm("web01", version=version)))
            assert found is not None
            root, file = (
                str(found.values[name])
                for name in ("ConfigurationDataRoot", "ConfigurationFile")
            )
            path = host.local(f"{root}\\{file}")
            assert {
                each.suffix for each in path.parent.glob(f"{path.stem}.*")
            } == suffixes

"""What clients see of machines, disks and reference points, quirk by quirk."""

from contextlib import suppress
from pathlib import Path

import pytest

from hypercbt.lab import NewDisk, Quirks, TrackedDisk
from hypercbt.lab.model.classes import CLASSES
from hypercbt.lab.model.services import IMAGES, MANAGEMENT, NAMES, POINTS, SNAPSHOTS
from hypercbt.lab.wire.provider import Call, ProviderError, Ref
from hypercbt.lab.wire.server import WireOptions
from lab.model.calling import SETTINGS, STORAGE, Host, system

DRIVE = "Msvm_ResourceAllocationSettingData"


def test_every_value_that_is_shown_is_declared(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[32 << 20, NewDisk(kind="pass-through")])
        answer = host.ask_snapshot(vm)
        host.job(answer)
        host.convert(Ref(SETTINGS, {"InstanceID": f"Microsoft:{vm.checkpoints[0].id}"}))
        for name, declared in CLASSES.items():
            for values in host.all(name):
                assert values.keys() <= declared.properties.keys(), name
                assert all(values[key] is not None for key in declared.keys)


def test_the_host_is_one_of_the_computers_and_was_never_installed(
    tmp_path: Path,
) -> None:
    with Host(tmp_path, name="HV01") as host:
        host.add_vm("web01")
        (itself,) = [
            row for row in host.all("Msvm_ComputerSystem") if row["InstallDate"] is None
        ]
        assert itself["Name"] == "HV01"
        assert host.all("Msvm_ComputerSystem", Name="hv01") == [itself]


def test_captions_are_in_the_language_of_the_host(tmp_path: Path) -> None:
    for language, caption in (
        ("de-DE", "Virtueller Computer"),
        ("en-US", "Virtual Machine"),
    ):
        options = WireOptions(language=language)
        with Host(tmp_path / language, options=options) as host:
            vm = host.add_vm("web01")
            (row,) = host.all("Msvm_ComputerSystem", Name=vm.id)
            assert row["Caption"] == caption
            assert row["Description"] == "Microsoft Virtual Machine"


def test_two_machines_may_have_one_name_and_have_two_folders(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        first, second = host.add_vm("web01"), host.add_vm("web01")
        assert first.disks[0].path != second.disks[0].path
        with pytest.raises(LookupError):
            host.vm("web01")
        assert host.vm(second.id).id == second.id


@pytest.mark.parametrize(
    ("documented", "paused", "saved"), [(False, 9, 6), (True, 32768, 32769)]
)
def test_states_are_as_seen_or_as_documented(
    tmp_path: Path, documented: bool, paused: int, saved: int
) -> None:
    with Host(tmp_path, quirks=Quirks(documented_states=documented)) as host:
        vm = host.add_vm("web01")
        seen = []
        for change in (vm.pause, vm.save, vm.stop, vm.start):
            change()
            (row,) = host.all("Msvm_ComputerSystem", Name=vm.id)
            seen.append(row["EnabledState"])
        assert seen == [paused, saved, 3, 2]


def test_settings_are_found_by_machine_and_by_id(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm, _ = host.add_vm("web01"), host.add_vm("web02")
        snapshot = host.snapshot(vm)
        both = host.all(SETTINGS, VirtualSystemIdentifier=vm.id.upper())
        assert {row["VirtualSystemType"] for row in both} == {
            "Microsoft:Hyper-V:System:Realized",
            "Microsoft:Hyper-V:Snapshot:Recovery",
        }
        (one,) = host.all(SETTINGS, InstanceID=snapshot.keys["InstanceID"].lower())
        assert one["Parent"] is None
        assert len(host.all(SETTINGS)) == 3
        (through,) = host.of(system(vm), "Msvm_SettingsDefineState")
        assert through.values["ElementName"] == "web01"
        (kept,) = host.of(system(vm), "Msvm_SnapshotOfVirtualSystem")
        assert kept.values["InstanceID"] == snapshot.keys["InstanceID"]


def test_a_disk_hangs_on_a_drive_and_that_on_a_controller(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", generation=1, disks=[32 << 20, 32 << 20])
        disks = [
            row
            for row in host.all(STORAGE)
            if row["ResourceSubType"].endswith("Hard Disk")
        ]
        for disk in disks:
            drive = self_of(host, disk["Parent"])
            controller = self_of(host, drive["Parent"])
            assert (
                controller["ResourceSubType"]
                == "Microsoft:Hyper-V:Emulated IDE Controller"
            )
            assert controller["Address"] == "0"
            assert int(drive["AddressOnParent"]) in (0, 1)
        assert [disk.location for disk in vm.disks] == ["IDE 0:0", "IDE 0:1"]


def self_of(host: Host, path: str) -> dict[str, str]:
    """What a path means: its backslashes are doubled within the quotes."""
    name, _, quoted = path.rpartition(
        ':Msvm_ResourceAllocationSettingData.InstanceID="'
    )
    assert name == "\\\\LAB1\\root\\virtualization\\v2"
    assert "\\\\" in quoted
    found = host.get(
        Ref(DRIVE, {"InstanceID": quoted.rstrip('"').replace("\\\\", "\\")})
    )
    assert found is not None
    return {key: str(value) for key, value in found.values.items()}


def test_a_disc_in_the_dvd_drive_is_in_the_same_class(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.add_vm("web01")
        kinds = {row["ResourceSubType"] for row in host.all(STORAGE)}
        assert kinds == {
            "Microsoft:Hyper-V:Virtual Hard Disk",
            "Microsoft:Hyper-V:Virtual CD/DVD Disk",
        }


def test_a_pass_through_disk_is_a_drive_with_nothing_in_it(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.add_vm("web01", disks=[NewDisk(kind="pass-through")])
        drives = {row["ResourceSubType"] for row in host.all(DRIVE)}
        assert "Microsoft:Hyper-V:Physical Disk Drive" in drives
        assert len(host.all(STORAGE)) == 1  # the disc


def test_the_disks_of_a_point_are_in_another_order_and_parallel_to_their_ids(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[32 << 20] * 5)
        point = host.convert(host.snapshot(vm))
        places = [str(each).split("\\")[-2] for each in point["VirtualDiskIdentifiers"]]
        assert sorted(places) == ["0", "1", "2", "3", "4"]
        assert places != sorted(places)
        (kept,) = vm.reference_points
        by_slot = {where.split(":")[1]: rct for where, rct in kept.disks}
        assert list(point["ResilientChangeTrackingIdentifiers"]) == [
            by_slot[slot] for slot in places
        ]


@pytest.mark.parametrize(("untracked", "count"), [("short", 1), ("null", 2)])
def test_a_disk_without_tracking_has_no_id_in_the_point(
    tmp_path: Path, untracked: str, count: int
) -> None:
    quirks = Quirks(untracked=untracked)  # type: ignore[arg-type]
    with Host(tmp_path, quirks=quirks) as host:
        vm = host.add_vm("web01", disks=[32 << 20, NewDisk(32 << 20, kind="vhd")])
        point = host.convert(host.snapshot(vm))
        assert len(point["VirtualDiskIdentifiers"]) == 2
        assert len(point["ResilientChangeTrackingIdentifiers"]) == count


def test_a_point_still_names_a_disk_that_was_detached(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[32 << 20, 32 << 20])
        host.base(vm)
        vm.detach("SCSI 0:1")
        (point,) = host.all("Msvm_VirtualSystemReferencePoint")
        found = [
            host.get(Ref(STORAGE, {"InstanceID": str(each)}))
            for each in point["VirtualDiskIdentifiers"]
        ]
        assert sorted(thing is None for thing in found) == [False, True]


def test_points_are_found_by_machine(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm, other = host.add_vm("web01"), host.add_vm("web02")
        vm.add_reference_points(3)
        other.add_reference_points(2)
        name = "Msvm_VirtualSystemReferencePoint"
        assert len(host.all(name, VirtualSystemIdentifier=vm.id)) == 3
        assert len(host.of(system(other), "Msvm_ReferencePointOfVirtualSystem")) == 2
        assert len(host.all(name)) == 5


def test_guids_are_in_another_case_in_some_places(tmp_path: Path) -> None:
    for varies in (True, False):
        quirks = Quirks(guid_case_varies=varies, parent_case_varies=varies)
        with Host(tmp_path / str(varies), quirks=quirks) as host:
            vm = host.add_vm("web01")
            (disk, *_) = host.all(STORAGE)
            assert (vm.id in disk["Parent"]) is varies
            assert (vm.id.upper() in disk["Parent"]) is not varies
            (named,) = host.convert(host.snapshot(vm))["VirtualDiskIdentifiers"]
            assert (vm.id in named) is varies
            data = host.setting_data(vm.disks[0].path)
            assert (data["VirtualDiskId"] == vm.disks[0].id) is varies


@pytest.mark.parametrize(
    ("service", "subcode"),
    [
        (MANAGEMENT, "s:Receiver"),
        (SNAPSHOTS, "w:InternalError"),
        (IMAGES, "w:InternalError"),
    ],
)
def test_a_service_that_is_not_named_fails_in_its_own_way(
    tmp_path: Path, service: str, subcode: str
) -> None:
    with Host(tmp_path) as host:
        method = next(iter(CLASSES[service].methods))
        call = Call(service, {"Name": NAMES[service]}, method, {}, "lab", 512_000)
        with pytest.raises(ProviderError) as caught:
            host.model.invoke(call)
        assert caught.value.subcode == subcode
        assert (caught.value.provider_code == 0x8004102F) is (service == MANAGEMENT)


def test_the_service_of_reference_points_takes_what_its_instance_says(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.add_reference_points(1)
        (point,) = host.all("Msvm_VirtualSystemReferencePoint")
        (service,) = host.all(POINTS)
        selectors = {key: str(service[key]) for key in CLASSES[POINTS].keys}
        keys = {
            key: str(point[key]) for key in ("InstanceID", "VirtualSystemIdentifier")
        }
        arguments = {
            "AffectedReferencePoint": Ref("Msvm_VirtualSystemReferencePoint", keys)
        }
        call = Call(
            POINTS, selectors, "DestroyReferencePoint", arguments, "lab", 512_000
        )
        host.done(host.model.invoke(call))
        assert vm.reference_points == ()


def test_a_summary_names_every_machine(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        for name in ("web01", "web02"):
            host.add_vm(name)
        answer = host.call(
            MANAGEMENT, "GetSummaryInformation", RequestedInformation=(0, 1)
        )
        found = answer["SummaryInformation"]
        assert sorted(each.values["ElementName"] for each in found) == [
            "web01",
            "web02",
        ]


def test_a_machine_is_switched_on_and_off_by_its_own_method(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        seen = []
        for wanted in (9, 6, 3, 2, 77):
            call = Call(
                "Msvm_ComputerSystem",
                {"Name": vm.id},
                "RequestStateChange",
                {"RequestedState": wanted},
                "lab",
                512_000,
            )
            answer = host.model.invoke(call)
            if answer["ReturnValue"] == 4096:
                host.job(answer)
            seen.append((answer["ReturnValue"], vm.machine.enabled))
        assert seen == [(4096, 9), (4096, 6), (4096, 3), (4096, 2), (32773, 2)]


def test_a_replica_says_so(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm, own = host.add_vm("copy", replica=True), host.add_vm("own")
        modes = [
            row["ReplicationMode"]
            for each in (vm, own)
            for row in host.all("Msvm_ComputerSystem", Name=each.id)
        ]
        assert modes == [2, 0]


def test_every_method_that_is_declared_does_something(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        for name, declared in CLASSES.items():
            for method in declared.methods:
                call = Call(
                    name, {"CreationClassName": name}, method, {}, "lab", 512_000
                )
                with suppress(ProviderError):  # a method that is missing is a KeyError
                    answer = host.model.invoke(call)
                    assert answer["ReturnValue"] is not None


@pytest.mark.parametrize(("fixed", "kind"), [(True, 2), (False, 3)])
def test_a_disk_to_begin_with_is_shown_as_it_is(
    tmp_path: Path, fixed: bool, kind: int
) -> None:
    source = tmp_path / "source.vhdx"
    TrackedDisk.create(
        source,
        8 << 20,
        fixed=fixed,
        block_size=1 << 20,
        logical_sector_size=4096,
    ).close()
    with Host(tmp_path / "lab") as host:
        vm = host.add_vm("web01", disks=[source, 8 << 20])
        host.restart()
        shown, plain = (host.setting_data(disk.path) for disk in vm.disks)
        named = ("Type", "MaxInternalSize", "BlockSize", "LogicalSectorSize")
        assert [shown[name] for name in named] == [kind, 8 << 20, 1 << 20, 4096]
        assert [plain[name] for name in named] == [3, 8 << 20, 2 << 20, 512]
        (frozen, _) = host.files(host.snapshot(vm))
        assert host.setting_data(frozen)["Type"] == kind
        assert host.setting_data(vm.disks[0].path)["Type"] == 4

"""What a real host would not take is not taken here either."""

from pathlib import Path
from typing import Any

import pytest

from hypercbt.lab.faults import FaultPlan
from hypercbt.lab.model.classes import CLASSES
from hypercbt.lab.model.services import IMAGES, MANAGEMENT, NAMES, POINTS, SNAPSHOTS
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.provider import Call, ProviderError, Ref, Thing
from hypercbt.lab.wire.service import Service
from lab.model.calling import SETTINGS, SNAPSHOT_SETTINGS, STORAGE, Host, system
from lab.wire.asking import V2, Said, envelope


def over_the_wire(host: Host, method: str, class_name: str, **keys: str) -> Said:
    """The answer to a call without arguments."""
    uri = f"{V2}/{class_name}"
    body = f'<p:{method}_INPUT xmlns:p="{uri}"/>'
    data = envelope(f"{uri}/{method}", uri, body, selectors=keys)
    service = Service(host.model, WireOptions(), FaultPlan())
    reply = service.answer(data, "lab")
    assert reply.body is not None
    assert not service.book.errors
    return Said(reply.status, reply.body.decode())


@pytest.mark.parametrize(
    ("service", "named"),
    [
        (MANAGEMENT, False),
        (MANAGEMENT, True),
        (SNAPSHOTS, False),
        (SNAPSHOTS, True),
        (IMAGES, False),
        (IMAGES, True),
        (POINTS, False),  # its name alone it takes [?]
    ],
)
def test_a_service_that_is_not_named_fails_in_its_own_way_over_the_wire(
    tmp_path: Path, service: str, named: bool
) -> None:
    keys = {"Name": NAMES[service]} if named else {}
    with Host(tmp_path) as host:
        method = next(iter(CLASSES[service].methods))
        said = over_the_wire(host, method, service, **keys)
        assert said.status == 500
        by_code = said.told("e:error_Code") == str(0x8004102F)
        assert by_code is (service == MANAGEMENT)
        subcode = "s:Receiver" if service == MANAGEMENT else "w:InternalError"
        assert said.told("s:Subcode/s:Value") == subcode


def test_an_object_that_is_not_named_has_no_methods(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        said = over_the_wire(host, "GetErrorEx", "Msvm_ConcreteJob")
        assert said.told("e:error_Code") == str(0x8004102F)


def test_keys_that_mean_several_objects_mean_none(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        name = "Msvm_ComputerSystem"
        assert host.get(Ref(name, {"CreationClassName": name})) is not None
        vm = host.add_vm("web01")
        with pytest.raises(ProviderError) as caught:
            host.get(Ref(name, {"CreationClassName": name}))
        assert caught.value.subcode == "w:InvalidSelectors"
        assert host.get(system(vm)) is not None


def wrong_targets(host: Host, snapshot: Ref) -> list[object]:
    """References that hold the right GUID, and mean something else."""
    text = snapshot.keys["InstanceID"]
    parts = host.of(snapshot, "Msvm_VirtualSystemSettingDataComponent", STORAGE)
    part = str(parts[0].values["InstanceID"])
    return [
        Ref("Msvm_VirtualSystemReferencePoint", {"InstanceID": text}),
        Ref(STORAGE, {"InstanceID": part}),
        Ref(SETTINGS, {"InstanceID": part}),
        Ref(SETTINGS, {"Name": text}),
        Ref(SETTINGS, {}),
        text,
        None,
    ]


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        ("DestroySnapshot", "AffectedSnapshot"),
        ("DestroySnapshotTree", "SnapshotSettingData"),
        ("ApplySnapshot", "Snapshot"),
        ("ConvertToReferencePoint", "AffectedSnapshot"),
    ],
)
def test_a_reference_to_something_else_is_no_checkpoint(
    tmp_path: Path, method: str, parameter: str
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        snapshot = host.snapshot(vm)
        for wrong in wrong_targets(host, snapshot):
            with pytest.raises(ProviderError) as caught:
                host.call(SNAPSHOTS, method, **{parameter: wrong})
            assert caught.value.subcode == "a:DestinationUnreachable"
        assert len(vm.checkpoints) == 1


def test_a_reference_to_something_else_is_no_machine_and_no_point(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.add_reference_points(1)
        guid = vm.reference_points[0].id
        other = Ref(SETTINGS, {"Name": vm.id.upper()})
        calls: list[tuple[str, str, dict[str, Any]]] = [
            (SNAPSHOTS, "CreateSnapshot", {"AffectedSystem": other, "SnapshotType": 2}),
            (MANAGEMENT, "ExportSystemDefinition", {"ComputerSystem": other}),
            (
                POINTS,
                "DestroyReferencePoint",
                {
                    "AffectedReferencePoint": Ref(
                        SETTINGS, {"InstanceID": f"Microsoft:{guid}"}
                    )
                },
            ),
        ]
        for service, method, arguments in calls:
            with pytest.raises(ProviderError) as caught:
                host.call(service, method, **arguments)
            assert caught.value.subcode == "a:DestinationUnreachable"
        assert len(vm.reference_points) == 1


@pytest.mark.parametrize(
    ("level", "code"), [(None, 4096), (0, 4096), (1, 4096), (2, 4096), (3, 4), (255, 4)]
)
def test_there_are_two_levels_of_consistency(
    tmp_path: Path, level: int | None, code: int
) -> None:
    with Host(tmp_path) as host:
        answer = host.call(
            SNAPSHOTS,
            "CreateSnapshot",
            AffectedSystem=system(host.add_vm("web01")),
            SnapshotSettings=Thing(SNAPSHOT_SETTINGS, {"ConsistencyLevel": level}),
            SnapshotType=32768,
        )
        assert answer["ReturnValue"] == code


def test_a_checkpoint_that_goes_away_meanwhile_becomes_no_reference_point(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        for ask in (host.ask_convert, host.ask_destroy):
            answer = ask(host.snapshot(vm))
            vm.delete_checkpoint()
            job = host.job(answer)
            assert job["JobState"] == 10
            assert "remove" not in job["ErrorDescription"]
            host.merge()
        assert vm.reference_points == ()


def test_a_merge_waits_for_the_job_that_runs_and_does_not_free_the_machine(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        for _ in range(2):
            vm.checkpoint()
        vm.delete_checkpoint()
        host.time.advance(host.pace.merge_seconds * 0.9)
        vm.delete_checkpoint()  # while it merges
        host.time.advance(host.pace.merge_seconds * 0.2)
        answer = host.ask_snapshot(vm)
        assert answer["ReturnValue"] == 4096  # one merge for both, at its own time
        assert len(vm.disks[0].files) == 1
        host.done(answer)
        answer = host.ask_convert(
            Ref(SETTINGS, {"InstanceID": f"Microsoft:{vm.checkpoints[0].id}"})
        )
        vm.delete_checkpoint()
        found = host.get(system(vm))
        assert found is not None
        assert found.values["OperationalStatus"] == (2, 32770)  # the job, not the merge
        host.job(answer)
        found = host.get(system(vm))
        assert found is not None
        assert found.values["OperationalStatus"] == (2, 32772)
        host.merge()
        assert len(vm.disks[0].files) == 1


def test_an_export_begins_the_merge_that_waited_for_it(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.checkpoint()
        answer = host.call(
            MANAGEMENT,
            "ExportSystemDefinition",
            ComputerSystem=system(vm),
            ExportDirectory="C:\\VMs\\export",
        )
        vm.delete_checkpoint()
        host.job(answer)
        host.merge()
        assert len(vm.disks[0].files) == 1


def test_the_case_of_a_selector_does_not_matter(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        call = Call(
            "Msvm_ComputerSystem",
            {"name": vm.id.upper()},
            "RequestStateChange",
            {"RequestedState": 3},
            "lab",
            512_000,
        )
        host.job(host.model.invoke(call))
        assert vm.machine.enabled == 3

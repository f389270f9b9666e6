"""A session that answers from a script, and a host's instances in the forms that were recorded (hyperv-rct 6.3).

```python
session = ScriptedSession(*vm(WEB01, "web01"))
session.on("CreateSnapshot", started("J1"))
session.on_get("Msvm_ConcreteJob", job("J1", 4), job("J1", 7))
```

A method without a script is a defect of the test. `session.calls` has what was asked for.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from hypercbt.hyperv.values import VIRTUALIZATION, Answer, Instance, Reference, Value

WEB01 = "A1B2C3D4-0000-4000-8000-000000000001"
DB01 = "A1B2C3D4-0000-4000-8000-000000000002"
SNAPSHOT = "5AA95407-0000-4000-8000-00000000000A"
DISK_ID = "0D15C000-0000-4000-8000-00000000000D"
CONTROLLER = "83F8638B-8DCA-4152-9EDA-2CA8B33039B4"
SCSI = "BA6163D9-04A1-4D29-B605-72E2FFB1DC7F"

REALIZED = "Microsoft:Hyper-V:System:Realized"
RECOVERY = "Microsoft:Hyper-V:Snapshot:Recovery"
USER = "Microsoft:Hyper-V:Snapshot:Realized"

MADE = datetime(2026, 10, 8, 15, 15, 36, 684240, UTC)
NEVER = datetime(1601, 1, 1, tzinfo=UTC)

Step: TypeAlias = Answer | Exception | Callable[[Mapping[str, Value]], Answer]
Got: TypeAlias = Instance | Exception | None
Rows: TypeAlias = Sequence[Instance] | Exception


@dataclass
class Invocation:
    """A method that was called."""

    target: Reference
    method: str
    arguments: Mapping[str, Value]
    repeatable: bool


class ManualClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


class ScriptedSession:
    """A `Session` over a list of instances, with scripted methods."""

    host = "hv01"

    def __init__(self, *instances: Instance) -> None:
        self.instances = list(instances)
        self.calls: list[Invocation] = []
        self.requests: list[str] = []
        """One line for each call of the session, whatever its kind."""
        self.closed = False
        self._steps: dict[str, deque[Step]] = {}
        self._always: dict[str, Step] = {}
        self._gets: dict[str, deque[Got]] = {}
        self._rows: dict[str, deque[Rows]] = {}

    def on(self, method: str, *steps: Step) -> None:
        """Answer the next calls of a method, one after the other."""
        self._steps.setdefault(method, deque()).extend(steps)

    def always(self, method: str, step: Step) -> None:
        """Answer every call of a method that has no step of its own."""
        self._always[method] = step

    def on_get(self, class_name: str, *steps: Got) -> None:
        """Answer the next gets of a class; then the instances do."""
        self._gets.setdefault(class_name, deque()).extend(steps)

    def on_query(self, class_name: str, *steps: Rows) -> None:
        """Answer the next queries of a class (unfiltered); then the instances do."""
        self._rows.setdefault(class_name, deque()).extend(steps)

    def add(self, *instances: Instance) -> None:
        self.instances.extend(instances)

    def remove(self, instance_id: str) -> None:
        self.instances = [
            one
            for one in self.instances
            if one.properties.get("InstanceID") != instance_id
        ]

    def called(self, method: str) -> list[Invocation]:
        return [call for call in self.calls if call.method == method]

    def get(self, reference: Reference) -> Instance | None:
        self.requests.append(f"Get {reference.class_name}")
        queue = self._gets.get(reference.class_name)
        if queue:
            step = queue.popleft()
            if isinstance(step, Exception):
                raise step
            return step
        for one in self.instances:
            if one.class_name == reference.class_name and all(
                _equal(one.properties.get(name, value), value)
                for name, value in reference.selectors.items()
            ):
                return one
        return None

    def enumerate(
        self, class_name: str, *, namespace: str = VIRTUALIZATION
    ) -> Iterator[Instance]:
        self.requests.append(f"Enumerate {class_name}")
        yield from self._listed(class_name)

    def query(
        self,
        class_name: str,
        *,
        where: Mapping[str, str | int | bool] | None = None,
        prefix: Mapping[str, str] | None = None,
        namespace: str = VIRTUALIZATION,
    ) -> Iterator[Instance]:
        self.requests.append(f"Query {class_name}")
        for one in self._listed(class_name):
            values = one.properties
            if all(
                _equal(values.get(name), value) for name, value in (where or {}).items()
            ) and all(
                str(values.get(name)).lower().startswith(start.lower())
                for name, start in (prefix or {}).items()
            ):
                yield one

    def invoke(
        self,
        target: Reference,
        method: str,
        arguments: Mapping[str, Value],
        *,
        repeatable: bool = False,
    ) -> Answer:
        self.requests.append(f"Invoke {method}")
        self.calls.append(Invocation(target, method, arguments, repeatable))
        queue = self._steps.get(method)
        step = queue.popleft() if queue else self._always.get(method)
        assert step is not None, f"nobody expected {method}"
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Answer) else step(arguments)

    def close(self) -> None:
        self.closed = True

    def _listed(self, class_name: str) -> list[Instance]:
        queue = self._rows.get(class_name)
        if queue:
            rows = queue.popleft()
            if isinstance(rows, Exception):
                raise rows
            return list(rows)
        return [one for one in self.instances if one.class_name == class_name]


def _equal(found: Value, wanted: str | int | bool) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return found.lower() == wanted.lower()
    return found == wanted


def host_system(name: str = "HV01") -> Instance:
    """The host: an `Msvm_ComputerSystem` too, whose texts are in its own language."""
    return Instance(
        "Msvm_ComputerSystem",
        {
            "Caption": "ホスティング コンピューター システム",
            "CreationClassName": "Msvm_ComputerSystem",
            "Description": "Microsoft ホスティング コンピューター システム",
            "ElementName": name,
            "EnabledState": 2,
            "InstallDate": None,
            "Name": name,
            "OperationalStatus": (2,),
            "ReplicationMode": None,
            "StatusDescriptions": ("オペレーティング システムは正常です",),
        },
    )


def computer(guid: str, name: str, **changed: Value) -> Instance:
    """A machine as `Msvm_ComputerSystem`."""
    return Instance(
        "Msvm_ComputerSystem",
        {
            "Caption": "仮想マシン",
            "CreationClassName": "Msvm_ComputerSystem",
            "Description": "Microsoft Virtual Machine",
            "ElementName": name,
            "EnabledState": 2,
            "InstallDate": MADE,
            "Name": guid,
            "OnTimeInMilliseconds": 1000,
            "OperationalStatus": (2,),
            "ReplicationMode": 0,
            "StatusDescriptions": ("正常稼働中",),
            **changed,
        },
    )


def settings(
    vm: str, name: str, *, id: str | None = None, kind: str = REALIZED, **changed: Value
) -> Instance:
    """Settings of a machine, or of a checkpoint: `id` is its GUID then."""
    own = id or vm
    return Instance(
        "Msvm_VirtualSystemSettingData",
        {
            "Caption": "仮想マシンの設定",
            "ConfigurationDataRoot": "C:\\VMs\\web01",
            "ConfigurationFile": f"Virtual Machines\\{own}.vmcx",
            "ConfigurationID": own,
            "CreationTime": MADE,
            "ElementName": name,
            "GuestStateFile": None,
            "IncrementalBackupEnabled": False,
            "InstanceID": f"Microsoft:{own}",
            "IsAutomaticSnapshot": False,
            "UserSnapshotType": 3,
            "Version": "10.0",
            "VirtualSystemIdentifier": vm,
            "VirtualSystemSubType": "Microsoft:Hyper-V:SubType:2",
            "VirtualSystemType": kind,
            **changed,
        },
    )


def checkpoint(
    id: str = SNAPSHOT, *, vm: str = WEB01, name: str = "", kind: str = RECOVERY
) -> Instance:
    """A checkpoint's settings."""
    shown = name or "web01 - (2026/10/08 - 15:15:36)"
    return settings(vm, shown, id=id, kind=kind)


def vm(guid: str, name: str, **changed: Value) -> list[Instance]:
    """A machine and its settings."""
    return [computer(guid, name, **changed), settings(guid, name)]


@dataclass
class Slot:
    """Where a disk is plugged in, and what."""

    path: str
    slot: int = 0
    controller: str = SCSI
    number: int = 0
    kind: str = "Microsoft:Hyper-V:Virtual Hard Disk"
    parent_case: Callable[[str], str] = field(default=str)
    """How the host spells what a disk hangs on."""


def storage(owner: str, *slots: Slot) -> list[Instance]:
    """The controllers, drives and disks of a machine or a checkpoint, in no helpful order."""
    found: dict[str, Instance] = {}
    for one in slots:
        controller = f"Microsoft:{owner}\\{one.controller}\\{one.number}"
        drive = f"{controller}\\{one.slot}\\D"
        is_scsi = one.controller != CONTROLLER
        found[controller] = allocation(
            controller,
            "Microsoft:Hyper-V:Synthetic SCSI Controller"
            if is_scsi
            else "Microsoft:Hyper-V:Emulated IDE Controller",
            6 if is_scsi else 5,
            address=None if is_scsi else str(one.number),
        )
        if one.kind == "Microsoft:Hyper-V:Physical Disk Drive":
            found[drive] = allocation(
                drive,
                one.kind,
                17,
                parent=one.parent_case(parent_path(controller)),
                slot=str(one.slot),
                host_resource=(one.path,),
            )
            continue
        dvd = one.kind != "Microsoft:Hyper-V:Virtual Hard Disk"
        found[drive] = allocation(
            drive,
            "Microsoft:Hyper-V:Synthetic DVD Drive"
            if dvd
            else "Microsoft:Hyper-V:Synthetic Disk Drive",
            16 if dvd else 17,
            parent=one.parent_case(parent_path(controller)),
            slot=str(one.slot),
        )
        disk = f"{controller}\\{one.slot}\\L"
        found[disk] = Instance(
            "Msvm_StorageAllocationSettingData",
            {
                "Caption": "ハード ディスク イメージ",
                "HostResource": (one.path,),
                "InstanceID": disk,
                "Parent": one.parent_case(parent_path(drive)),
                "ResourceSubType": one.kind,
                "ResourceType": 31,
                "SnapshotId": None,
            },
        )
    return list(reversed(found.values()))


def allocation(
    id: str,
    kind: str,
    type: int,
    *,
    parent: str | None = None,
    slot: str | None = None,
    address: str | None = None,
    host_resource: tuple[str, ...] | None = None,
) -> Instance:
    """A controller or a drive."""
    return Instance(
        "Msvm_ResourceAllocationSettingData",
        {
            "Address": address,
            "AddressOnParent": slot,
            "HostResource": host_resource,
            "InstanceID": id,
            "Parent": parent,
            "ResourceSubType": kind,
            "ResourceType": type,
        },
    )


def parent_path(id: str) -> str:
    """A WMI path: its backslashes are doubled, those of an `InstanceID` are not."""
    doubled = id.replace("\\", "\\\\")
    return f'\\\\HV01\\root\\virtualization\\v2:Msvm_ResourceAllocationSettingData.InstanceID="{doubled}"'


def disk_answer(
    path: str,
    *,
    parent: str | None = None,
    size: int = 1 << 30,
    disk_id: str | None = DISK_ID,
    format: int = 3,
    **changed: Value,
) -> Answer:
    """What `GetVirtualHardDiskSettingData` says of a file."""
    return Answer(
        0,
        {
            "SettingData": Instance(
                "Msvm_VirtualHardDiskSettingData",
                {
                    "BlockSize": 33554432,
                    "Format": format,
                    "LogicalSectorSize": 512,
                    "MaxInternalSize": size,
                    "ParentPath": parent,
                    "Path": path,
                    "PhysicalSectorSize": 4096,
                    "Type": 4 if parent else 3,
                    "VirtualDiskId": disk_id,
                    **changed,
                },
            )
        },
    )


def describes(
    *answers: tuple[str, Answer],
) -> Callable[[Mapping[str, Value]], Answer]:
    """Answer `GetVirtualHardDiskSettingData` by path; of others it says that they are not there."""
    known = {path.lower(): answer for path, answer in answers}
    return lambda arguments: known.get(
        str(arguments["Path"]).lower(), Answer(32779, {})
    )


def started(id: str, class_name: str = "Msvm_ConcreteJob") -> Answer:
    """A job was started."""
    return Answer(4096, {"Job": job_reference(id, class_name)})


def job_reference(id: str, class_name: str = "Msvm_ConcreteJob") -> Reference:
    return Reference(class_name, {"InstanceID": id})


def job(
    id: str, state: int, class_name: str = "Msvm_ConcreteJob", **changed: Value
) -> Instance:
    """A job as it is while it lives: its error texts are empty, not null."""
    return Instance(
        class_name,
        {
            "Cancellable": True,
            "ElapsedTime": timedelta(microseconds=14947),
            "ElementName": "スナップショットの作成",
            "ErrorCode": 0,
            "ErrorDescription": "",
            "ErrorSummaryDescription": "",
            "InstanceID": id,
            "JobState": state,
            "JobStatus": "ジョブを実行中です",
            "JobType": 70,
            "PercentComplete": 50,
            "TimeBeforeRemoval": timedelta(minutes=5),
            **changed,
        },
    )


def affected(job_id: str, element: Reference, *effects: int) -> Instance:
    """One row of what a job has done."""
    return Instance(
        "Msvm_AffectedJobElement",
        {
            "AffectedElement": element,
            "AffectingElement": job_reference(job_id),
            "ElementEffects": effects,
            "OtherElementEffectsDescriptions": None,
        },
    )


def settings_reference(id: str) -> Reference:
    return Reference("Msvm_VirtualSystemSettingData", {"InstanceID": f"Microsoft:{id}"})


def vm_reference(guid: str) -> Reference:
    return Reference(
        "Msvm_ComputerSystem",
        {"CreationClassName": "Msvm_ComputerSystem", "Name": guid},
    )


def reference_point(
    id: str,
    *,
    vm: str = WEB01,
    disks: tuple[str | None, ...] = (),
    ids: tuple[str | None, ...] | None = (),
    **changed: Value,
) -> Instance:
    """A reference point, with the RCT ids beside the disks."""
    return Instance(
        "Msvm_VirtualSystemReferencePoint",
        {
            "ConsistencyLevel": 1,
            "ElementName": "Reference Point",
            "HasAssociatedData": False,
            "InstanceID": f"Microsoft:{id}",
            "ReferencePointType": 2,
            "ResilientChangeTrackingIdentifiers": ids,
            "VirtualDiskIdentifiers": disks,
            "VirtualSystemIdentifier": vm,
            **changed,
        },
    )


def point_reference(id: str, vm: str = WEB01) -> Reference:
    return Reference(
        "Msvm_VirtualSystemReferencePoint",
        {"InstanceID": f"Microsoft:{id}", "VirtualSystemIdentifier": vm},
    )

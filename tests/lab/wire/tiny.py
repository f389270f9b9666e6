"""A host so small that a test can say what it must answer: three machines, one job, one service."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypercbt.lab.wire.provider import (
    CIMV2,
    Call,
    Cim,
    CimClass,
    Declared,
    Method,
    ProviderError,
    Ref,
    Thing,
    Type,
)

STRING = Declared(Type.STRING)
U16 = Declared(Type.UINT16)
U64 = Declared(Type.UINT64)

MACHINE = CimClass(
    "Msvm_ComputerSystem",
    ("CreationClassName", "Name"),
    {
        "Name": STRING,
        "CreationClassName": STRING,
        "ElementName": STRING,
        "Description": STRING,
        "EnabledState": U16,
        "OperationalStatus": Declared(Type.UINT16, array=True),
        "StatusDescriptions": Declared(Type.STRING, array=True),
        "InstallDate": Declared(Type.DATETIME),
        "OnTimeInMilliseconds": U64,
        "ErrorDescription": STRING,
    },
    {
        "RequestStateChange": Method(
            {"RequestedState": U16}, {"Job": Declared(Type.REFERENCE)}
        )
    },
    parents=("CIM_ComputerSystem",),
)
JOB = CimClass(
    "Msvm_StorageJob",
    ("InstanceID",),
    {
        "InstanceID": STRING,
        "JobState": U16,
        "TimeBeforeRemoval": Declared(Type.DATETIME),
        "ErrorDescription": STRING,
        "Cancellable": Declared(Type.BOOLEAN),
    },
    parents=("CIM_ConcreteJob",),
)
SETTINGS = CimClass(
    "Msvm_VirtualSystemSnapshotSettingData",
    ("InstanceID",),
    {
        "InstanceID": STRING,
        "ConsistencyLevel": Declared(Type.UINT8),
        "IgnoreNonSnapshottableDisks": Declared(Type.BOOLEAN),
        "Notes": Declared(Type.STRING, array=True),
        "Delay": Declared(Type.DATETIME),
    },
)
SERVICE = CimClass(
    "Msvm_ImageManagementService",
    ("CreationClassName", "Name", "SystemCreationClassName", "SystemName"),
    {
        "CreationClassName": STRING,
        "Name": STRING,
        "SystemCreationClassName": STRING,
        "SystemName": STRING,
    },
    {
        "GetVirtualDiskChanges": Method(
            {"Path": STRING, "LimitId": STRING, "ByteOffset": U64, "ByteLength": U64},
            {
                "ChangedByteOffsets": Declared(Type.UINT64, array=True),
                "ChangedByteLengths": Declared(Type.UINT64, array=True),
                "ProcessedByteLength": U64,
                "Job": Declared(Type.REFERENCE),
            },
        ),
        "CreateSnapshot": Method(
            {
                "AffectedSystem": Declared(Type.REFERENCE),
                "SnapshotSettings": Declared(
                    Type.STRING, embedded="Msvm_VirtualSystemSnapshotSettingData"
                ),
                "SnapshotType": U16,
                "Requested": Declared(Type.UINT32, array=True),
            },
            {
                "Job": Declared(Type.REFERENCE),
                "SettingData": Declared(
                    Type.STRING, embedded="Msvm_VirtualSystemSnapshotSettingData"
                ),
                "Tree": Declared(Type.OBJECT),
            },
        ),
    },
)
OWNED = CimClass(
    "Msvm_HostedDependency",
    ("Antecedent", "Dependent"),
    {"Antecedent": Declared(Type.REFERENCE), "Dependent": Declared(Type.REFERENCE)},
)
SYSTEM = CimClass("Win32_OperatingSystem", ("Name",), {"Name": STRING}, namespace=CIMV2)

HOST = "LAB1"
IDS = (
    "AAAAAAAA-0000-4000-8000-000000000001",
    "BBBBBBBB-0000-4000-8000-000000000002",
)


def machine(name: str, label: str, **values: Cim) -> Thing:
    return Thing(
        "Msvm_ComputerSystem",
        {
            "Name": name,
            "CreationClassName": "Msvm_ComputerSystem",
            "ElementName": label,
            "Description": "Ein virtueller Computer",
            "EnabledState": 2,
            "OperationalStatus": (2,),
            "InstallDate": datetime(2026, 10, 8, 15, 15, 36, 684240, UTC),
            "OnTimeInMilliseconds": (1 << 64) - 1,
            "ErrorDescription": "",
            **values,
        },
    )


def machines(count: int) -> tuple[Thing, ...]:
    return tuple(
        machine(f"{number:08X}-0000-4000-8000-000000000000", f"vm{number}")
        for number in range(count)
    )


@dataclass
class Tiny:
    """Answers what the tests have put into it, and remembers what it was called with."""

    things: list[Thing] = field(
        default_factory=lambda: [
            machine(HOST, "LAB1", InstallDate=None),
            machine(IDS[0], "web01"),
            machine(IDS[1], "web<02> & \\ 'b'", OperationalStatus=(2, 32772)),
            Thing(
                "Msvm_StorageJob",
                {
                    "InstanceID": "J1",
                    "JobState": 4,
                    "TimeBeforeRemoval": timedelta(minutes=5),
                    "ErrorDescription": "",
                    "Cancellable": True,
                },
            ),
            Thing("Win32_OperatingSystem", {"Name": "Lab"}),
            Thing(
                "Msvm_HostedDependency",
                {
                    "Antecedent": Ref("Msvm_ComputerSystem", {"Name": HOST}),
                    "Dependent": Ref("Msvm_ComputerSystem", {"Name": IDS[0]}),
                },
            ),
        ]
    )
    calls: list[Call] = field(default_factory=list)
    answer: dict[str, Cim] = field(default_factory=lambda: {"ReturnValue": 0})
    asked_equal: list[Mapping[str, Cim]] = field(default_factory=list)
    raises: Exception | None = None

    def classes(self) -> Mapping[str, CimClass]:
        known = (MACHINE, JOB, SETTINGS, SERVICE, OWNED, SYSTEM)
        return {one.name: one for one in known}

    def instances(self, class_name: str, equal: Mapping[str, Cim]) -> Iterable[Thing]:
        self.asked_equal.append(equal)
        if self.raises:
            raise self.raises
        return [thing for thing in self.things if thing.class_name == class_name]

    def get(self, class_name: str, selectors: Mapping[str, str]) -> Thing | None:
        for thing in self.instances(class_name, {}):
            if all(thing.values.get(key) == value for key, value in selectors.items()):
                return thing
        return None

    def associators(
        self, source: Ref, association: str | None, result: str | None
    ) -> Iterable[Thing]:
        wanted = source.keys.get("Name")
        return [
            thing
            for thing in self.things
            if wanted == HOST and thing.values.get("Name") == IDS[0]
        ]

    def invoke(self, call: Call) -> Mapping[str, Cim]:
        self.calls.append(call)
        if call.selectors.get("Name") == "gone":
            raise ProviderError(
                "a:DestinationUnreachable", 2150858752, "weg", 2147749890
            )
        if self.raises:
            raise self.raises
        return self.answer

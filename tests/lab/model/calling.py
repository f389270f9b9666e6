"""Asks a model as the wire does, without a wire: a clock that a test moves, and no waiting."""

from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from random import Random
from typing import Any, cast

from hypercbt.lab import LabHost, LabVm, ManualClock
from hypercbt.lab.model.quirks import Quirks
from hypercbt.lab.model.services import IMAGES, MANAGEMENT, POINTS, SNAPSHOTS
from hypercbt.lab.wire.provider import Call, Ref, Thing

SETTINGS = "Msvm_VirtualSystemSettingData"
STORAGE = "Msvm_StorageAllocationSettingData"
SNAPSHOT_SETTINGS = "Msvm_VirtualSystemSnapshotSettingData"
APPLICATION, CRASH = 1, 2

__all__ = ["APPLICATION", "CRASH", "Host"]


class Host(LabHost):
    """A lab host whose time stands still, and who is asked directly."""

    def __init__(
        self, folder: Path, *, quirks: Quirks | None = None, **more: Any
    ) -> None:
        self.time = ManualClock()
        super().__init__(
            folder,
            quirks=quirks,
            clock=self.time,
            seed=1,
            **{"power_cuts": True, **more},
        )

    def call(self, service: str, method: str, **arguments: Any) -> dict[str, Any]:
        call = Call(
            service, {"CreationClassName": service}, method, arguments, "lab", 512_000
        )
        return dict(self.model.invoke(call))

    def get(self, ref: Ref) -> Thing | None:
        return self.model.get(ref.class_name, ref.keys)

    def all(self, class_name: str, **equal: Any) -> list[Mapping[str, Any]]:
        return [thing.values for thing in self.model.instances(class_name, equal)]

    def of(
        self, source: Ref, association: str, result: str | None = None
    ) -> list[Thing]:
        return list(self.model.associators(source, association, result))

    def job(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """The job that was started, at its end. The merge that follows waits for more time to pass."""
        assert answer["ReturnValue"] == 4096, answer
        self.time.advance(self.pace.job_seconds)
        found = self.get(answer["Job"])
        assert found is not None
        return found.values

    def done(self, answer: Mapping[str, Any]) -> list[Thing]:
        """What the job, which must not fail, has created."""
        job = self.job(answer)
        assert job["JobState"] in (7, 32768), job["ErrorDescription"]
        rows = self.all("Msvm_AffectedJobElement")
        created = [
            row["AffectedElement"]
            for row in rows
            if row["AffectingElement"] == answer["Job"]
            and row["ElementEffects"] == (5,)
        ]
        return [thing for ref in created if (thing := self.get(ref)) is not None]

    def merge(self) -> None:
        """Let the merge end."""
        self.settle()
        self.time.advance(self.pace.merge_seconds)
        self.settle()

    def ask_snapshot(
        self, vm: LabVm, level: int = CRASH, **more: Any
    ) -> dict[str, Any]:
        settings = Thing(
            SNAPSHOT_SETTINGS,
            {"ConsistencyLevel": level, "IgnoreNonSnapshottableDisks": True, **more},
        )
        return self.call(
            SNAPSHOTS,
            "CreateSnapshot",
            AffectedSystem=system(vm),
            SnapshotSettings=settings,
            SnapshotType=32768,
        )

    def snapshot(self, vm: LabVm, level: int = CRASH) -> Ref:
        (made,) = self.done(self.ask_snapshot(vm, level))
        return Ref(SETTINGS, {"InstanceID": str(made.values["InstanceID"])})

    def ask_convert(self, snapshot: Ref) -> dict[str, Any]:
        return self.call(
            SNAPSHOTS, "ConvertToReferencePoint", AffectedSnapshot=snapshot
        )

    def convert(self, snapshot: Ref) -> Mapping[str, Any]:
        (made,) = self.done(self.ask_convert(snapshot))
        return made.values

    def base(self, vm: LabVm) -> str:
        """A reference point, merge and all: the id of the first disk."""
        self.convert(self.snapshot(vm))
        self.merge()
        found = vm.reference_points[-1].disks[0][1]
        assert found is not None
        return found

    def ask_destroy(self, snapshot: Ref) -> dict[str, Any]:
        return self.call(SNAPSHOTS, "DestroySnapshot", AffectedSnapshot=snapshot)

    def forget(self, point: Mapping[str, Any]) -> dict[str, Any]:
        keys = {name: point[name] for name in ("InstanceID", "VirtualSystemIdentifier")}
        ref = Ref("Msvm_VirtualSystemReferencePoint", keys)
        return self.call(POINTS, "DestroyReferencePoint", AffectedReferencePoint=ref)

    def files(self, snapshot: Ref) -> list[str]:
        """The disk files of a checkpoint, by slot."""
        found = self.of(snapshot, "Msvm_VirtualSystemSettingDataComponent", STORAGE)
        rows = sorted(
            (
                str(thing.values["InstanceID"]),
                cast("tuple[str]", thing.values["HostResource"]),
            )
            for thing in found
            if thing.values["ResourceSubType"] == "Microsoft:Hyper-V:Virtual Hard Disk"
        )
        return [str(resource[0]) for _, resource in rows]

    def changes(
        self, path: str, since: str, offset: int = 0, length: int = 64 << 20
    ) -> dict[str, Any]:
        return self.call(
            IMAGES,
            "GetVirtualDiskChanges",
            Path=path,
            LimitId=since,
            TargetSnapshotId="",
            ByteOffset=offset,
            ByteLength=length,
        )

    def ranges(self, path: str, since: str) -> list[tuple[int, int]]:
        answer = self.changes(path, since)
        assert answer["ReturnValue"] == 0
        return list(
            zip(answer["ChangedByteOffsets"], answer["ChangedByteLengths"], strict=True)
        )

    def modify(self, instance_id: str, **values: Any) -> dict[str, Any]:
        settings = Thing(SETTINGS, {"InstanceID": instance_id, **values})
        return self.call(MANAGEMENT, "ModifySystemSettings", SystemSettings=settings)

    def setting_data(self, path: str) -> Mapping[str, Any]:
        answer = self.call(IMAGES, "GetVirtualHardDiskSettingData", Path=path)
        assert answer["ReturnValue"] == 0
        return answer["SettingData"].values  # type: ignore[no-any-return]

    def local(self, path: str) -> Path:
        ((root, folder),) = self.map.items()
        return folder.joinpath(*PureWindowsPath(path).relative_to(root).parts)


def system(vm: LabVm) -> Ref:
    return Ref("Msvm_ComputerSystem", {"Name": vm.id.upper()})


def piece(seed: int, length: int = 4096) -> bytes:
    return Random(seed).randbytes(length)

"""A machine on a host and a repository, both pretended, for the order of a backup's steps.

What is asked of either stands in one list, `Scene.events`, and any of it can be made to fail. Nothing here is a host:
what a host really does is tried on the lab host (tests/integration/hyperv).
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from hypercbt import Extents, Repository, VirtualDisk
from hypercbt.errors import HostFileError, HostFileMissingError
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import Configuration, VirtualMachine
from hypercbt.hyperv.order import Order
from hypercbt.hyperv.owners import this_process
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.values import Reference
from support import disk_document, point_document

VM = "a1b2c3d4-0000-4000-8000-000000000001"
REPOSITORY = "0f" * 16
DISK_BYTES = 64 << 20
GIB = 1 << 30
NOW = datetime(2026, 10, 8, 15, 15, tzinfo=UTC)
OWN = object()


def vm_disk(
    name: str = "web01",
    *,
    kind: str = "vhdx",
    slot: int = 0,
    size: int | None = DISK_BYTES,
    disk_id: str | None = None,
    parents: tuple[str, ...] = (),
) -> VmDisk:
    return VmDisk(
        instance_id=rf"Microsoft:{VM.upper()}\83F8\0\{slot}\D",
        path=rf"C:\VMs\{name}.{kind}",
        kind=kind,
        location=f"SCSI 0:{slot}",
        disk_id=disk_id or f"0d15c000-0000-4000-8000-{slot:012}",
        size=size,
        parents=parents,
    )


def virtual_machine(**changed: Any) -> VirtualMachine:
    made = VirtualMachine(
        id=VM,
        name="web01",
        state="running",
        busy=None,
        version="10.0",
        generation=2,
        checkpoint_type="production",
        replication="none",
        settings_id=f"Microsoft:{VM.upper()}",
        configuration=None,
    )
    return replace(made, **changed)


class Clock:
    """A clock that only sleeping moves; `at` are things that happen when it passes a moment."""

    def __init__(self) -> None:
        self.time = 0.0
        self.at: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        due = [entry for entry in self.at if entry[0] <= self.time]
        self.at = [entry for entry in self.at if entry[0] > self.time]
        for _, happen in due:
            happen()


@dataclass
class Lease:
    document: dict[str, Any]
    state: str = "open"
    closed: bool = False


class Scene:
    """A machine, its host and a repository, as they are at this moment."""

    def __init__(self, *disks: VmDisk, state: str = "running") -> None:
        self.events: list[str] = []
        self.clock = Clock()
        self.vm = virtual_machine(state=state)
        self.active = list(disks or (vm_disk(),))
        self.checkpoint_list: list[Checkpoint] = []
        self.frozen: dict[str, tuple[VmDisk, ...]] = {}
        self.points: list[ReferencePoint] = []
        self._below: dict[str, dict[str, VmDisk]] = {}
        """What each checkpoint has frozen, by location, whatever is said of it."""
        self.merge_seconds = 0.0
        self.free = (500 * GIB, 1000 * GIB)
        self.unmapped: set[str] = set()
        """Beginnings of host paths that lead nowhere from here."""
        self.missing: set[str] = set()
        """Host paths that are not there."""
        self.leases: dict[str, Lease] = {}
        self.baselines: list[dict[str, Any]] = []
        self.committed: list[str] = []
        self.read: list[dict[str, Any]] = []
        self.files: list[str] = []
        self._failures: dict[str, list[BaseException | Callable[[], None] | None]] = {}
        self.stop_at: tuple[int, BaseException] | None = None
        self.made = 0

    @property
    def machine(self) -> "PretendMachine":
        return PretendMachine(self)

    @property
    def repository(self) -> Repository:
        return cast("Repository", PretendRepository(self))

    def order(self, **changed: Any) -> Order:
        limits = Limits(clock=self.clock, tidy_clock=self.clock)
        return Order(**{"limits": limits, **changed})

    def on(self, call: str, *steps: BaseException | Callable[[], None] | None) -> None:
        """Let the next calls fail, or do something first; None lets one pass."""
        self._failures.setdefault(call, []).extend(steps)

    def happen(self, event: str) -> None:
        """Note an event, and let it fail where that was asked for."""
        self.events.append(event)
        if self.stop_at is not None and len(self.events) == self.stop_at[0]:
            raise self.stop_at[1]
        steps = self._failures.get(event.split(" ")[0], [])
        step = steps.pop(0) if steps else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            step()

    def count(self, event: str) -> int:
        return sum(e == event or e.startswith(f"{event} ") for e in self.events)

    def add_checkpoint(
        self,
        name: str = "web01 - (10/8/2026 - 3:15:36 PM)",
        *,
        kind: str = "recovery",
        created: datetime = NOW,
    ) -> Checkpoint:
        """Let the host make one: every disk goes on in a child."""
        self.made += 1
        number = self.made
        checkpoint = Checkpoint(
            id=f"Microsoft:5AA95407-0000-4000-8000-{number:012}",
            vm=VM,
            name=name,
            kind=kind,
            created=created,
            configuration=Configuration(r"C:\VMs\web01", rf"Snapshots\{number}.vmcx"),
        )
        self.checkpoint_list.append(checkpoint)
        self.frozen[checkpoint.id] = tuple(
            replace(disk, instance_id=disk.instance_id.replace(VM.upper(), "5AA95407"))
            for disk in self.active
        )
        self._below[checkpoint.id] = {disk.location: disk for disk in self.active}
        self.active = [self._child(disk, number) for disk in self.active]
        return checkpoint

    def add_reference_point(self, name: str) -> ReferencePoint:
        disks = tuple(
            (disk.instance_id, f"rctX:{name}:{disk.location}") for disk in self.active
        )
        keys = {"InstanceID": name}
        point = ReferencePoint(
            Reference("Msvm_VirtualSystemReferencePoint", keys), name, VM, disks
        )
        self.points.append(point)
        return point

    def add_baseline(self, point: str, reference_point: str, **changed: Any) -> None:
        """Let the repository know of a reference point; the newest comes last here."""
        disks = [
            {
                "machine": f"vm:{VM}",
                "disk_id": disk.disk_id,
                "size": disk.size,
                "rct_id": f"rctX:{reference_point}:{disk.location}",
                "location": disk.location,
            }
            for disk in self.active
        ]
        entry = {
            "point": point,
            "machine": f"vm:{VM}",
            "created": "2026-10-07T15:15:00.000000Z",
            "reference_point": reference_point,
            "disks": disks,
            "sequence": len(self.baselines) + 1,
        }
        self.baselines.insert(0, {**entry, **changed})

    def add_lease(
        self, run: str, *, state: str = "open", created: datetime = NOW, **changed: Any
    ) -> None:
        """Let another run hold a lease."""
        document = {
            "run": run,
            "created": created.isoformat(),
            "machine": f"vm:{VM}",
            "owner": this_process(),
            "vm": {"host": "hv01", "checkpoints": [], "reference_points": []},
        }
        self.leases[run] = Lease({**document, **changed}, state)

    def drop(self, checkpoint_id: str) -> None:
        """Let a checkpoint go; what it froze is merged at once, or after `merge_seconds`."""
        self.checkpoint_list = [
            c for c in self.checkpoint_list if c.id != checkpoint_id
        ]
        del self.frozen[checkpoint_id]
        below = self._below.pop(checkpoint_id)

        def merged() -> None:
            self.active = [below.get(disk.location, disk) for disk in self.active]
            self.vm = replace(self.vm, busy=None)

        if self.merge_seconds:
            self.vm = replace(self.vm, busy="merging disks")
            self.clock.at.append((self.clock.time + self.merge_seconds, merged))
        else:
            merged()

    @property
    def clean(self) -> bool:
        """Whether nothing of a backup is left on the host."""
        children = [disk for disk in self.active if disk.kind == "avhdx"]
        return not self.checkpoint_list and not children

    @property
    def open_leases(self) -> list[str]:
        return [run for run, lease in self.leases.items() if not lease.closed]

    @staticmethod
    def _child(disk: VmDisk, number: int) -> VmDisk:
        stem = disk.path.rpartition(".")[0]
        return replace(
            disk,
            path=f"{stem}_{number}.avhdx",
            kind="avhdx",
            parents=(disk.path, *disk.parents),
        )


class PretendMachine:
    """A `Machine` of a scene."""

    id = VM
    host = "hv01"

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def tidying(self) -> "PretendMachine":
        return self

    def look(self) -> VirtualMachine:
        self._scene.happen("look")
        return self._scene.vm

    def disks(self, settings_id: str) -> tuple[VmDisk, ...]:
        scene = self._scene
        if settings_id == scene.vm.settings_id:
            scene.happen("disks")
            return tuple(scene.active)
        scene.happen("frozen-disks")
        return scene.frozen[settings_id]

    def attached(self, settings_id: str) -> tuple[VmDisk, ...]:
        self._scene.happen("attached")
        return tuple(
            replace(disk, disk_id=None, size=None, parents=())
            for disk in self._scene.active
        )

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        self._scene.happen("checkpoints")
        return tuple(self._scene.checkpoint_list)

    def create_checkpoint(
        self, vm: VirtualMachine, level: str, before: Collection[str]
    ) -> Checkpoint:
        self._scene.happen(f"create {level}")
        made = self._scene.add_checkpoint()
        self._scene.happen("created")
        return made

    def rename(self, checkpoint: Checkpoint, name: str) -> None:
        self._scene.happen(f"rename {name}")
        self._scene.checkpoint_list = [
            replace(c, name=name) if c.id == checkpoint.id else c
            for c in self._scene.checkpoint_list
        ]

    def convert(
        self, checkpoint: Checkpoint, disks: Sequence[VmDisk] = ()
    ) -> ReferencePoint:
        scene = self._scene
        scene.happen("convert")
        point = scene.add_reference_point(f"RP-{scene.made}")
        scene.drop(checkpoint.id)
        scene.happen("converted")
        return point

    def destroy(self, checkpoint: Checkpoint) -> None:
        self._scene.happen(f"destroy {checkpoint.id}")
        if checkpoint.id in self._scene.frozen:
            self._scene.drop(checkpoint.id)
        self._scene.happen("destroyed")

    def reference_points(self) -> tuple[ReferencePoint, ...]:
        self._scene.happen("reference-points")
        return tuple(self._scene.points)

    def destroy_reference_point(self, point: ReferencePoint) -> None:
        self._scene.happen(f"destroy-reference-point {point.id}")
        self._scene.points = [p for p in self._scene.points if p.id != point.id]

    def changed_extents(self, path: str, since: str, size: int) -> Extents:
        self._scene.happen(f"changes {since}")
        return Extents([(0, 65536)])

    @contextmanager
    def _opened(self, disk: VmDisk) -> Iterator[Any]:
        self._scene.happen(f"open {disk.path}")
        yield SimpleNamespace(
            native=disk, disk_id=disk.disk_id, size=disk.size, path=disk.path
        )
        self._scene.happen("closed-disk")

    def open(self, disk: VmDisk) -> VirtualDisk:
        return cast("VirtualDisk", self._opened(disk))

    def configuration_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        assert checkpoint.configuration is not None
        stem = checkpoint.configuration.path.removesuffix("vmcx")
        return tuple(f"{stem}{suffix}" for suffix in ("vmcx", "vmrs", "vmgs"))

    def local(self, host_path: str) -> str:
        if host_path in self._scene.missing:
            raise HostFileMissingError(f"{host_path} is not there")
        return "/mnt/" + host_path.partition("\\")[2].replace("\\", "/")

    def exists(self, host_path: str) -> bool:
        if host_path.startswith(tuple(self._scene.unmapped)):
            raise HostFileError(f"nobody said where {host_path} is from here")
        return host_path not in self._scene.missing

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        if host_path.startswith(tuple(self._scene.unmapped)):
            raise HostFileError(f"nobody said where {host_path} is from here")
        return self._scene.free


@dataclass
class PretendRun:
    """A `MachineRun` of a scene."""

    scene: Scene
    id: str
    stopped: bool = False
    names: list[str] = field(default_factory=list)

    def backup_disk(self, disk: VmDisk, **asked: Any) -> str:
        self.scene.happen(f"read {disk.path}")
        report = asked["progress"]
        report("reading", 0, 100)
        self.scene.clock.sleep(10.0)
        report("reading", 100, 100)
        self.scene.read.append(asked)
        return "{}"

    def store_file(self, name: str, path: str) -> None:
        self.scene.happen(f"store {name}")
        self.names.append(name)

    def stop_audit(self) -> None:
        self.scene.events.append("stop-audit")
        self.stopped = True

    def commit(self, *, consistency: str | None) -> str:
        self.scene.happen("commit")
        lease = self.scene.leases[self.id]
        lease.state = "committed"
        self.scene.committed.append(self.id)
        self.scene.happen("committed")
        return json.dumps(
            point_document(
                self.id,
                machine=f"vm:{VM}",
                consistency=consistency,
                disks=[disk_document(n) for n in range(len(self.scene.read))],
            )
        )

    def add_baseline(
        self, *, created: int, reference_point: str, disks: list[Any]
    ) -> None:
        self.scene.happen("baseline")
        entries = [
            {
                "machine": f"vm:{VM}",
                "disk_id": disk_id,
                "size": size,
                "rct_id": rct_id,
                "location": location,
            }
            for disk_id, size, rct_id, location in disks
        ]
        self.scene.add_baseline(self.id, reference_point, disks=entries)
        self.scene.happen("baselined")

    def close(self) -> list[str]:
        self.scene.happen("close")
        self.scene.leases[self.id].closed = True
        self.scene.happen("closed")
        return []

    def abort(self) -> None:
        self.scene.happen("abort")
        self.scene.leases[self.id].closed = True

    def leave_open(self) -> None:
        self.scene.events.append("leave-open")


class PretendRepository:
    """A `Repository` of a scene, and its native side."""

    id = REPOSITORY

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @property
    def native(self) -> "PretendRepository":
        return self

    def begin_machine(
        self,
        *,
        machine: str,
        owner: str,
        host: str,
        checkpoints: list[str],
        reference_points: list[str],
        **_: Any,
    ) -> PretendRun:
        self._scene.happen("begin")
        run = f"{len(self._scene.leases) + 1:032x}"
        state = {
            "host": host,
            "checkpoints": checkpoints,
            "reference_points": reference_points,
        }
        self._scene.add_lease(run, owner=owner, vm=state)
        self._scene.happen("begun")
        return PretendRun(self._scene, run)

    def baselines(self) -> str:
        self._scene.happen("baselines")
        return json.dumps(self._scene.baselines)

    def leases(self) -> str:
        return json.dumps(
            [
                {**lease.document, "state": lease.state}
                for lease in self._scene.leases.values()
                if not lease.closed
            ]
        )

    def run_state(self, run: str) -> str:
        lease = self._scene.leases.get(run)
        if lease is None:
            return "unknown"
        return "closed" if lease.closed else lease.state

    def fence(self, run: str, *, created: int) -> bool:
        self._scene.happen(f"fence {run}")
        lease = self._scene.leases[run]
        if lease.state == "open":
            lease.state = "fenced"
        return lease.state == "fenced"

    def close_lease(self, run: str, *, committed: bool) -> None:
        self._scene.happen(f"close-lease {run}")
        lease = self._scene.leases[run]
        assert lease.state == ("committed" if committed else "fenced")
        lease.closed = True


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)

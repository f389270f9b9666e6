"""A machine on a host and a repository, both pretended, for the order of a backup's steps.

What is asked of either stands in one list, `Scene.events`, and any of it can be made to fail. Nothing here is a host:
what a host really does is tried on the lab host (tests/integration/hyperv).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from hypercbt import Repository
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import Configuration
from hypercbt.hyperv.order import Order
from hypercbt.hyperv.owners import this_process
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.values import Reference
from unit.hyperv.pretended.machine import PretendMachine
from unit.hyperv.pretended.repository import PretendRepository
from unit.hyperv.pretended.values import (
    GIB,
    NOW,
    REPOSITORY,
    VM,
    Clock,
    Lease,
    later,
    virtual_machine,
    vm_disk,
)

__all__ = [
    "GIB",
    "NOW",
    "REPOSITORY",
    "VM",
    "Clock",
    "Scene",
    "later",
    "virtual_machine",
    "vm_disk",
]


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
        self.merges = True
        """Whether the host merges at all."""
        self.unmapped: set[str] = set()
        """Beginnings of host paths that lead nowhere from here."""
        self.missing: set[str] = set()
        """Host paths that are not there."""
        self.unreadable: set[str] = set()
        """Host paths that are there and cannot be opened from here."""
        self.leases: dict[str, Lease] = {}
        self.baselines: list[dict[str, Any]] = []
        self.sealed_in: str | None = "web01.vhdx"
        """The file that the ids of every baseline count from."""
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

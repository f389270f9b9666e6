"""The repository of a scene, and the run of a backup in it."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypercbt.hyperv.disks import VmDisk
from support import disk_document, point_document
from unit.hyperv.pretended.values import NOW, REPOSITORY, VM

if TYPE_CHECKING:
    from unit.hyperv.pretend import Scene


@dataclass
class PretendRun:
    """A `MachineRun` of a scene."""

    scene: "Scene"
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

    def __init__(self, scene: "Scene") -> None:
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

    def point(self, id: str) -> str:
        self._scene.happen(f"point {id}")
        disks = [
            disk_document(n, disk_id=disk.disk_id, sealed_in=self._scene.sealed_in)
            for n, disk in enumerate(self._scene.active)
        ]
        lease = self._scene.leases.get(id)
        created = lease.document["created"] if lease else NOW.isoformat()
        return json.dumps(point_document(id, created=created, disks=disks))

    def leases(self) -> str:
        return json.dumps(
            [
                {**lease.document, "state": lease.state}
                for lease in self._scene.leases.values()
                if not lease.closed
            ]
        )

    def run_state(self, run: str) -> str:
        self._scene.happen(f"run-state {run}")
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

"""Reference points: what can be seen of them, and how they go."""

import random
from collections.abc import Iterator, Mapping
from datetime import datetime

from hypercbt.lab.model.files import Files
from hypercbt.lab.model.jobs import CONVERT, Jobs
from hypercbt.lab.model.names import POINT, drive_id, meant, place, point_ref
from hypercbt.lab.model.state import Disk, Machine, ReferencePoint, split_location
from hypercbt.lab.model.world import World, no_object
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing

RCT = 2
"""`ReferencePointType` [V]."""


class ReferencePoints:
    """The moments that changes can be asked from."""

    def __init__(self, world: World, files: Files, jobs: Jobs) -> None:
        self._world = world
        self._files = files
        self._jobs = jobs

    def all(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_VirtualSystemReferencePoint`."""
        store = self._world.store
        own = place(equal.get("InstanceID"))
        identifier = equal.get("VirtualSystemIdentifier")
        if own is not None:
            found = store.point(own.guid)
            if found is not None:
                yield self.thing(*found)
            return
        if isinstance(identifier, str):
            machine = store.machine(identifier.strip("{}"))
            machines = [] if machine is None else [machine]
        else:
            machines = list(store)
        for each in machines:
            yield from (self.thing(each, point) for point in each.points.values())

    def thing(self, machine: Machine, point: ReferencePoint) -> Thing:
        """The instance."""
        quirks = self._world.quirks
        disks = list(point.disks)
        if (
            quirks.shuffled_disks
        ):  # the same each time: it is the order that they were noted in
            random.Random(point.id).shuffle(disks)
        ids: tuple[str | None, ...] = tuple(rct for _, rct in disks)
        if quirks.untracked == "short":
            ids = tuple(rct for rct in ids if rct is not None)
        return Thing(
            POINT,
            {
                "InstanceID": f"Microsoft:{point.id}",
                "VirtualSystemIdentifier": machine.id,
                "Caption": self._world.words["point"],
                "Description": self._world.words["point"],
                "ElementName": self._world.words["point"],
                "CreationTime": datetime.fromisoformat(point.created),
                "ConsistencyLevel": point.consistency,
                "ReferencePointType": RCT,
                "HasAssociatedData": False,
                "VirtualDiskIdentifiers": tuple(
                    self._storage_id(machine, location) for location, _ in disks
                ),
                "ResilientChangeTrackingIdentifiers": ids,
                "LogIdentifiers": None,
            },
        )

    def destroy(self, call: Call) -> dict[str, Cim]:
        """`DestroyReferencePoint`."""
        guid = meant(call.arguments.get("AffectedReferencePoint"), POINT, "InstanceID")
        found = self._world.store.point(guid) if guid else None
        if found is None:
            raise no_object(self._world)
        machine, point = found

        def work() -> list[Ref]:
            machine.points.pop(point.id, None)
            self._world.store.save(machine)
            self._files.forget(
                machine, [(where, rct) for where, rct in point.disks if rct is not None]
            )
            return []

        if not self._world.quirks.clean_up_by_job:
            work()
            return {"Job": None, "ReturnValue": 0}
        return self._jobs.start(
            call,
            type=CONVERT,
            title="forget",
            targets=[point_ref(machine, point)],
            work=work,
        )

    def _storage_id(self, machine: Machine, location: str) -> str:
        disk = machine.disk(location)
        if (
            disk is None
        ):  # detached since: the point names it all the same (quirk Q23, [V])
            disk = Disk(*split_location(location), "vhdx", [], "", 0)
        guid, _, rest = drive_id(machine, machine.id, disk, "L").partition("\\")
        return (
            f"Microsoft:{self._world.spelled(guid.removeprefix('Microsoft:'))}\\{rest}"
        )

"""The simulated host as the wire sees it: which part answers for which class."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TypeAlias

from hypercbt.lab.model import hardware
from hypercbt.lab.model.associations import Associations
from hypercbt.lab.model.checkpoints import Checkpoints
from hypercbt.lab.model.classes import CLASSES
from hypercbt.lab.model.disks import Disks
from hypercbt.lab.model.files import Files
from hypercbt.lab.model.images import Images
from hypercbt.lab.model.jobs import CONCRETE, STORAGE, Jobs
from hypercbt.lab.model.machines import Machines
from hypercbt.lab.model.merges import Merges
from hypercbt.lab.model.names import (
    COMPUTER,
    DRIVE,
    PLANNED,
    POINT,
    SETTINGS,
)
from hypercbt.lab.model.names import STORAGE as STORAGE_SETTINGS
from hypercbt.lab.model.planning import Planning
from hypercbt.lab.model.power import request_state_change
from hypercbt.lab.model.reference_points import ReferencePoints
from hypercbt.lab.model.resources import Resources
from hypercbt.lab.model.services import (
    IMAGES,
    MANAGEMENT,
    NAMES,
    POINTS,
    SNAPSHOTS,
    Answering,
    Services,
)
from hypercbt.lab.model.windows import windows
from hypercbt.lab.model.world import RefusedError, World
from hypercbt.lab.wire.provider import CIMV2, Call, Cim, CimClass, Ref, Thing
from hypercbt.lab.wire.refusals import Refused

Listing: TypeAlias = Callable[[Mapping[str, Cim]], Iterable[Thing]]


class Model:
    """A simulated host: the `Provider` that a wire server asks.

    Args:
        world: Its name, time and virtual machines.
        volatile: Open disks so that their power can be cut.
    """

    def __init__(self, world: World, *, volatile: bool = False) -> None:
        self.world = world
        self.files = Files(world, volatile=volatile)
        self.jobs = Jobs(world)
        self.merges = Merges(world, self.files)
        self.checkpoints = Checkpoints(world, self.files, self.jobs, self.merges)
        self.images = Images(world, self.files, self.jobs)
        machines, disks = Machines(world), Disks(world)
        planning = Planning(world, self.files, self.jobs)
        resources = Resources(world, self.jobs, disks)
        points = ReferencePoints(world, self.files, self.jobs)
        self._associations = Associations(world, disks, self.jobs)
        self._services = Services(world, self.files, self.jobs, self.merges, machines)
        self._listings: dict[str, Listing] = {
            COMPUTER: machines.systems,
            PLANNED: machines.planned,
            SETTINGS: machines.settings,
            DRIVE: disks.drives,
            STORAGE_SETTINGS: disks.storage,
            POINT: points.all,
            "Msvm_DiskMergeSettingData": self._services.merge_settings,
            "Msvm_VirtualSystemExportSettingData": self._services.export_settings,
        }
        self._methods: dict[tuple[str, str], Answering] = {
            (MANAGEMENT, "ModifySystemSettings"): self._services.modify_settings,
            (MANAGEMENT, "ModifyDiskMergeSettings"): self._services.modify_merges,
            (MANAGEMENT, "ExportSystemDefinition"): self._services.export,
            (MANAGEMENT, "GetSummaryInformation"): self._services.summary,
            (MANAGEMENT, "ImportSystemDefinition"): planning.bring_in,
            (MANAGEMENT, "ValidatePlannedSystem"): planning.validate,
            (MANAGEMENT, "RealizePlannedSystem"): planning.realize,
            (MANAGEMENT, "DestroySystem"): planning.destroy,
            (MANAGEMENT, "AddResourceSettings"): resources.add,
            (MANAGEMENT, "ModifyResourceSettings"): resources.modify,
            (MANAGEMENT, "RemoveResourceSettings"): resources.remove,
            (SNAPSHOTS, "CreateSnapshot"): self.checkpoints.create,
            (SNAPSHOTS, "DestroySnapshot"): self.checkpoints.destroy,
            (SNAPSHOTS, "DestroySnapshotTree"): self.checkpoints.destroy_tree,
            (SNAPSHOTS, "ApplySnapshot"): self.checkpoints.apply,
            (SNAPSHOTS, "ConvertToReferencePoint"): self.checkpoints.convert,
            (POINTS, "DestroyReferencePoint"): points.destroy,
            (IMAGES, "GetVirtualDiskChanges"): self.images.changes,
            (IMAGES, "GetVirtualHardDiskSettingData"): self.images.setting_data,
            (IMAGES, "GetVirtualHardDiskState"): self.images.state,
            (COMPUTER, "RequestStateChange"): partial(
                request_state_change, world, self.jobs
            ),
            (CONCRETE, "GetErrorEx"): self.jobs.errors,
            (STORAGE, "GetErrorEx"): self.jobs.errors,
        }
        try:
            self.files.open_all()
        except BaseException:
            self.close()
            raise
        for machine in world.store:  # what a stop of the host has interrupted
            self.merges.start(machine)

    def settle(self) -> None:
        """Do what is due by now."""
        with self.world.lock:
            if self.world.dead:
                raise ConnectionAbortedError("the host has no power")
            self.world.agenda.run(self.world.clock.now())

    def classes(self) -> Mapping[str, CimClass]:
        """Every class, by name."""
        return CLASSES

    def instances(self, class_name: str, equal: Mapping[str, Cim]) -> Iterable[Thing]:
        """The instances of a class; the wire mixes them (quirk Q15)."""
        with self.world.lock:
            self.settle()
            return list(self._list(class_name, equal))

    def get(self, class_name: str, selectors: Mapping[str, str]) -> Thing | None:
        """The one instance that the selectors mean, or None."""
        with self.world.lock:
            self.settle()
            return self._get(class_name, selectors)

    def associators(
        self, source: Ref, association: str | None, result: str | None
    ) -> Iterable[Thing]:
        """What is associated with an instance."""
        with self.world.lock:
            self.settle()
            wanted = [
                ref
                for ref in self._associations.others(source, association)
                if result is None or self._is(ref.class_name, result)
            ]
            found = [self._get(ref.class_name, ref.keys) for ref in wanted]
            return [thing for thing in found if thing is not None]

    def invoke(self, call: Call) -> Mapping[str, Cim]:
        """Call a method."""
        with self.world.lock:
            self.settle()
            self._services.check_selectors(call)
            answering = self._methods[call.class_name, call.method]
            outputs = dict.fromkeys(
                CLASSES[call.class_name].methods[call.method].outputs
            )
            try:
                return {**outputs, **answering(call)}
            except RefusedError as refusal:
                return {**outputs, "ReturnValue": refusal.code}

    def close(self) -> None:
        """Close all files. Nobody opens one again: guests end."""
        with self.world.lock:
            self.world.dead = True
            self.files.close_all()

    def _list(self, class_name: str, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        if class_name in self._listings:
            yield from self._listings[class_name](equal)
        elif class_name in (CONCRETE, STORAGE):
            yield from (self.jobs.thing(job) for job in self.jobs.all(class_name))
        elif class_name in self._associations.by_name:
            yield from self._associations.instances(class_name)
        elif class_name in hardware.CLASSES:
            for machine, kept in hardware.owners(self.world, equal):
                yield hardware.hardware(machine, kept, class_name)
        elif class_name in NAMES:
            yield from self._services.instances(class_name)
        elif CLASSES[class_name].namespace == CIMV2:
            yield from windows(self.world, class_name)

    def _get(self, class_name: str, selectors: Mapping[str, str]) -> Thing | None:
        if class_name in (CONCRETE, STORAGE):
            job = self.jobs.find(selectors.get("InstanceID", ""), class_name)
            return None if job is None else self.jobs.thing(job)
        named = {name.casefold(): value.casefold() for name, value in selectors.items()}
        found: Thing | None = None
        for thing in self._list(class_name, selectors):
            values = {name.casefold(): value for name, value in thing.values.items()}
            if all(str(values.get(name)).casefold() == named[name] for name in named):
                if found is not None:
                    raise Refused.SELECTORS.error()  # keys that mean several mean none
                found = thing
        return found

    def _is(self, class_name: str, wanted: str) -> bool:
        names = (class_name, *CLASSES[class_name].parents)
        return wanted.casefold() in (name.casefold() for name in names)

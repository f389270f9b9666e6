"""What belongs to what: pairs of references, from either end."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hypercbt.lab.model.disks import Disks
from hypercbt.lab.model.jobs import CREATED, UNKNOWN_EFFECT, Job, Jobs
from hypercbt.lab.model.names import (
    COMPUTER,
    PLANNED,
    machine_ref,
    place,
    point_ref,
    settings_ref,
)
from hypercbt.lab.model.state import Checkpoint, Machine
from hypercbt.lab.model.world import World
from hypercbt.lab.wire.provider import CIMV2, Cim, Ref, Thing

Pairs: TypeAlias = Iterator[tuple[Ref, Ref, Mapping[str, Cim]]]
"""Both ends in the order of the roles, and what else the association says."""


@dataclass(frozen=True, slots=True)
class Association:
    """A class of pairs."""

    roles: tuple[str, str]
    pairs: Callable[[Ref | None], Pairs]
    """Those that the instance may be part of: all where it is None."""


class Associations:
    """All classes of pairs, by name."""

    def __init__(self, world: World, disks: Disks, jobs: Jobs) -> None:
        self._world = world
        self._disks = disks
        self._jobs = jobs
        both = ("Antecedent", "Dependent")
        defines = ("ManagedElement", "SettingData")
        self.by_name: dict[str, Association] = {
            "Msvm_SettingsDefineState": Association(defines, self._defines),
            "Msvm_SnapshotOfVirtualSystem": Association(both, self._snapshots),
            "Msvm_MostCurrentSnapshotInBranch": Association(both, self._current),
            "Msvm_VirtualSystemSettingDataComponent": Association(
                ("GroupComponent", "PartComponent"), self._components
            ),
            "Msvm_ReferencePointOfVirtualSystem": Association(both, self._points),
            "Msvm_SystemExportSettingData": Association(defines, self._exports),
            "Win32_ComputerSystemProcessor": Association(
                ("GroupComponent", "PartComponent"), self._processors
            ),
            "Msvm_AffectedJobElement": Association(
                ("AffectedElement", "AffectingElement"), self._affected
            ),
        }

    def instances(self, class_name: str) -> Iterator[Thing]:
        """The pairs as instances."""
        association = self.by_name[class_name]
        for first, second, more in association.pairs(None):
            ends = dict(zip(association.roles, (first, second), strict=True))
            yield Thing(class_name, {**ends, **more})

    def others(self, source: Ref, class_name: str | None) -> Iterator[Ref]:
        """What an instance is paired with."""
        for name, association in self.by_name.items():
            if class_name is not None and name.casefold() != class_name.casefold():
                continue
            for first, second, _ in association.pairs(source):
                if same(first, source):
                    yield second
                elif same(second, source):
                    yield first

    def _machines(self, source: Ref | None) -> Iterator[Machine]:
        """Those that may be meant by a reference to one of them, to a checkpoint or to a part."""
        store = self._world.store
        if source is None:
            yield from self._world.machines()
            return
        if source.class_name in (COMPUTER, PLANNED):
            yield from self._world.machines_of(source.keys.get("Name", ""))
            return
        own = place(source.keys.get("InstanceID"))
        if own is None:
            return
        kept = store.checkpoint(own.guid) or store.point(own.guid)
        yield from self._world.machines_of(own.guid)
        if kept is not None:
            yield kept[0]

    def _defines(self, source: Ref | None) -> Pairs:
        for machine in self._machines(source):
            yield machine_ref(machine), settings_ref(machine), {}

    def _snapshots(self, source: Ref | None) -> Pairs:
        for machine in self._machines(source):
            for kept in machine.checkpoints:
                yield machine_ref(machine), settings_ref(kept), {}

    def _current(self, source: Ref | None) -> Pairs:
        for machine in self._machines(source):
            if machine.checkpoints:
                newest = machine.checkpoints[-1]
                yield machine_ref(machine), settings_ref(newest), {}

    def _points(self, source: Ref | None) -> Pairs:
        for machine in self._machines(source):
            for point in machine.points.values():
                yield machine_ref(machine), point_ref(machine, point), {}

    def _components(self, source: Ref | None) -> Pairs:
        for machine in self._machines(source):
            owners: list[Checkpoint | None] = [None, *machine.checkpoints]
            for kept in owners:
                owner = kept or machine
                for part in self._disks.components(machine, kept):
                    part_ref = Ref(
                        part.class_name, {"InstanceID": str(part.values["InstanceID"])}
                    )
                    yield settings_ref(owner), part_ref, {}

    def _exports(self, source: Ref | None) -> Pairs:
        for machine in self._machines(source):
            if machine.planned:
                continue
            keys = {"InstanceID": f"Microsoft:{machine.id}\\Export"}
            export = Ref("Msvm_VirtualSystemExportSettingData", keys)
            yield machine_ref(machine), export, {}

    def _processors(self, _: Ref | None) -> Pairs:
        system = Ref("Win32_ComputerSystem", {"Name": self._world.name}, CIMV2)
        yield system, Ref("Win32_Processor", {"DeviceID": "CPU0"}, CIMV2), {}

    def _affected(self, source: Ref | None) -> Pairs:
        """Rows of jobs. That of what a job created comes last, and only when it is done (quirk Q2, [V*])."""
        own = source.keys.get("InstanceID", "") if source is not None else None
        only = self._jobs.find(own) if own else None
        jobs = [only] if only is not None else self._jobs.every()
        if self._world.quirks.affected_rows_of_others and source is None:
            yield from self._foreign()
        for job in jobs:
            for target, effect in job.effects:
                yield _row(job, target, effect)

    def _foreign(self) -> Pairs:
        """Rows of a job of somebody else's, which is gone already."""
        gone = Ref("Msvm_ConcreteJob", {"InstanceID": self._world.guid()})
        for machine in self._world.store:
            for effect in (UNKNOWN_EFFECT, CREATED):
                yield machine_ref(machine), gone, _effects(effect)
            return


def _row(job: Job, target: Ref, effect: int) -> tuple[Ref, Ref, Mapping[str, Cim]]:
    return target, job.ref, _effects(effect)


def _effects(effect: int) -> Mapping[str, Cim]:
    return {"ElementEffects": (effect,), "OtherElementEffectsDescriptions": ("",)}


def same(one: Ref, other: Ref) -> bool:
    """Whether two references mean the same: the keys that both give, in any case; one may give fewer."""
    if one.class_name.casefold() != other.class_name.casefold():
        return False
    keys = {name.casefold(): value.casefold() for name, value in one.keys.items()}
    given = {name.casefold(): value.casefold() for name, value in other.keys.items()}
    common = keys.keys() & given.keys()
    return bool(common) and all(keys[name] == given[name] for name in common)

"""Drives and disks of planned machines, as a client changes them before it lets the machine stand (quirk Q34).

Those of machines that stand are changed by `LabVm.attach` and `LabVm.detach`: a call that means one is not supported here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

from hypercbt.lab.model.disks import Disks
from hypercbt.lab.model.jobs import MODIFY, Jobs
from hypercbt.lab.model.names import (
    DRIVE,
    SETTINGS,
    STORAGE,
    controller_id,
    drive_id,
    meant,
    meant_by_path,
    place,
)
from hypercbt.lab.model.state import DVD_SLOT, Disk, Machine
from hypercbt.lab.model.validation import KINDS
from hypercbt.lab.model.world import (
    INVALID_PARAMETER,
    NOT_SUPPORTED,
    JobFailedError,
    RefusedError,
    World,
    no_object,
)
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing

_CHANGEABLE = {"InstanceID", "HostResource"}
"""What may be sent of a disk. A read-only property fails the job [V*]."""
_SLOTS = {"SCSI": 64, "IDE": 2}
_NEW_DRIVE = "Microsoft:Hyper-V:Synthetic Disk Drive"
_NEW_DISK = "Microsoft:Hyper-V:Virtual Hard Disk"


@dataclass(frozen=True, slots=True)
class _Part:
    """A drive, or the disk in it."""

    machine: Machine
    disk: Disk
    is_drive: bool


class Resources:
    """Adds, changes and removes them, each call as a whole or not at all [I]."""

    def __init__(self, world: World, jobs: Jobs, disks: Disks) -> None:
        self._world = world
        self._jobs = jobs
        self._disks = disks

    def modify(self, call: Call) -> dict[str, Cim]:
        """`ModifyResourceSettings`: another file for a disk."""
        parts = [
            (self._part(thing.class_name, thing.values.get("InstanceID")), thing)
            for thing in _things(call)
        ]
        machine = _one(part.machine for part, _ in parts)

        def work() -> list[Ref]:
            for part, thing in parts:
                known = {"InstanceID"} if part.is_drive else _CHANGEABLE
                sent = {
                    name for name, value in thing.values.items() if value is not None
                }
                if sent - known:
                    raise self._failed("read_only", ", ".join(sorted(sent - known)))
            for disk, file in files:
                _put(disk, file)
            return []

        files = [
            (part.disk, _file(thing))
            for part, thing in parts
            if thing.values.get("HostResource") is not None
        ]
        return self._jobs.hold(call, machine, type=MODIFY, title="modify", work=work)

    def remove(self, call: Call) -> dict[str, Cim]:
        """`RemoveResourceSettings`: the disk first, then the drive; the reverse is refused [V*], by the job [I]."""
        refs = call.arguments.get("ResourceSettings")
        if not isinstance(refs, tuple) or not refs:
            raise RefusedError(INVALID_PARAMETER)
        parts = [self._meant(ref) for ref in refs]
        machine = _one(part.machine for part in parts)

        def work() -> list[Ref]:
            left = {disk.location: list(disk.files) for disk in machine.disks}
            for part in parts:
                where = part.disk.location
                if where not in left or not (part.is_drive or left[where]):
                    raise self._failed("no_object", where)
                if not part.is_drive:
                    left[where] = []
                elif left[where] and part.disk.kind != "pass-through":
                    raise self._failed("full_drive", where)
                else:
                    del left[where]
            machine.disks = [disk for disk in machine.disks if disk.location in left]
            for disk in machine.disks:
                disk.files = left[disk.location]
            return []

        return self._jobs.hold(call, machine, type=MODIFY, title="modify", work=work)

    def add(self, call: Call) -> dict[str, Cim]:
        """`AddResourceSettings`: a drive, or a disk with a drive as its `Parent`: clients do one after the other [V]."""
        ref = call.arguments.get("AffectedConfiguration")
        guid = meant(ref, SETTINGS, "InstanceID")
        if guid is None:
            raise no_object(self._world)
        machine = self._machine(guid, no_object(self._world))
        things = _things(call)
        for thing in things:
            kind = (thing.class_name, thing.values.get("ResourceSubType"))
            if kind not in ((DRIVE, _NEW_DRIVE), (STORAGE, _NEW_DISK)):
                raise RefusedError(NOT_SUPPORTED)
            if kind == (STORAGE, _NEW_DISK):
                _file(thing)

        def work() -> list[Ref]:
            before = [(disk, list(disk.files)) for disk in machine.disks]
            try:
                return [self._add(machine, thing) for thing in things]
            except JobFailedError:
                machine.disks = [disk for disk, _ in before]
                for disk, files in before:
                    disk.files = files
                raise

        return self._jobs.hold(call, machine, type=MODIFY, title="modify", work=work)

    def _add(self, machine: Machine, thing: Thing) -> Ref:
        parent = meant_by_path(thing.values.get("Parent"), DRIVE)
        own = place(parent)
        rest = own.rest if own and own.guid == machine.id else None
        if thing.class_name == STORAGE:
            for disk in machine.disks:
                if not disk.files and rest == _rest(machine, disk, "D"):
                    _put(disk, _file(thing))
                    return _ref(machine, disk, "L")
            raise self._failed("no_place", str(parent))
        slot = thing.values.get("AddressOnParent")
        for location in machine.controllers:
            kind, _, number = location.partition(" ")
            found = place(controller_id(machine, machine.id, kind, int(number)))
            if found and found.rest == rest and _is_slot(slot, kind):
                disk = Disk(kind, int(number), int(str(slot)), "vhdx", [], "", 0)
                taken = {each.location for each in machine.disks}
                dvd = DVD_SLOT[machine.generation]
                if disk.location in taken or (kind, disk.number, disk.slot) == dvd:
                    break
                machine.disks.append(disk)
                return _ref(machine, disk, "D")
        raise self._failed("no_place", f"{parent} {slot}")

    def _meant(self, ref: Cim) -> _Part:
        if not isinstance(ref, Ref):
            raise RefusedError(INVALID_PARAMETER)
        keys = {name.casefold(): value for name, value in ref.keys.items()}
        class_name = ref.class_name
        return self._part(class_name, keys.get("instanceid"), no_object(self._world))

    def _part(
        self, class_name: str, instance_id: Cim, absent: Exception | None = None
    ) -> _Part:
        own = place(instance_id)
        absent = absent or RefusedError(INVALID_PARAMETER)
        if own is None:
            raise absent
        machine = self._machine(own.guid, absent)
        ends = {DRIVE.casefold(): "D", STORAGE.casefold(): "L"}
        end = ends.get(class_name.casefold(), "")
        for disk in machine.disks:
            there = end == "D" or (disk.files and disk.kind != "pass-through")
            if there and own.rest == _rest(machine, disk, end):
                return _Part(machine, disk, is_drive=end == "D")
        for thing in self._disks.components(machine, None):
            same = thing.class_name.casefold() == class_name.casefold()
            if same and place(thing.values["InstanceID"]) == own:
                raise RefusedError(NOT_SUPPORTED)  # the DVD drive, a controller
        raise absent

    def _machine(self, guid: str, absent: Exception) -> Machine:
        found = list(self._world.machines_of(guid))
        if len(found) > 1:  # nobody can tell which is meant
            raise RefusedError(INVALID_PARAMETER)
        for machine in found:
            if machine.planned:
                return machine
            raise RefusedError(NOT_SUPPORTED)
        raise absent

    def _failed(self, word: str, what: str) -> JobFailedError:
        return JobFailedError(f"{self._world.words[word]}: {what}")


def _things(call: Call) -> Sequence[Thing]:
    sent = call.arguments.get("ResourceSettings")
    if not isinstance(sent, tuple) or not sent:
        raise RefusedError(INVALID_PARAMETER)
    things = [thing for thing in sent if isinstance(thing, Thing)]
    if len(things) != len(sent):
        raise RefusedError(INVALID_PARAMETER)
    return things


def _one(machines: Iterable[Machine]) -> Machine:
    """The machine that all parts are of; several in one call are not taken [I]."""
    first, *others = machines
    if any(other is not first for other in others):
        raise RefusedError(INVALID_PARAMETER)
    return first


def _file(thing: Thing) -> str:
    """The path in `HostResource`: only the first counts [V]."""
    found = thing.values.get("HostResource")
    first = found[0] if isinstance(found, tuple) and found else None
    if not isinstance(first, str) or not first:
        raise RefusedError(INVALID_PARAMETER)
    return first


def _put(disk: Disk, file: str) -> None:
    disk.files = [file]
    disk.kind = KINDS.get(PureWindowsPath(file).suffix.lower(), disk.kind)


def _rest(machine: Machine, disk: Disk, end: str) -> str | None:
    own = place(drive_id(machine, machine.id, disk, end))
    return own.rest if own else None


def _ref(machine: Machine, disk: Disk, end: str) -> Ref:
    class_name = DRIVE if end == "D" else STORAGE
    return Ref(class_name, {"InstanceID": drive_id(machine, machine.id, disk, end)})


def _is_slot(text: Cim, kind: str) -> bool:
    return isinstance(text, str) and text in map(str, range(_SLOTS[kind]))

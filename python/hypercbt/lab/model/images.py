"""Questions about disk files: what `Msvm_ImageManagementService` answers."""

from dataclasses import dataclass, field

from hypercbt import _native
from hypercbt.errors import ChangeTrackingLostError
from hypercbt.lab.model.files import Files
from hypercbt.lab.model.jobs import ASK, STORAGE, Jobs
from hypercbt.lab.model.paths import key
from hypercbt.lab.model.state import Disk, Machine
from hypercbt.lab.model.world import (
    FILE_NOT_FOUND,
    INVALID_PARAMETER,
    JobFailedError,
    RefusedError,
    World,
)
from hypercbt.lab.wire.provider import Call, Cim, ProviderError, Ref, Thing

NOT_INITIALIZED, CHANGED_OFFLINE, INVALID_ID, MISSING = (
    0xC03A0020,
    0xC03A0022,
    0xC03A0029,
    0xC03A0030,
)
"""How Windows says that tracking is lost [V]."""

_FORMATS = {"vhd": 2, "vhdx": 3, "vhds": 4}
_DYNAMIC, _FIXED, _DIFFERENCING = 3, 2, 4

_ENVELOPE = 4096
"""What an answer measures without its ranges, with room to spare."""
_RANGE = 96
"""What a range measures in it, but for its digits: four tags."""


@dataclass(slots=True)
class Tracking:
    """How far the tracking of a disk can be trusted: what tests do to it."""

    hidden: _native.Extents | None = None
    """Changed, and not reported."""
    pretended: _native.Extents | None = None
    """Reported, whatever changed."""
    lost: int | None = None
    """Every question fails with this code."""


@dataclass(slots=True)
class Images:
    """What is known of disk files."""

    world: World
    files: Files
    jobs: Jobs
    tracking: dict[tuple[str, str], Tracking] = field(default_factory=dict)

    def tracking_of(self, machine: Machine, disk: Disk) -> Tracking:
        """What a test did to the tracking of a disk."""
        return self.tracking.setdefault((machine.id, disk.location), Tracking())

    def take(self, machine: Machine, other: "Images") -> None:
        """Have what a test did to the disks of a virtual machine that comes from another host."""
        for place in [place for place in other.tracking if place[0] == machine.id]:
            self.tracking[place] = other.tracking.pop(place)

    def changes(self, call: Call) -> dict[str, Cim]:
        """`GetVirtualDiskChanges`."""
        machine, disk = self._disk(call)
        offset, length = (
            call.arguments.get("ByteOffset"),
            call.arguments.get("ByteLength"),
        )
        since = call.arguments.get("LimitId")
        if not (isinstance(offset, int) and isinstance(length, int)):
            raise RefusedError(INVALID_PARAMETER)
        self.files.make(machine)
        most = disk.size if self.world.quirks.whole_length else disk.size - 1
        if not (0 < length <= most) or offset + length > disk.size:
            raise RefusedError(INVALID_PARAMETER)
        try:
            found = self._changes(
                machine, disk, str(call.arguments["Path"]), str(since)
            )
        except _LostError as lost:
            return self._lost(call, lost.code)
        starts, lengths, processed = self._window(
            found, offset, length, call.max_envelope_bytes
        )
        return {
            "ProcessedByteLength": processed,
            "ChangedByteOffsets": starts,
            "ChangedByteLengths": lengths,
            "Job": None,
            "ReturnValue": 0,
        }

    def setting_data(self, call: Call) -> dict[str, Cim]:
        """`GetVirtualHardDiskSettingData`."""
        machine, disk = self._disk(call)
        self.files.make(machine)  # a file gives its disk the id
        path = str(call.arguments["Path"])
        parent = _parent(machine, disk, path)
        kind = _FIXED if disk.fixed or disk.kind == "vhd" else _DYNAMIC
        data: dict[str, Cim] = {
            "InstanceID": "",
            "ElementName": path.rpartition("\\")[2],
            "Type": kind if parent is None else _DIFFERENCING,
            "Format": _FORMATS[disk.kind],
            "Path": path,
            "ParentPath": parent or "",
            "ParentIdentifier": parent and disk.disk_id.lower(),
            "ParentTimestamp": None,
            "MaxInternalSize": disk.size,
            "BlockSize": disk.block_bytes if disk.kind == "vhdx" else 0,
            "LogicalSectorSize": disk.logical_sector_bytes,
            "PhysicalSectorSize": disk.physical_sector_bytes
            if disk.kind == "vhdx"
            else 512,
            # Of the disk, not of the file: it stays as checkpoints come and go [V].
            "VirtualDiskId": self.world.spelled(disk.disk_id),
        }
        made = Thing("Msvm_VirtualHardDiskSettingData", data)
        return {"SettingData": made, "Job": None, "ReturnValue": 0}

    def state(self, call: Call) -> dict[str, Cim]:
        """`GetVirtualHardDiskState`."""
        machine, disk = self._disk(call)
        self.files.make(machine)
        path = self.files.local(str(call.arguments["Path"]))
        if not path.exists():
            raise RefusedError(FILE_NOT_FOUND)
        state = Thing(
            "Msvm_VirtualHardDiskState",
            {
                "FileSize": path.stat().st_size,
                "InUse": True,
                "Alignment": 0,
                "MinInternalSize": 0,
                "FragmentationPercentage": 0,
                "PhysicalSectorSize": disk.physical_sector_bytes,
                "Timestamp": None,
            },
        )
        return {"State": state, "Job": None, "ReturnValue": 0}

    def _disk(self, call: Call) -> tuple[Machine, Disk]:
        path = call.arguments.get("Path")
        found = self.world.store.file(path) if isinstance(path, str) else None
        if found is None or found[1].kind == "pass-through":
            raise RefusedError(FILE_NOT_FOUND)
        return found

    def _changes(
        self, machine: Machine, disk: Disk, path: str, id: str
    ) -> _native.Extents:
        done = self.tracking_of(machine, disk)
        if done.lost is not None:
            raise _LostError(done.lost)
        if disk.kind != "vhdx" or not disk.tracked:
            raise _LostError(NOT_INITIALIZED)
        try:
            found = self.files.changes(machine, disk, path, id)
        except ChangeTrackingLostError:
            raise _LostError(MISSING) from None
        except ValueError:
            raise _LostError(INVALID_ID) from None
        if self.world.quirks.layer_in_changes:
            found = found.union(self._layer(machine, path))
        if done.pretended is not None:
            found = done.pretended
        if self.world.quirks.coarse_bytes:
            whole = _native.Extents([(0, disk.size)])
            found = found.align(self.world.quirks.coarse_bytes).intersect(whole)
        return found if done.hidden is None else found.subtract(done.hidden)

    def _layer(self, machine: Machine, path: str) -> _native.Extents:
        if _below_layer(machine, path) is None:
            return _native.Extents()
        return self.files.written_in(path)

    def _window(
        self, found: _native.Extents, offset: int, length: int, envelope: int
    ) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """The ranges of a window, as many as an answer holds; how much of the window that is."""
        quirks = self.world.quirks
        end = offset + length
        room = float("inf")
        if quirks.short_answers:
            room = max(1, (envelope - _ENVELOPE) // (_RANGE + 2 * len(str(end))))
        if quirks.most_ranges is not None:
            room = min(room, quirks.most_ranges)
        starts: list[int] = []
        lengths: list[int] = []
        for index in range(_first(found, offset), len(found)):
            start, size = found[index]
            first, last = max(start, offset), min(start + size, end)
            if start >= end:
                break
            if first >= last:
                continue  # only the first of them can end before the window begins
            if len(starts) >= room:
                # Up to the first range that did not fit.
                return tuple(starts), tuple(lengths), first - offset
            starts.append(first)
            lengths.append(last - first)
        return tuple(starts), tuple(lengths), length

    def _lost(self, call: Call, code: int) -> dict[str, Cim]:
        """Say that nobody knows, in the way that the host has for it: which one is open (U2, [?])."""
        text = f"{self.world.words['lost']} (0x{code:08X})"
        if self.world.quirks.lost == "fault":
            raise ProviderError("s:Receiver", 2150858752, text, code)

        def fail() -> list[Ref]:
            raise JobFailedError(text)

        if self.world.quirks.lost == "job":
            answer = self.jobs.start(
                call,
                type=ASK,
                title="changes",
                targets=[],
                work=fail,
                class_name=STORAGE,
            )
        else:
            answer = {"Job": None, "ReturnValue": 32768}
        return {
            "ProcessedByteLength": 0,
            "ChangedByteOffsets": (),
            "ChangedByteLengths": (),
            **answer,
        }


class _LostError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _first(found: _native.Extents, offset: int) -> int:
    """The index of the last range that begins at or before `offset`, or 0: a million ranges are not walked through."""
    low, high = 0, len(found)
    while low < high:
        middle = (low + high) // 2
        if found[middle][0] <= offset:
            low = middle + 1
        else:
            high = middle
    return max(0, low - 1)


def _below_layer(machine: Machine, path: str) -> str | None:
    """The frozen file below an extra layer; None where the path is none."""
    wanted = key(path)
    for frozen in machine.frozen:
        if frozen.layer is not None and key(frozen.layer) == wanted:
            return frozen.file
    return None


def _parent(machine: Machine, disk: Disk, path: str) -> str | None:
    """The file below another."""
    frozen = _below_layer(machine, path)
    if frozen is not None:
        return frozen
    wanted = key(path)
    for below, above in zip(disk.files, disk.files[1:], strict=False):
        if key(above) == wanted:
            return below
    return None

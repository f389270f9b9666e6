"""What is done with which machine and which disk: every such decision of a backup, in two tables.

| machine | what is done |
| --- | --- |
| running | `prefer`: application-consistent, tried twice, then crash-consistent; `require`: only the former |
| off | the checkpoint is made as for any other, and recorded as `off`: nothing writes, so `require` is content |
| saved, paused | crash-consistent: nobody in the guest answers; `require` refuses |
| starting, stopping … | refused for now: busy |
| with user checkpoints | backed up through the chain; after a revert the disks are compared, because the base's file is no longer in it |
| version below 6.2 | disks are compared: such machines have no change tracking (hyperv-rct 1.11) |
| version 6.2 to 7.x | tracked, if the host answers; else compared |
| replica | refused: back up the primary |
| planned | not found: it is no machine yet |

| disk | what is done |
| --- | --- |
| .vhdx, .avhdx | by change tracking |
| .vhd, .avhd | compared: the format has no change tracking |
| .vhds | refused unless excluded: shared disks go another way |
| pass-through | refused unless excluded: a checkpoint does not hold it, and a point without it would not be whole |
| any other | refused unless excluded |

Refusals come before the machine is touched. What was left out on request is not in the point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Literal, TypeAlias

from hypercbt.errors import VmBusyError, VmUnsupportedError
from hypercbt.hyperv.checkpoints import Level
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.machines import VirtualMachine

Consistency: TypeAlias = Literal["require", "prefer", "crash"]

APPLICATION: Level = "application"
CRASH: Level = "crash"
OFF = "off"

FIRST_TRACKED_VERSION = (6, 2)

_COMPARED = {
    "vhd": "a VHD file has no change tracking",
    "avhd": "a VHD file has no change tracking",
}
_REFUSED = {
    "vhds": "is a shared disk (.vhds), which is not supported",
    "pass-through": "is a pass-through disk, which no checkpoint holds",
    "other": "is a file of an unknown kind",
}


@dataclass(frozen=True, slots=True)
class Levels:
    """What checkpoints are tried, one after the other."""

    attempts: tuple[Level, ...]
    unlike: str | None = None
    """What is recorded instead of the level, because the machine does not run."""


def levels(vm: VirtualMachine, consistency: Consistency) -> Levels:
    """Return what checkpoints to try with a machine in this state.

    Raises:
        VmBusyError: It is neither running nor at rest.
        VmUnsupportedError: It cannot be what `require` asks for.
    """
    match vm.state:
        case "running" if consistency == "crash":
            return Levels((CRASH, CRASH))
        case "running" if consistency == "require":
            return Levels((APPLICATION, APPLICATION))
        case "running":
            return Levels((APPLICATION, APPLICATION, CRASH))
        case "off":
            return Levels((CRASH, CRASH), unlike=OFF)
        case "saved" | "paused" if consistency == "require":
            raise VmUnsupportedError(
                f"{vm.name} is {vm.state}: nobody in it can make its applications consistent"
            )
        case "saved" | "paused":
            return Levels((CRASH, CRASH))
        case _:
            raise VmBusyError(f"{vm.name} is neither running nor at rest")


def refuse_replica(vm: VirtualMachine) -> None:
    """Let everything pass but a replica, whose disks another host writes.

    Raises:
        VmUnsupportedError: It is one.
    """
    if vm.replication in ("replica", "test replica", "extended replica"):
        raise VmUnsupportedError(
            f"{vm.name} is a replica: back up the machine that it is a replica of"
        )


def untracked(vm: VirtualMachine, disk: VmDisk) -> str | None:
    """Return why changes of this disk are never asked for, or None.

    Raises:
        VmUnsupportedError: The disk cannot be backed up at all.
    """
    if disk.kind in _REFUSED:
        raise VmUnsupportedError(
            f"{title(disk)} of {vm.name} {_REFUSED[disk.kind]}; exclude it to back up the others"
        )
    if disk.kind in _COMPARED:
        return _COMPARED[disk.kind]
    if version(vm) < FIRST_TRACKED_VERSION:
        return f"a machine of version {vm.version} has no change tracking"
    return None


def version(vm: VirtualMachine) -> tuple[int, int]:
    """Return the version of a machine's configuration; what cannot be read is taken for a new one."""
    major, _, minor = vm.version.partition(".")
    try:
        return int(major), int(minor or 0)
    except ValueError:
        return FIRST_TRACKED_VERSION


def selected(
    disks: Sequence[VmDisk],
    only: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> tuple[VmDisk, ...]:
    """Return the disks that are meant: by location (`SCSI 0:1`), file name or disk id.

    Raises:
        ValueError: A text means no disk, or none is left.
    """
    for text in [*(only or ()), *exclude]:
        if not any(_means(text, disk) for disk in disks):
            there = ", ".join(title(disk) for disk in disks) or "none"
            raise ValueError(f"{text!r} is no disk of the machine; it has {there}")
    chosen = tuple(
        disk
        for disk in disks
        if (only is None or any(_means(text, disk) for text in only))
        and not any(_means(text, disk) for text in exclude)
    )
    if not chosen:
        raise ValueError("no disk is left to back up")
    return chosen


def title(disk: VmDisk) -> str:
    """Return what people know a disk by: where it hangs, and its file."""
    return f"{disk.location} ({file_name(disk.path)})"


def file_name(host_path: str) -> str:
    """Return the name of a file of the host."""
    return PureWindowsPath(host_path).name


def _means(text: str, disk: VmDisk) -> bool:
    """Tell whether a text means a disk. Also by the file that a checkpoint has frozen: people know that one."""
    wanted = text.strip().casefold()
    names = {file_name(path).casefold() for path in (disk.path, *disk.parents)}
    ids = {(disk.disk_id or "").casefold()} - {""}
    return wanted == disk.location.casefold() or wanted in names | ids

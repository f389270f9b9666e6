"""A disk that a virtual machine of the lab host is to have, and where it may get it."""

from dataclasses import dataclass
from pathlib import Path

from hypercbt.lab.model.state import Machine

KINDS = ("vhdx", "vhd", "vhds", "pass-through")
"""What a `NewDisk` can be."""


@dataclass(frozen=True, slots=True)
class NewDisk:
    """A disk that a new virtual machine is to have."""

    size: int = 64 << 20
    kind: str = "vhdx"
    """`vhdx`, `vhd`, `vhds` or `pass-through`."""
    source: Path | None = None
    """A VHDX file to begin with; it is copied."""
    location: str | None = None
    """Such as `SCSI 0:3`; the next that is free where not said."""


def new_location(machine: Machine, wanted: NewDisk) -> str:
    """Where a virtual machine gets it.

    Raises:
        ValueError: It makes no sense, or there is no place for it.
    """
    if wanted.kind not in KINDS:
        raise ValueError(f"{wanted.kind!r} is none of {', '.join(KINDS)}")
    if wanted.source is not None and wanted.kind != "vhdx":
        raise ValueError("only a VHDX file can be one to begin with")
    if wanted.size < 1:
        raise ValueError(f"a disk of {wanted.size} bytes")
    taken = {disk.location for disk in machine.disks}
    free = [place for place in _locations(machine) if place not in taken]
    location = wanted.location or next(iter(free), None)
    if location not in free:
        raise ValueError(f"{machine.name} has no place {location or 'left'} for a disk")
    return location


def as_new(disk: int | Path | NewDisk) -> NewDisk:
    """What a size or a file means."""
    if isinstance(disk, NewDisk):
        return disk
    return NewDisk(size=disk) if isinstance(disk, int) else NewDisk(source=disk)


def _locations(machine: Machine) -> list[str]:
    """Where it may have disks: the DVD drive has a place of its own."""
    places = [] if machine.generation == 2 else ["IDE 0:0", "IDE 0:1", "IDE 1:0"]
    return places + [f"SCSI 0:{slot}" for slot in range(63)]

"""Which restore point a disk's changes can be asked from: its base (design §5.1)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypercbt.documents import parse_list
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.repository import Repository


@dataclass(frozen=True, slots=True)
class Base:
    """From where on changes are asked for."""

    point: str
    """The restore point whose disk tree is patched."""
    rct_id: str
    """What the host calls that moment."""


@dataclass(frozen=True, slots=True)
class BaselineDisk:
    """One disk of a baseline."""

    disk_id: str
    size: int
    rct_id: str
    location: str | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the repository knows of the reference point that one of its restore points became."""

    point: str
    reference_point: str
    disks: tuple[BaselineDisk, ...]
    """Those that no `void` covers."""


def baselines_of(machine: str, entries: Iterable[dict[str, Any]]) -> list[Baseline]:
    """Return the baselines of a machine (`vm:GUID`), newest point first."""
    return [
        Baseline(
            entry["point"],
            entry["reference_point"],
            tuple(
                BaselineDisk(
                    disk["disk_id"], disk["size"], disk["rct_id"], disk["location"]
                )
                for disk in entry["disks"]
                if disk.get("machine", machine) == machine
            ),
        )
        for entry in entries
        if _is_of(machine, entry)
    ]


def read_baselines(machine: str, repository: Repository) -> list[Baseline]:
    """Return the baselines of a machine (`vm:GUID`) that stand in a repository, newest point first."""
    return baselines_of(machine, parse_list(repository.native.baselines()))


def choose(
    disk: VmDisk,
    baselines: Sequence[Baseline],
    standing: Collection[str],
    *,
    copies: bool = False,
) -> Base | str:
    """Return the base of a disk, or why there is none.

    Args:
        disk: As the machine has it now.
        baselines: Of this machine, newest first.
        standing: The ids of the reference points that the host still has, in lower case.
        copies: The machine has other disks of the same id: only its place tells this one from them.
    """
    reason = "no earlier restore point knows what the host calls its moment"
    for baseline in baselines:
        known = _same_disk(disk, baseline.disks, copies)
        if known is None:
            continue
        if baseline.reference_point.lower() not in standing:
            reason = f"the host no longer has the reference point of restore point {baseline.point}"
        elif known.size != disk.size:
            reason = f"the disk had {known.size} bytes at restore point {baseline.point}, and has {disk.size} now"
        else:
            return Base(baseline.point, known.rct_id)
    return reason


def ids_of(points: Iterable[ReferencePoint]) -> frozenset[str]:
    """Return the ids of reference points as they are compared."""
    return frozenset(point.id.lower() for point in points)


def recorded(baselines: Iterable[Baseline]) -> frozenset[str]:
    """Return the ids of the reference points that are ours."""
    return frozenset(baseline.reference_point.lower() for baseline in baselines)


def older(
    baselines: Sequence[Baseline], points: Collection[ReferencePoint], keep: int = 2
) -> list[ReferencePoint]:
    """Return the reference points that are ours and no longer needed.

    Args:
        baselines: Of this machine, newest first.
        points: What the host has, of all products.
        keep: How many of the newest stay: should the last one turn out to be lost, the one before still serves.
    """
    there = ids_of(points)
    standing = [b for b in baselines if b.reference_point.lower() in there]
    kept = recorded(standing[:keep])
    ours = recorded(standing) - kept
    return [point for point in points if point.id.lower() in ours]


def _same_disk(
    disk: VmDisk, known: Iterable[BaselineDisk], copies: bool
) -> BaselineDisk | None:
    """Return the entry of a disk: by its id, and by where it hangs as well where copies share one."""
    if disk.disk_id is None:
        return None
    alike = [one for one in known if one.disk_id.lower() == disk.disk_id.lower()]
    if copies or len(alike) > 1:
        alike = [one for one in alike if one.location == disk.location]
    return alike[0] if len(alike) == 1 else None


def _is_of(machine: str, entry: dict[str, Any]) -> bool:
    said = entry.get("machine")
    if said is not None:
        return bool(said == machine)
    return any(disk.get("machine") == machine for disk in entry["disks"])

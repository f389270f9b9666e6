"""What calls return: frozen values, each of which `asdict` turns into its JSON.

Numbers carry their unit in the name: `read_bytes`, `elapsed_seconds`; a bare noun (`chunks`,
`new_chunks`) is a count. Nothing here touches a repository but through the `RestorePoint` and
`PointDisk` that `hypercbt.points` builds on top.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, TypeAlias, cast

from hypercbt._native import Extents

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT = 1
"""The number of the JSON form. A field may be added without a new number, never removed."""

Changes: TypeAlias = "Extents | Iterable[tuple[int, int]] | Buffer"
"""Changed extents: `Extents`, (offset, length) pairs, or an (n, 2) buffer of uint64."""

Path: TypeAlias = str | PathLike[str]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (phase, done_bytes, total_bytes), at most ten times a second. What it raises stops the work."""


@dataclass(frozen=True, slots=True)
class DiskStats:
    """What one backup did for one disk."""

    disk: str
    """What people call the disk."""
    disk_bytes: int
    """The length of the disk."""
    allocated_bytes: int
    """What is present in the source."""
    method: str
    """`full`, `compare`, `list` or `rct`."""
    fallback_reason: str | None
    """Why the disk was compared although something better was asked for."""
    changed_bytes: int | None
    """As claimed: clipped and merged, before widening to chunks. None for full and compare."""
    read_bytes: int
    """Read from the source, the audit included."""
    audited_bytes: int
    """Read by the audit alone."""
    unmapped_bytes: int
    """Held by the base point, not claimed, and now declared zero by the source."""
    chunks: int
    """Chunks looked at."""
    new_chunks: int
    """Chunks that the repository did not know."""
    new_bytes: int
    """Their size before compression."""
    stored_bytes: int
    """Their size in the repository."""
    zero_bytes: int
    """Read and found to be zero."""
    metadata_bytes: int
    """Tree nodes, headers and index."""
    missed_chunks: int
    """Missed changes that the audit found: somebody must read why."""


@dataclass(frozen=True, slots=True)
class BackupStats:
    """What one backup did: the JSON of `hypercbt backup`."""

    restore_point: str
    name: str
    created: datetime
    elapsed_seconds: float
    disks: tuple[DiskStats, ...]
    machine: str
    """`file:NAME` or `vm:GUID`: whose restore point it is."""
    consistency: str | None = None
    """What the machine was brought into: `application`, `crash` or `off`; None of a file."""
    findings: tuple[str, ...] = ()
    """What somebody must read, a sentence each. Known to the run that made the point, and not kept in it."""

    @property
    def changed_bytes(self) -> int | None:
        """What was claimed to have changed, over all disks; None if one was read whole."""
        changed = [disk.changed_bytes for disk in self.disks]
        return None if None in changed else sum(filter(None, changed))

    @property
    def read_bytes(self) -> int:
        """Read from the sources, the audit included."""
        return sum(disk.read_bytes for disk in self.disks)

    @property
    def new_bytes(self) -> int:
        """New to the repository, before compression."""
        return sum(disk.new_bytes for disk in self.disks)

    @property
    def stored_bytes(self) -> int:
        """New in the repository, after compression."""
        return sum(disk.stored_bytes for disk in self.disks)

    @property
    def missed_chunks(self) -> int:
        """Missed changes that the audit found, over all disks."""
        return sum(disk.missed_chunks for disk in self.disks)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Extents that older restore points may hold wrongly, because a change was missed."""

    machine: str
    disk: str
    extents: tuple[tuple[int, int], ...]
    first: str
    """The first restore point that may be wrong there."""
    last: str
    """The last one."""
    found_by: str
    """The run that found it."""
    found_at: datetime


@dataclass(frozen=True, slots=True)
class DiffReport:
    """Where two restore points differ: chunks, as extents of the disk."""

    first: str
    second: str
    disks: tuple["DiskDiff", ...]


@dataclass(frozen=True, slots=True)
class DiskDiff:
    """Where one disk differs between two restore points."""

    disk: str
    index: int
    extents: Extents
    """Sorted, disjoint, in whole chunks."""

    @property
    def changed_bytes(self) -> int:
        """How much differs at most."""
        return self.extents.total_bytes


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What one restore of one disk did."""

    restore_point: str
    disk: str
    output: str
    output_format: str
    disk_bytes: int
    written_bytes: int
    """Everything else is zero and costs nothing."""
    read_bytes: int
    """Read from the repository."""
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A chunk or tree node that the repository no longer holds."""

    kind: str
    id: str
    reason: str
    lost: bool
    """Whether a restore point needs it and no place in the repository holds it."""
    healed: bool
    """Whether it was known to be damaged and harms nobody: it was stored again, or nobody needs it."""
    points: tuple[str, ...]
    """The restore points that need it."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification read and found."""

    scope: str
    """`all`, `since` or `sample`."""
    points: int
    packs: int
    """Packs that were read whole."""
    chunks: int
    nodes: int
    read_bytes: int
    damaged: tuple[DamagedRecord, ...]
    damaged_objects: tuple[str, ...]
    """Restore points, packs and index segments that cannot be read, a line each."""
    unlisted: str | None
    """Why the damage could not be put on the repository's list; the next backup does not know of it."""
    elapsed_seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing is damaged but what was known and has been stored again."""
        harmful = [record for record in self.damaged if not record.healed]
        return not harmful and not self.damaged_objects


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a disk file is: the JSON of `hypercbt inspect`."""

    path: str
    disk_format: str
    disk_bytes: int
    disk_id: str | None
    logical_sector_bytes: int
    physical_sector_bytes: int
    block_bytes: int | None
    allocated_bytes: int
    """Present in one of the files of the chain."""
    allocated_extents: int
    layers: tuple[dict[str, object], ...]
    """The file and its parents: name, kind, size, state of the log, present blocks."""


def asdict(value: object) -> dict[str, object]:
    """Return the JSON document of a result, with `"format": 1`."""
    document = to_json(value)
    if not isinstance(document, dict):
        raise TypeError(f"{type(value).__name__} is no result")
    return {"format": FORMAT, **document}


def to_json(value: object) -> object:
    """Return `value` in the types that JSON has.

    A class whose JSON is not simply its fields has a method `_json`.
    """
    if hasattr(value, "_json"):
        return to_json(value._json())
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(getattr(value, field.name)) for field in fields(value)
        }
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Extents):
        return [list(extent) for extent in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in cast("Iterable[object]", value)]
    return value


def rfc3339(moment: datetime) -> str:
    """Return a moment as the repository writes it: UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

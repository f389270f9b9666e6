r"""What the simulated host remembers: virtual machines, their disks, checkpoints and reference points.

Plain data; each virtual machine is one JSON document. Host paths are text, as `C:\VMs\web01\disk.vhdx`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

RUNNING, OFF, SAVED, PAUSED = 2, 3, 6, 9
"""Values of `EnabledState`, as real hosts were seen to give them [V*]."""


DVD_SLOT = {1: ("IDE", 1, 1), 2: ("SCSI", 0, 63)}
"""Where the DVD drive is, by generation: its disc is in the same class as the disks (and must not be taken for one)."""


@dataclass(slots=True)
class Disk:
    """A virtual hard disk in its slot."""

    controller: str
    """`SCSI` or `IDE`."""
    number: int
    slot: int
    kind: str
    """`vhdx`, `vhd`, `vhds` or `pass-through`."""
    files: list[str]
    """The base file and what stands on it, nearest to the guest last. The guest writes to the last. None: a drive of a planned
    machine with nothing in it."""
    disk_id: str
    size: int
    made: bool = False
    """Whether its file was made. Those of a thousand idle machines need not be."""
    tracked: bool = True
    fixed: bool = False
    block_bytes: int = 2 << 20
    logical_sector_bytes: int = 512
    physical_sector_bytes: int = 4096

    @property
    def location(self) -> str:
        """Such as `SCSI 0:1`."""
        return f"{self.controller} {self.number}:{self.slot}"

    @property
    def active(self) -> str:
        """The file that the guest writes to."""
        return self.files[-1]


@dataclass(slots=True)
class FrozenDisk:
    """A disk at the moment of a checkpoint."""

    location: str
    file: str
    """The file that stopped changing."""
    rct_id: str | None
    layer: str | None = None
    """A small file on top, of an application-consistent checkpoint."""


@dataclass(slots=True)
class Checkpoint:
    """A state of a virtual machine that was kept."""

    id: str
    name: str
    kind: str
    """The end of its `VirtualSystemType`: `Recovery`, `Realized`, `Replica`."""
    created: str
    consistency: int
    disks: list[FrozenDisk]
    parent: str | None = None


@dataclass(slots=True)
class ReferencePoint:
    """A moment that changes can be asked from."""

    id: str
    created: str
    consistency: int
    disks: list[tuple[str, str | None]]
    """Where the disk was, and the id of the moment."""


@dataclass(slots=True)
class Machine:
    """A virtual machine."""

    id: str
    name: str
    generation: int
    version: str
    created: str
    root: str
    """Its folder on the host: two machines of one name have two."""
    controllers: dict[str, str]
    """The GUID of each controller, by `SCSI 0`."""
    enabled: int = RUNNING
    disks: list[Disk] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    points: dict[str, ReferencePoint] = field(default_factory=dict)
    checkpoint_type: int = 3
    """`UserSnapshotType`: 2 off, 3 production with fallback, 4 production only, 5 standard."""
    application_consistent: bool = True
    """Whether the guest can be made consistent."""
    replica: bool = False
    merging: bool = True
    """False: switched off by an export."""
    failing_merges: int = 0
    """So many merges fail."""
    made: bool = False
    """Whether its configuration files were made."""
    notes: str = ""
    snapshot_root: str = ""
    """Where the configuration of its checkpoints is; its own folder where nothing else was said."""
    swap_root: str = ""
    definition: str = ""
    """Only of one that is planned: the file that it was imported from."""

    @property
    def planned(self) -> bool:
        """Whether it was imported, and does not stand yet."""
        return self.definition != ""

    @property
    def work_key(self) -> str:
        """What work on it is known by: a planned one and one that stands may have one GUID."""
        return f"planned {self.id}" if self.planned else self.id

    def disk(self, location: str) -> Disk | None:
        """The disk in this place."""
        return next((disk for disk in self.disks if disk.location == location), None)

    @property
    def frozen(self) -> Iterator[FrozenDisk]:
        """The disks of all its checkpoints."""
        return (disk for checkpoint in self.checkpoints for disk in checkpoint.disks)

    def has_version(self, *least: int) -> bool:
        """Whether its configuration is of this version, or a later one."""
        return tuple(int(part) for part in self.version.split(".")) >= least

    def checkpoint(self, id: str) -> Checkpoint | None:
        """The checkpoint of this GUID."""
        wanted = id.upper()
        return next((found for found in self.checkpoints if found.id == wanted), None)


def split_location(location: str) -> tuple[str, int, int]:
    """What `SCSI 0:1` says: the kind of the controller, its number, and the slot."""
    kind, _, place = location.partition(" ")
    number, _, slot = place.partition(":")
    return kind, int(number), int(slot)


def moment(when: datetime) -> str:
    """A time as text."""
    return when.astimezone(UTC).isoformat()


def to_json(machine: Machine) -> str:
    """The document of a virtual machine."""
    return json.dumps(asdict(machine))


def from_json(text: str) -> Machine:
    """The virtual machine of a document that `to_json` made."""
    document: dict[str, Any] = json.loads(text)
    document["disks"] = [Disk(**disk) for disk in document["disks"]]
    document["checkpoints"] = [
        Checkpoint(
            **{**found, "disks": [FrozenDisk(**disk) for disk in found["disks"]]}
        )
        for found in document["checkpoints"]
    ]
    document["points"] = {
        guid: ReferencePoint(
            **{**point, "disks": [(place, rct) for place, rct in point["disks"]]}
        )
        for guid, point in document["points"].items()
    }
    return Machine(**document)

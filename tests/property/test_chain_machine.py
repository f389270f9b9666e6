"""Whatever two disks of a machine go through, each of its restore points is what they were, byte for byte.

The disks are tracked; checkpoints of others come and go below the backup's own, which may have a layer of
its application's. What tracking says is taken as it is, or made coarser; the point that it is relative to
is any that the tracker still knows.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hypercbt import Extents, Repository, RestorePoint
from hypercbt.lab import TrackedDisk
from machines import Part, back_up

MIB = 1 << 20
SECTOR = 512
DISK_BYTES = 3 * MIB
SECTORS = DISK_BYTES // SECTOR
CHUNK = 64 << 10
LOCATIONS = ("SCSI 0:0", "SCSI 0:1")
MOST_CHECKPOINTS = 2

WRITES = st.tuples(
    st.integers(0, SECTORS - 1),
    st.sampled_from([1, 3, 200]),
    st.integers(1, 255),
)


@dataclass
class Disk:
    """A disk, what its guest sees, and what its checkpoints saw."""

    tracked: TrackedDisk
    content: bytearray = field(default_factory=lambda: bytearray(DISK_BYTES))
    checkpoints: list[bytes] = field(default_factory=list)

    def write(self, sector: int, sectors: int, byte: int) -> None:
        data = patch(self.content, sector, sectors, byte)
        self.tracked.write_at(sector * SECTOR, data)


def patch(content: bytearray, sector: int, sectors: int, byte: int) -> bytes:
    """Let some sectors hold a byte, and return what was written."""
    data = bytes([byte]) * (min(sectors, SECTORS - sector) * SECTOR)
    content[sector * SECTOR : sector * SECTOR + len(data)] = data
    return data


@dataclass
class Backup:
    """A restore point, what its disks held, and the ids that its successors start from."""

    point: RestorePoint
    contents: list[bytes]
    ids: list[str]


class ChainMachine(RuleBasedStateMachine):
    """Two disks, checkpoints, layers and backups in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hypercbt-"))
        self.repository = Repository.create(
            self.folder / "repository", chunk_size=CHUNK
        )
        self.disks: list[Disk] = []
        self.backups: list[Backup] = []

    @initialize()
    def make_disks(self) -> None:
        for name in ("one", "two"):
            path = self.folder / name / "disk.vhdx"
            path.parent.mkdir()
            tracked = TrackedDisk.create(path, DISK_BYTES, block_size=MIB)
            self.disks.append(Disk(tracked))

    @rule(which=st.integers(0, 1), writes=st.lists(WRITES, min_size=1, max_size=4))
    def write(self, which: int, writes: list[tuple[int, int, int]]) -> None:
        for write in writes:
            self.disks[which].write(*write)

    @rule(which=st.integers(0, 1), what=st.sampled_from(["make", "delete", "revert"]))
    def somebody_has_a_checkpoint(self, which: int, what: str) -> None:
        disk = self.disks[which]
        if what == "make" and len(disk.checkpoints) < MOST_CHECKPOINTS:
            disk.tracked.freeze()
            disk.checkpoints.append(bytes(disk.content))
        elif what == "delete" and disk.checkpoints:
            disk.tracked.thaw()
            disk.checkpoints.pop()
        elif what == "revert" and disk.checkpoints:
            disk.tracked.discard()
            disk.content = bytearray(disk.checkpoints[-1])

    @rule(
        layers=st.lists(st.lists(WRITES, max_size=3), min_size=2, max_size=2),
        back=st.integers(0, 2),
        grain=st.sampled_from([None, None, 4096, MIB]),
        audit=st.sampled_from(["off", "full", "rotate"]),
        around=st.sampled_from([None, None, ("make", "delete"), ("make", "revert")]),
    )
    def back_up(
        self,
        layers: list[list[tuple[int, int, int]]],
        back: int,
        grain: int | None,
        audit: str,
        around: tuple[str, str] | None,
    ) -> None:
        if around:
            self.somebody_has_a_checkpoint(0, around[0])
        base = self.backups[-1 - back] if back < len(self.backups) else None
        parts, contents, ids, made = [], [], [], []
        for number, (disk, layer) in enumerate(zip(self.disks, layers, strict=True)):
            since = [base.ids[number]] if base else []
            frozen = disk.tracked.freeze(since=since)
            content, file = bytearray(disk.content), frozen.file
            if layer:
                file = frozen.file.parent / "layer.avhdx"
                made.append(file)
                disk.tracked.add_layer(
                    file,
                    [(at * SECTOR, patch(content, at, *rest)) for at, *rest in layer],
                )
            changes = frozen.changes.get(since[0]) if since else None
            known = base is not None and changes is not None
            parts.append(
                Part(
                    file,
                    LOCATIONS[number],
                    method="rct" if known else "compare",
                    changes=coarse(changes, grain) if known else None,
                    base=base.point.id if known and base else None,
                    sealed_in=frozen.file.name,
                    audit=audit,
                )
            )
            contents.append(bytes(content))
            ids.append(frozen.id)
        point = back_up(self.repository, parts)
        for disk in self.disks:
            disk.tracked.thaw()
        for file in made:
            file.unlink()
        self.backups.append(Backup(point, contents, ids))
        if around:
            self.somebody_has_a_checkpoint(0, around[1])
        for stored in point.disks:
            assert stored.stats.missed_chunks == 0

    @precondition(lambda self: self.backups)
    @invariant()
    def the_newest_point_is_right(self) -> None:
        self.check(self.backups[-1])

    def check(self, backup: Backup) -> None:
        for disk, content in zip(backup.point.disks, backup.contents, strict=True):
            assert disk.open().read() == content, disk.stats

    def teardown(self) -> None:
        for backup in self.backups:
            self.check(backup)
        assert self.repository.verify().clean
        for disk in self.disks:
            disk.tracked.close()
        shutil.rmtree(self.folder)


def coarse(changes: Extents | None, grain: int | None) -> Extents | None:
    """Make an answer coarser, as a tracker may."""
    if changes is None or grain is None:
        return changes
    return changes.align(grain).intersect(Extents([(0, DISK_BYTES)]))


ChainMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestChainMachine = ChainMachine.TestCase

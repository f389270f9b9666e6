"""Whatever a guest writes and however its host ends, what the tracker reports is enough to restore the disk."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hypercbt import Repository, RestorePoint, VirtualDisk, backup_disk
from hypercbt.errors import ChangeTrackingLostError
from hypercbt.lab import Frozen, TrackedDisk

MIB = 1 << 20
SECTOR = 512
DISK_BYTES = 5 * MIB
BLOCK_BYTES = MIB
SECTORS = DISK_BYTES // SECTOR
MOST_CHECKPOINTS = 3

PLACES = st.one_of(
    st.integers(0, SECTORS - 1),
    # Where blocks, regions and grains meet.
    st.sampled_from(
        [n * BLOCK_BYTES // SECTOR + d for n in range(1, 5) for d in (-1, 0)]
    ),
)
LENGTHS = st.one_of(
    st.integers(1, 16), st.sampled_from([BLOCK_BYTES // SECTOR, SECTORS])
)


# Each sector of the model is one byte, and holds it again and again.
BYTES = [bytes([byte]) * SECTOR for byte in range(256)]


def expand(sectors: bytes | bytearray) -> bytes:
    """The bytes of a disk with these sectors."""
    return b"".join(map(BYTES.__getitem__, sectors))


def squeeze(content: bytes) -> bytes:
    """The sectors of a disk whose content is as the guest writes it."""
    sectors = content[::SECTOR]
    assert expand(sectors) == content
    return sectors


@dataclass
class Held:
    """A checkpoint, and what it holds."""

    frozen: Frozen
    content: bytes


@dataclass
class Layer:
    """A file that is a checkpoint's alone, and what it shows."""

    path: Path
    content: bytes
    depth: int


@dataclass
class Backup:
    """A restore point, what the disk held, and the id that its successor starts from, unless that was lost."""

    point: RestorePoint
    id: str | None
    content: bytes


class TrackedMachine(RuleBasedStateMachine):
    """A tracked disk, its guest and its host, against a `bytearray`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hypercbt-"))
        self.path = self.folder / "web01.vhdx"
        self.repository = Repository.create(
            self.folder / "repository", chunk_size=64 << 10
        )
        self.content = bytearray(SECTORS)
        # What a power cut may leave of each sector: what was flushed, and every state since.
        self.possible: list[bytes] = [bytes(SECTORS)]
        self.stack: list[Held] = []
        self.layer: Layer | None = None
        self.last: Backup | None = None
        self.byte = 0

    def teardown(self) -> None:
        self.disk.close()
        shutil.rmtree(self.folder)

    @initialize(fixed=st.booleans())
    def make(self, fixed: bool) -> None:
        created = TrackedDisk.create(
            self.path, DISK_BYTES, fixed=fixed, block_size=BLOCK_BYTES
        )
        assert created.tracking.state == "started"
        created.close()
        self.disk = TrackedDisk.open(self.path, volatile=True)

    def flushed(self) -> None:
        self.possible = [bytes(self.content)]

    @rule(
        kind=st.sampled_from(["write", "write", "zero", "trim"]),
        sector=PLACES,
        sectors=LENGTHS,
    )
    def change(self, kind: str, sector: int, sectors: int) -> None:
        end = min(sector + sectors, SECTORS)
        at, length = sector * SECTOR, (end - sector) * SECTOR
        before = bytes(self.content[sector:end])
        if kind == "write":
            self.byte = self.byte % 255 + 1
            self.content[sector:end] = bytes([self.byte]) * (end - sector)
            self.disk.write_at(at, expand(self.content[sector:end]))
        elif kind == "zero":
            self.content[sector:end] = bytes(end - sector)
            self.disk.zero(at, length)
        else:
            self.disk.unmap(at, length)
            now = squeeze(self.disk.read_at(at, length))
            for old, new in zip(before, now, strict=True):
                assert new in (old, 0)
            self.content[sector:end] = now
        self.possible.append(bytes(self.content))

    @rule(write_back=st.booleans())
    def flush(self, write_back: bool) -> None:
        self.disk.flush()
        self.flushed()
        if write_back:
            self.disk.flush_tracking()

    @precondition(lambda self: len(self.stack) < MOST_CHECKPOINTS)
    @rule()
    def freeze(self) -> None:
        frozen = self.disk.freeze(since=self.disk.ids)
        self.stack.append(Held(frozen, bytes(self.content)))
        self.flushed()

    @precondition(lambda self: self.stack)
    @rule()
    def thaw(self) -> None:
        if self.layer is not None and self.layer.depth == len(self.stack):
            self.layer.path.unlink()
            self.layer = None
        self.disk.thaw()
        self.stack.pop()
        self.flushed()

    @precondition(lambda self: self.stack)
    @rule()
    def discard(self) -> None:
        self.disk.discard()
        assert self.disk.tracking.state == "lost"
        assert self.disk.ids == []
        self.content[:] = self.stack[-1].content
        self.flushed()
        if self.last is not None and self.last.id is not None:
            with pytest.raises(ChangeTrackingLostError):
                self.disk.changes_since(self.last.id)
            self.last.id = None

    @precondition(lambda self: self.stack and self.layer is None)
    @rule(sector=PLACES, byte=st.integers(1, 255))
    def add_layer(self, sector: int, byte: int) -> None:
        path = self.folder / "web01-auto.avhdx"
        self.disk.add_layer(path, [(sector * SECTOR, BYTES[byte])])
        content = bytearray(self.stack[-1].content)
        content[sector] = byte
        self.layer = Layer(path, bytes(content), len(self.stack))

    @rule(freeze=st.booleans(), as_of_freeze=st.booleans(), sector=PLACES)
    def back_up(self, freeze: bool, as_of_freeze: bool, sector: int) -> None:
        """Back up the newest frozen file: all of it, or what the tracker reports, at the freeze or now."""
        if not self.stack or (freeze and len(self.stack) < MOST_CHECKPOINTS):
            self.freeze()
        self.change("write", sector, 1)
        held, last, known = self.stack[-1], self.last, self.disk.ids
        changes = None
        # An id tells nothing of a checkpoint that is older than itself: after a thaw there may be such a one.
        if (
            last is not None
            and last.id is not None
            and held.frozen.id in known[known.index(last.id) :]
        ):
            changes = self.disk.changes_since(last.id)
            if as_of_freeze:
                changes = held.frozen.changes.get(last.id, changes)
        point = backup_disk(
            held.frozen.file,
            repository=self.repository,
            name="web01",
            changes=changes,
            since=None if changes is None or last is None else last.point,
            # No audit: it would find, and mend, what the tracker missed.
            audit="off",
        )
        assert squeeze(point.open().read()) == held.content
        if last is not None and last.id in known and last.id != held.frozen.id:
            self.disk.forget(last.id)
        sealed = held.frozen.id if held.frozen.id in known else None
        self.last = Backup(point, sealed, held.content)

    @rule()
    def stop_and_start(self) -> None:
        self.disk.close()
        self.flushed()
        self.open_again()

    @rule(flush_first=st.booleans(), lose_rct=st.booleans())
    def cut_power(self, flush_first: bool, lose_rct: bool) -> None:
        """What was not flushed is as before or not; every sector by itself."""
        if flush_first:
            self.flush(write_back=False)
        self.disk.cut_power()
        if lose_rct:
            self.path.with_name("web01.vhdx.rct").unlink(missing_ok=True)
        self.open_again()
        found = squeeze(self.disk.read_at(0, DISK_BYTES))
        for sector, *possible in zip(found, *self.possible, strict=True):
            assert sector in possible
        self.content[:] = found
        self.flushed()

    def open_again(self) -> None:
        self.disk = TrackedDisk.open(self.path, volatile=True)
        assert self.disk.tracking.state == "continued"

    @invariant()
    def the_disk_holds_what_was_written(self) -> None:
        assert self.disk.read_at(0, DISK_BYTES) == expand(self.content)

    @invariant()
    def no_frozen_file_changes(self) -> None:
        files = [checkpoint.file for checkpoint in self.disk.checkpoints]
        assert files == [held.frozen.file for held in self.stack]
        for held in self.stack:
            self.holds(held.frozen.file, held.content)
        if self.layer is not None:
            self.holds(self.layer.path, self.layer.content)

    def holds(self, file: Path, content: bytes) -> None:
        with VirtualDisk.open(file) as disk:
            assert disk.read_at(0, DISK_BYTES) == expand(content)

    @invariant()
    def every_change_since_the_last_backup_is_reported(self) -> None:
        if self.last is None or self.last.id is None:
            return
        reported = self.disk.changes_since(self.last.id)
        for sector, (then, now) in enumerate(
            zip(self.last.content, self.content, strict=True)
        ):
            assert then == now or sector * SECTOR in reported


TestTrackedDisk = TrackedMachine.TestCase
TestTrackedDisk.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)


def test_a_disk_that_was_put_back_is_compared_and_not_believed(tmp_path: Path) -> None:
    path, older = tmp_path / "web01.vhdx", tmp_path / "older.vhdx"
    with TrackedDisk.create(path, DISK_BYTES) as disk:
        disk.write_at(0, b"a" * SECTOR)
    shutil.copyfile(path, older)
    with TrackedDisk.open(path) as disk:
        sealed = disk.seal()
        disk.write_at(0, b"b" * SECTOR)
    shutil.copyfile(older, path)
    with TrackedDisk.open(path) as disk:
        assert disk.tracking.state == "lost"
        assert disk.tracking.reason is not None
        with pytest.raises(ChangeTrackingLostError, match="tracking was lost"):
            disk.changes_since(sealed)

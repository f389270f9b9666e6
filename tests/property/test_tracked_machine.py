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


@dataclass
class Backup:
    """A restore point, the id that its successor starts from, and what the disk held."""

    point: RestorePoint
    id: str
    content: bytes


class TrackedMachine(RuleBasedStateMachine):
    """A tracked disk, its guest and its host, against a `bytearray`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hypercbt-"))
        self.host = self.folder / "host-0"
        self.host.mkdir()
        self.hosts = 1
        self.repository = Repository.create(
            self.folder / "repository", chunk_size=64 << 10
        )
        self.content = bytearray(DISK_BYTES)
        self.frozen: Frozen | None = None
        self.frozen_content = b""
        self.last: Backup | None = None
        self.byte = 0

    def teardown(self) -> None:
        self.disk.close()
        shutil.rmtree(self.folder)

    @property
    def path(self) -> Path:
        return self.host / "web01.vhdx"

    @initialize(fixed=st.booleans())
    def make(self, fixed: bool) -> None:
        self.disk = TrackedDisk.create(
            self.path, DISK_BYTES, fixed=fixed, block_size=BLOCK_BYTES
        )
        assert self.disk.tracking.state == "started"

    def extent(self, sector: int, sectors: int) -> tuple[int, int]:
        return sector * SECTOR, min(sectors, SECTORS - sector) * SECTOR

    @rule(sector=PLACES, sectors=LENGTHS)
    def write(self, sector: int, sectors: int) -> None:
        at, length = self.extent(sector, sectors)
        self.byte = self.byte % 255 + 1
        self.disk.write_at(at, bytes([self.byte]) * length)
        self.content[at : at + length] = bytes([self.byte]) * length

    @rule(sector=PLACES, sectors=LENGTHS)
    def zero(self, sector: int, sectors: int) -> None:
        at, length = self.extent(sector, sectors)
        self.disk.zero(at, length)
        self.content[at : at + length] = bytes(length)

    @rule(sector=PLACES, sectors=LENGTHS)
    def trim(self, sector: int, sectors: int) -> None:
        at, length = self.extent(sector, sectors)
        self.disk.unmap(at, length)
        now = self.disk.read_at(at, length)
        for offset in range(0, length, SECTOR):
            before = self.content[at + offset : at + offset + SECTOR]
            assert now[offset : offset + SECTOR] in (before, bytes(SECTOR))
        self.content[at : at + length] = now

    @rule()
    def flush(self) -> None:
        self.disk.flush()

    @rule()
    def write_the_map_back(self) -> None:
        self.disk.flush_tracking()

    @precondition(lambda self: self.frozen is None)
    @rule()
    def freeze(self) -> None:
        self.frozen = self.disk.freeze()
        self.frozen_content = bytes(self.content)

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def thaw(self) -> None:
        self.disk.thaw()
        self.frozen = None

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def back_up(self) -> None:
        """Back up the frozen file: everything the first time, later what the tracker reports."""
        assert self.frozen is not None
        last = self.last
        point = backup_disk(
            self.path,
            repository=self.repository,
            changes=None if last is None else self.disk.changes_since(last.id),
            since=None if last is None else last.point,
            # No audit: it would find, and mend, what the tracker missed.
            audit="off",
        )
        assert point.open().read() == self.frozen_content
        if last is not None and last.id != self.frozen.id:
            self.disk.forget(last.id)
        self.last = Backup(point, self.frozen.id, self.frozen_content)

    @rule()
    def stop_and_start(self) -> None:
        self.disk.close()
        self.open_again()

    @rule(lose_rct=st.booleans())
    def power_cut(self, lose_rct: bool) -> None:
        """What a copy of the files of a running host holds: the other host goes on with it."""
        self.disk.flush()
        before, self.host = self.host, self.folder / f"host-{self.hosts}"
        self.hosts += 1
        shutil.copytree(before, self.host)
        self.disk.close()
        shutil.rmtree(before)
        if lose_rct:
            (self.host / "web01.vhdx.rct").unlink(missing_ok=True)
        self.open_again()

    def open_again(self) -> None:
        self.disk = TrackedDisk.open(self.path)
        assert self.disk.tracking.state == "continued"
        found = self.disk.frozen
        assert (found is None) == (self.frozen is None)
        if self.frozen is not None:
            self.frozen = Frozen(self.frozen.id, self.path)

    @invariant()
    def the_disk_holds_what_was_written(self) -> None:
        assert self.disk.read_at(0, DISK_BYTES) == self.content

    @invariant()
    def the_frozen_file_does_not_change(self) -> None:
        if self.frozen is not None:
            with VirtualDisk.open(self.frozen.file) as disk:
                assert disk.read_at(0, DISK_BYTES) == self.frozen_content

    @invariant()
    def every_change_since_the_last_backup_is_reported(self) -> None:
        if self.last is None:
            return
        reported = self.disk.changes_since(self.last.id)
        content = self.last.content
        for at in range(0, DISK_BYTES, 4096):
            if content[at : at + 4096] != self.content[at : at + 4096]:
                assert at in reported


TestTrackedDisk = TrackedMachine.TestCase
TestTrackedDisk.settings = settings(
    max_examples=30,
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

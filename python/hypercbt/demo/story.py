"""The demo's story, step by step. Each step is one call that every caller could make."""

import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypercbt._native import Extents
from hypercbt.api import backup_disk
from hypercbt.demo.file_systems import (
    FileSystem,
    GuestWrites,
    choose_file_system,
    take_sample,
)
from hypercbt.demo.images import (
    changed_pages,
    copy_image,
    first_difference,
    same_files,
)
from hypercbt.demo.picture import disk_map
from hypercbt.points import RestorePoint
from hypercbt.repository import Repository
from hypercbt.virtual_disk import VirtualDisk

DISK = "web01"
SAMPLE_BYTES = 256 << 20
DISK_TO_SAMPLE = 4
"""The disk is this many times larger than what is on it, as disks are."""
LEAST_DISK_BYTES = 64 << 20
SPACE_TO_SAMPLE = 12
"""What the temporary folder must have free: images, VHDX files, repositories, restored disks."""
PAGE_BYTES = 4096
TRACKER_BYTES = 64 << 10
"""A tracker is coarser than a page, so it claims more than has changed."""
FALSE_CLAIMS = 8
METADATA_SEARCH_BYTES = 16 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One backup of the story."""

    what: str
    restore_point: str
    method: str
    claimed_bytes: int | None
    read_bytes: int
    new_bytes: int
    stored_bytes: int
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must be true, and why it is not where it is not."""

    what: str
    passed: bool
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo did and found."""

    file_system: str
    note: str | None
    disk_bytes: int
    files: int
    files_bytes: int
    added: int
    rewritten: int
    deleted: int
    pages: int
    changed_bytes: int
    """What the guest's writes really changed, in pages of 4 KiB."""
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    map: tuple[str, ...]
    elapsed_seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def run_demo(
    *,
    say: Say = lambda _: None,
    sample_bytes: int = SAMPLE_BYTES,
    file_system: FileSystem | None = None,
    seed: int = 1,
) -> DemoReport:
    """Tell the whole story in a temporary folder, which is removed at the end."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hypercbt-demo-") as folder:
        free = shutil.disk_usage(folder).free
        if free < sample_bytes * SPACE_TO_SAMPLE:
            raise ValueError(
                f"the demo needs {sample_bytes * SPACE_TO_SAMPLE >> 20} MiB in {tempfile.gettempdir()}, "
                f"and {free >> 20} MiB are free; make TMPDIR another folder or the sample smaller"
            )
        story = _Story(
            Path(folder), say, file_system or choose_file_system(), random.Random(seed)
        )
        return story.tell(sample_bytes, started)


@dataclass(slots=True)
class _Story:
    """The state of one telling: where things are, and what has been seen so far."""

    folder: Path
    say: Say
    file_system: FileSystem
    rng: random.Random
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def tell(self, sample_bytes: int, started: float) -> DemoReport:
        """Make, back up, change, back up twice, restore all, compare all."""
        if self.file_system.note:
            self.say(self.file_system.note)
        monday, tuesday = self.folder / "monday.raw", self.folder / "tuesday.raw"
        self.say("copying files of this machine")
        sample = take_sample(self.folder / "sample", sample_bytes, self.rng)
        disk_bytes = max(LEAST_DISK_BYTES, DISK_TO_SAMPLE * sample_bytes)
        self.say(
            f"making a {disk_bytes >> 20} MiB disk with {self.file_system.name} on it"
        )
        self.file_system.make(monday, disk_bytes, sample)
        disk, disk_id = self._host_file(monday, None)
        repository = Repository.create(self.folder / "repository")

        first = self._backup("everything", disk, repository)
        self.say("the guest writes: files added, rewritten, deleted, pages overwritten")
        copy_image(monday, tuesday)
        writes = self.file_system.change(tuesday, sample, self.rng)
        changed = Extents(changed_pages(monday, tuesday, PAGE_BYTES))
        claimed = self._tracker(changed, disk_bytes)
        self._host_file(tuesday, disk_id)

        second = self._backup("the claimed changes", disk, repository, claimed, first)
        third = self._backup("by comparing", disk, repository)

        for number, (point, image) in enumerate(
            ((first, monday), (second, tuesday), (third, tuesday)), start=1
        ):
            self._restore(number, point, image)
        self._restore_as_vhdx(second, tuesday)
        self._compare_points(repository, first, second, third, changed)
        self.say("verifying the repository")
        report = repository.verify()
        self._check(
            "every stored byte verifies", None if report.clean else str(report.damaged)
        )
        with VirtualDisk.open(disk) as opened:
            picture = disk_map(disk_bytes, opened.allocated, claimed, changed)
        return self._report(
            sample.total_bytes,
            len(sample.files),
            disk_bytes,
            writes,
            changed,
            picture,
            started,
        )

    def _host_file(self, image: Path, disk_id: str | None) -> tuple[Path, str]:
        """Make `web01.vhdx` hold this image, keeping the identity of the disk.

        Our own restore writer makes the file, so the image goes through a repository of its own.
        """
        disk = self.folder / f"{DISK}.vhdx"
        with tempfile.TemporaryDirectory(dir=self.folder) as workshop:
            repository = Repository.create(Path(workshop) / "repository")
            backup_disk(image, repository=repository).restore(disk, overwrite=True)
        with VirtualDisk.open(disk) as opened:
            made = opened.disk_id
        if made is None:
            raise AssertionError("a VHDX file always has a disk id")
        if disk_id is not None:
            _set_disk_id(disk, made, disk_id)
        return disk, disk_id or made

    def _tracker(self, changed: Extents, disk_bytes: int) -> Extents:
        """Return what a change tracker would say: all that changed, coarser, and a bit too much."""
        false = [
            (
                self.rng.randrange(disk_bytes // TRACKER_BYTES) * TRACKER_BYTES,
                TRACKER_BYTES,
            )
            for _ in range(FALSE_CLAIMS)
        ]
        return changed.align(TRACKER_BYTES).union(Extents(false))

    def _backup(
        self,
        what: str,
        disk: Path,
        repository: Repository,
        changes: Extents | None = None,
        since: RestorePoint | None = None,
    ) -> RestorePoint:
        """Back up the disk and note what it cost."""
        self.say(f"backing up {what}")
        point = backup_disk(disk, repository=repository, changes=changes, since=since)
        stats = point.stats
        self.steps.append(
            Step(
                what=what,
                restore_point=point.id,
                method=stats.disks[0].method,
                claimed_bytes=stats.changed_bytes,
                read_bytes=stats.read_bytes,
                new_bytes=stats.new_bytes,
                stored_bytes=stats.stored_bytes,
                elapsed_seconds=stats.elapsed_seconds,
            )
        )
        return point

    def _restore(self, number: int, point: RestorePoint, image: Path) -> None:
        """Restore a point and compare it with the image that the guest had."""
        self.say(f"restoring point {number} and comparing every byte")
        restored = self.folder / "restored.raw"
        point.restore(restored)
        where = same_files(image, restored)
        self._check(f"point {number} restored: every byte is the same", _differs(where))
        self._check(
            f"point {number} restored: the {self.file_system.name} is whole",
            self.file_system.check(restored),
        )
        restored.unlink()

    def _restore_as_vhdx(self, point: RestorePoint, image: Path) -> None:
        """Restore a point as VHDX and compare what its guest would see."""
        restored = self.folder / "restored.vhdx"
        point.restore(restored)
        with VirtualDisk.open(restored) as disk:
            where = first_difference(image, disk.size, disk.read_at)
        self._check("the newest point as VHDX: every byte is the same", _differs(where))
        restored.unlink()

    def _compare_points(
        self,
        repository: Repository,
        first: RestorePoint,
        second: RestorePoint,
        third: RestorePoint,
        changed: Extents,
    ) -> None:
        """See that the repository knows the difference, and that comparing found nothing more."""
        found = repository.diff(first, second).disks[0].extents
        missed = changed.subtract(found).total_bytes
        self._check(
            "diff covers what changed",
            f"{missed} bytes are missing" if missed else None,
        )
        more = repository.diff(second, third).disks[0].changed_bytes
        self._check(
            "comparing found what the list said",
            f"{more} bytes differ" if more else None,
        )
        missed_chunks = second.stats.missed_chunks
        self._check(
            "the audit found no missed change",
            f"{missed_chunks} chunks were missed" if missed_chunks else None,
        )

    def _check(self, what: str, detail: str | None) -> None:
        self.checks.append(Check(what, detail is None, detail))

    def _report(
        self,
        files_bytes: int,
        files: int,
        disk_bytes: int,
        writes: GuestWrites,
        changed: Extents,
        picture: list[str],
        started: float,
    ) -> DemoReport:
        return DemoReport(
            file_system=self.file_system.name,
            note=self.file_system.note,
            disk_bytes=disk_bytes,
            files=files,
            files_bytes=files_bytes,
            added=len(writes.added),
            rewritten=len(writes.rewritten),
            deleted=len(writes.deleted),
            pages=writes.pages,
            changed_bytes=changed.total_bytes,
            steps=tuple(self.steps),
            checks=tuple(self.checks),
            map=tuple(picture),
            elapsed_seconds=time.monotonic() - started,
        )


def _differs(where: int | None) -> str | None:
    return None if where is None else f"they differ from byte {where} on"


def _set_disk_id(disk: Path, made: str, wanted: str) -> None:
    """Give a VHDX file the identity that its disk had: it is the same disk, a day later.

    The VirtualDiskId stands in the metadata region, which has no checksum (MS-VHDX 2.6.2.4).
    """
    with disk.open("r+b") as file:
        head = file.read(METADATA_SEARCH_BYTES)
        at = head.find(uuid.UUID(made).bytes_le)
        if at < 0:
            raise AssertionError("the disk id stands in the metadata region")
        file.seek(at)
        file.write(uuid.UUID(wanted).bytes_le)

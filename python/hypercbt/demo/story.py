"""The demo's story, step by step. Each step is one call that every caller could make."""

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from hypercbt._native import Extents
from hypercbt.api import backup_disk
from hypercbt.demo.file_systems import (
    FileSystem,
    GuestWrites,
    Sample,
    choose_file_system,
    take_sample,
)
from hypercbt.demo.guest import PAGE_BYTES, End, run_guest
from hypercbt.demo.images import (
    changed_pages,
    copy_image,
    first_difference,
    same_files,
)
from hypercbt.demo.picture import disk_map
from hypercbt.lab import TrackedDisk
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

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One backup of the story."""

    what: str
    restore_point: str
    method: str
    claimed_bytes: int | None
    """What the tracker reported."""
    changed_bytes: int | None
    """What had really changed, in pages of 4 KiB."""
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
    """What the guest's writes really changed in all, in pages of 4 KiB."""
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


@dataclass(frozen=True, slots=True)
class _Day:
    """What happens between two backups."""

    what: str
    end: End
    loses_rct: bool = False


DAYS = (
    _Day("after a clean stop", "clean stop"),
    _Day("after a power cut", "power cut"),
    _Day("after the .rct was lost", "clean stop", loses_rct=True),
)
"""Each is followed by an incremental backup."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A backup, what the guest's disk held, and what the tracker said of the time before."""

    point: RestorePoint
    image: Path
    claimed: Extents = field(default_factory=Extents)
    changed: Extents = field(default_factory=Extents)


@dataclass(slots=True)
class _Story:
    """The state of one telling: where things are, and what has been seen so far."""

    folder: Path
    say: Say
    file_system: FileSystem
    rng: random.Random
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    writes: GuestWrites = field(default_factory=GuestWrites)

    @property
    def disk(self) -> Path:
        """The virtual machine's disk file."""
        return self.folder / f"{DISK}.vhdx"

    def tell(self, sample_bytes: int, started: float) -> DemoReport:
        """Make, back up, change, back up again in every way, restore all, compare all."""
        if self.file_system.note:
            self.say(self.file_system.note)
        self.say("copying files of this machine")
        sample = take_sample(self.folder / "sample", sample_bytes, self.rng)
        disk_bytes = max(LEAST_DISK_BYTES, DISK_TO_SAMPLE * sample_bytes)
        self.say(
            f"making a {disk_bytes >> 20} MiB disk with {self.file_system.name} on it"
        )
        image = self.folder / "day-0.raw"
        self.file_system.make(image, disk_bytes, sample)
        TrackedDisk.create(self.disk, disk_bytes).close()
        run_guest(self.disk, image, "clean stop")
        repository = Repository.create(self.folder / "repository")

        taken, since = self._first_backup(repository, image)
        left = sample
        for day in DAYS:
            next_taken, since, left = self._tell_day(
                day, repository, taken[-1], since, left
            )
            taken.append(next_taken)
        compared = self._backup("by comparing", self.disk, repository)

        for number, each in enumerate(taken, start=1):
            self._restore(number, each.point, each.image)
        self._restore_as_vhdx(taken[-1].point, taken[-1].image)
        self._compare_points(repository, taken, compared)
        self.say("verifying the repository")
        report = repository.verify()
        self._check(
            "every stored byte verifies", None if report.clean else str(report.damaged)
        )
        return self._report(sample, disk_bytes, taken, started)

    def _first_backup(
        self, repository: Repository, image: Path
    ) -> tuple[list[_Taken], str]:
        """Back up everything, and return the id that the next backup starts from."""
        with TrackedDisk.open(self.disk) as disk:
            frozen = disk.freeze()
            point = self._backup("everything", frozen.file, repository)
            disk.thaw()
        return [_Taken(point, image)], frozen.id

    def _tell_day(
        self,
        day: _Day,
        repository: Repository,
        before: _Taken,
        since: str,
        sample: Sample,
    ) -> tuple[_Taken, str, Sample]:
        """The guest writes and ends; what the tracker says has changed is backed up."""
        self.say(f"the guest writes, until a {day.end}")
        image = self.folder / f"day-{len(self.steps)}.raw"
        copy_image(before.image, image)
        writes = self.file_system.change(image, sample, self.rng)
        self._count(writes)
        run_guest(self.disk, image, day.end)
        if day.loses_rct:
            self.say("its .rct file is lost")
            self.disk.with_name(f"{self.disk.name}.rct").unlink()
        changed = Extents(changed_pages(before.image, image, PAGE_BYTES))
        with TrackedDisk.open(self.disk) as disk:
            frozen = disk.freeze()
            claimed = disk.changes_since(since)
            point = self._backup(
                day.what, frozen.file, repository, claimed, before.point, changed
            )
            disk.thaw()
            disk.forget(since)
        missed = changed.subtract(claimed).total_bytes
        self._check(
            f"{day.what}: the tracker missed no change",
            f"{missed} bytes were missed" if missed else None,
        )
        taken = _Taken(point, image, claimed, changed)
        return taken, frozen.id, sample.without(writes.deleted)

    def _count(self, writes: GuestWrites) -> None:
        self.writes.added += writes.added
        self.writes.rewritten += writes.rewritten
        self.writes.deleted += writes.deleted
        self.writes.pages += writes.pages

    def _backup(
        self,
        what: str,
        disk: Path,
        repository: Repository,
        changes: Extents | None = None,
        since: RestorePoint | None = None,
        changed: Extents | None = None,
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
                changed_bytes=None if changed is None else changed.total_bytes,
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
        taken: list[_Taken],
        compared: RestorePoint,
    ) -> None:
        """See that the repository knows the differences, and that comparing found nothing more."""
        unknown = 0
        for before, after in pairwise(taken):
            found = repository.diff(before.point, after.point).disks[0].extents
            unknown += after.changed.subtract(found).total_bytes
        self._check(
            "diff covers what changed",
            f"{unknown} bytes are missing" if unknown else None,
        )
        more = repository.diff(taken[-1].point, compared).disks[0].changed_bytes
        self._check(
            "comparing found what the tracker said",
            f"{more} bytes differ" if more else None,
        )
        missed_chunks = sum(each.point.stats.missed_chunks for each in taken)
        self._check(
            "the audit found no missed change",
            f"{missed_chunks} chunks were missed" if missed_chunks else None,
        )

    def _check(self, what: str, detail: str | None) -> None:
        self.checks.append(Check(what, detail is None, detail))

    def _report(
        self, sample: Sample, disk_bytes: int, taken: list[_Taken], started: float
    ) -> DemoReport:
        after_a_cut = taken[2]
        with VirtualDisk.open(self.disk) as opened:
            allocated = opened.allocated
        return DemoReport(
            file_system=self.file_system.name,
            note=self.file_system.note,
            disk_bytes=disk_bytes,
            files=len(sample.files),
            files_bytes=sample.total_bytes,
            added=len(self.writes.added),
            rewritten=len(self.writes.rewritten),
            deleted=len(self.writes.deleted),
            pages=self.writes.pages,
            changed_bytes=sum(each.changed.total_bytes for each in taken),
            steps=tuple(self.steps),
            checks=tuple(self.checks),
            map=tuple(
                disk_map(
                    disk_bytes, allocated, after_a_cut.claimed, after_a_cut.changed
                )
            ),
            elapsed_seconds=time.monotonic() - started,
        )


def _differs(where: int | None) -> str | None:
    return None if where is None else f"they differ from byte {where} on"

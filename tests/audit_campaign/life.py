"""A machine on a lab host that is backed up once a simulated day, and what is known of every point of it.

The truth is read while the disks are frozen, through the frozen files. After each backup the whole point is compared
with it, so that it is known of every chunk since when it is wrong, whether the audit found it in time, and whether
the suspects name it.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import hypercbt
from hypercbt import Repository, RestorePoint, VirtualDisk
from hypercbt.closing import Closing
from hypercbt.hyperv.backup import Done, backup_machine
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.order import Order
from hypercbt.lab import LabDisk, LabHost, LabVm, ManualClock

CHUNK = 64 << 10
"""The smallest that a repository has, and the piece that the lab under-reports by."""
BLOCK = 1 << 20
PERIOD_DAYS = 28
DAY_SECONDS = 24 * 3600
PATCHED = (
    "hypercbt.hyperv.attempt.now_microseconds",
    "hypercbt.hyperv.sealing.now_microseconds",
)
"""Where a backup asks what time it is."""


class Days:
    """The time of everybody: the lab host, the client and the repository."""

    def __init__(self, step_seconds: float) -> None:
        self.lab = ManualClock(step_seconds=step_seconds)

    def now(self) -> float:
        """Return seconds, for a client that waits."""
        return self.lab.now().timestamp()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.lab.advance(seconds)

    def microseconds(self) -> int:
        """Return the time as a repository takes it."""
        return round(self.lab.now().timestamp() * 1_000_000)

    @contextmanager
    def rule(self) -> Iterator[None]:
        """Make it the time of backups."""
        with ExitStack() as stack:
            for name in PATCHED:
                stack.enter_context(mock.patch(name, self.microseconds))
            yield


@dataclass
class Chronicle:
    """What became of one disk, run by run."""

    disk_id: str
    wrong_since: dict[int, int] = field(default_factory=dict)
    """The chunks that the newest point holds wrongly, with the run since which they are wrong."""
    wrong_in: list[set[int]] = field(default_factory=list)
    """For each run, what its point holds wrongly."""
    found: list[tuple[int, int, int]] = field(default_factory=list)
    """Chunks that the audit found: chunk, first run with it wrong, run that found it. Both are the same where the run
    that was not told of a change found it right away."""
    healed: list[tuple[int, int, int]] = field(default_factory=list)
    """Chunks that were read before their turn, because the guest wrote to them again and that was reported."""
    written: set[int] = field(default_factory=set)
    """Where the guest has written since the last run."""

    @property
    def days(self) -> list[int]:
        """How many runs each missed change stood until it was found, the one that missed it included."""
        return [until - since for _, since, until in self.found]


class Life(Closing):
    """One machine, its host and its repository, day by day.

    Args:
        folder: Where all of it is.
        disks: How many disks the machine has.
        disk_bytes: Of each.
        seed: What is written when.
        period: In how many days the audit reads everything once.
        step_seconds: How much time passes by looking at a clock: for a client that waits by its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disks: int,
        disk_bytes: int,
        seed: int,
        period: int = PERIOD_DAYS,
        step_seconds: float = 0.0,
    ) -> None:
        self.period = period
        self.days = Days(step_seconds)
        self.random = random.Random(seed)
        self.truth: dict[str, bytes] = {}
        self.points: list[RestorePoint] = []
        self.done: list[Done] = []
        self._filled: dict[str, int] = {}
        self._stack = ExitStack()
        self._stack.enter_context(self.days.rule())
        self.host = self._stack.enter_context(
            LabHost(folder / "host", clock=self.days.lab, seed=seed)
        )
        self.host.when_frozen(self._look)
        self.vm: LabVm = self.host.add_vm("web01", disks=[disk_bytes] * disks)
        self.repository_folder = folder / "repository"
        self.repository = self._stack.enter_context(
            Repository.create(self.repository_folder, chunk_size=CHUNK)
        )
        self.chronicles = {disk.location: Chronicle(disk.id) for disk in self.vm.disks}

    def close(self) -> None:
        """Let go of everything."""
        self._stack.close()

    @property
    def runs(self) -> int:
        """How many backups there were."""
        return len(self.points)

    @contextmanager
    def beginning(self) -> Iterator["Life"]:
        """Close it only where something goes wrong: else it is handed on."""
        try:
            yield self
        except BaseException:
            self.close()
            raise

    def fill(self, share: float = 1.0) -> None:
        """Let the guest write to this share of the blocks, so that they are allocated."""
        for disk in self.vm.disks:
            self.grow(disk, share)

    def grow(self, disk: LabDisk, share: float) -> None:
        """Let the guest write to the blocks of this share that it has not written to yet."""
        end = int(disk.size * share)
        for at in range(self._filled.get(disk.location, 0), end, BLOCK):
            self.write(disk, at)
            self._filled[disk.location] = at + BLOCK

    def hidden(self, disk: LabDisk) -> list[int]:
        """Return the chunks whose changes the host does not report."""
        machine, state = self.vm.machine, disk.state
        hidden = self.host.model.images.tracking_of(machine, state).hidden
        return [
            offset // CHUNK + n
            for offset, length in hidden or ()
            for n in range(length // CHUNK)
        ]

    def write(self, disk: LabDisk, offset: int, length: int = 4096) -> None:
        """Let the guest write something new."""
        disk.write(offset, self.random.randbytes(length))
        last = (offset + length - 1) // CHUNK
        self.chronicles[disk.location].written.update(range(offset // CHUNK, last + 1))

    def work(self, disk: LabDisk, writes: int) -> None:
        """Let the guest write here and there."""
        for _ in range(writes):
            length = 4096 * self.random.randint(1, 8)
            at = self.random.randrange(0, disk.size - length, 512)
            self.write(disk, at, length)

    def next_day(self, *, audit: str = "rotate") -> Done:
        """Back the machine up a day after the last time, and compare the point with the truth."""
        if self.points:
            begun = self.points[-1].created.timestamp()
            self.days.sleep(begun + DAY_SECONDS - self.days.now())
        with hypercbt.Host(
            self.host.host,
            credentials=Credentials(*self.host.credentials),
            map=self.host.map,
        ) as opened:
            done = backup_machine(
                HostedMachine(opened, self.vm.id, self.days),
                self.repository,
                Order(
                    # Without the extra layer of an application-consistent checkpoint, it is known which chunks are read.
                    consistency="crash",
                    audit=audit,
                    audit_period_seconds=self.period * DAY_SECONDS,
                    space_floor_bytes=0,
                    limits=Limits(clock=self.days, tidy_clock=self.days),
                ),
            )
        self.note(done)
        return done

    def note(self, done: Done) -> None:
        """Take a point into the chronicles."""
        run = len(self.points)
        self.points.append(done.point)
        self.done.append(done)
        for disk in done.point.disks:
            chronicle = self.chronicles[disk.location or ""]
            with disk.open() as file:
                held = file.read_at(0, disk.size)
            wrong = different(held, self.truth[disk.location or ""])
            stats = done.point.stats.disks[disk.index]
            hidden = set(self.hidden(LabDisk(self.vm, disk.location or "")))
            _follow(chronicle, run, wrong, hidden, stats.missed_chunks)

    def unnamed(self) -> list[tuple[str, int, int]]:
        """Return what the audit found and no suspect names: location, chunk, run of the point that is wrong."""
        number = {point.id: run for run, point in enumerate(self.points)}
        named: dict[str, set[tuple[int, int]]] = {}
        for suspect in self.repository.suspects():
            rows = range(number[suspect.first], number[suspect.last] + 1)
            named.setdefault(suspect.disk.lower(), set()).update(
                (chunk, run)
                for offset, length in suspect.extents
                for chunk in range(offset // CHUNK, -(-(offset + length) // CHUNK))
                for run in rows
            )
        return [
            (location, chunk, run)
            for location, chronicle in self.chronicles.items()
            for chunk, since, until in chronicle.found
            for run in range(
                since, until
            )  # those that the run that found it did not make
            if (chunk, run) not in named.get(chronicle.disk_id, set())
        ]

    def overdue(self) -> list[tuple[str, int, int]]:
        """Return what is wrong for longer than a period: location, chunk, since which run."""
        return [
            (location, chunk, since)
            for location, chronicle in self.chronicles.items()
            for chunk, since in chronicle.wrong_since.items()
            if self.runs - since >= self.period
        ]

    def totals(self) -> Counter[str]:
        """Return how many missed changes there were, and what became of them."""
        made: Counter[str] = Counter()
        for chronicle in self.chronicles.values():
            made["found"] += len(chronicle.found)
            made["healed unseen"] += len(chronicle.healed)
            made["still open"] += len(chronicle.wrong_since)
        return made

    def _look(self, _: LabVm, files: Mapping[str, Path]) -> None:
        for location, file in files.items():
            with VirtualDisk.open(file) as disk:
                self.truth[location] = disk.read_at(0, disk.size)


def different(one: bytes, other: bytes) -> set[int]:
    """Return the chunks in which two disks differ."""
    assert len(one) == len(other)
    if one == other:
        return set()
    return {
        at // CHUNK
        for at in range(0, len(one), CHUNK)
        if one[at : at + CHUNK] != other[at : at + CHUNK]
    }


def _follow(
    chronicle: Chronicle, run: int, wrong: set[int], hidden: set[int], missed: int
) -> None:
    """Note what is wrong now, and what has become of what was.

    Raises:
        AssertionError: That does not fit together: the audit found something and the point is wrong all the same, or
            something was healed by nobody.
    """
    reported = chronicle.written - hidden
    unreported = (chronicle.wrong_since.keys() | chronicle.written) - reported
    chronicle.written = set()
    if missed:
        assert not wrong, f"run {run} found {missed} chunks and left {wrong}"
        assert missed == len(unreported), f"run {run}: {missed}, not {unreported}"
        for chunk in unreported:
            chronicle.found.append((chunk, chronicle.wrong_since.pop(chunk, run), run))
    for chunk in chronicle.wrong_since.keys() & reported:
        chronicle.healed.append((chunk, chronicle.wrong_since.pop(chunk), run))
    assert missed or wrong == unreported, f"run {run}: {wrong}, not {unreported}"
    for chunk in wrong:
        chronicle.wrong_since.setdefault(chunk, run)
    chronicle.wrong_in.append(wrong)

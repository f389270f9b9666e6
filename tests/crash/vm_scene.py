"""A lab host with a machine that is backed up, run by run, and what must hold after a run that was interrupted.

The host lives in this process, its clients in processes of their own. The guest writes with every few requests, so also
while its disks are frozen, read and merged.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from hypercbt import Repository, VirtualDisk
from hypercbt.documents import parse_list
from hypercbt.lab import LabHost, LabVm, ManualClock, Quirks
from hypercbt.lab.faults import Drop, Fault, Run

from .workers import Ended, VmWorker

MIB = 1 << 20
CHUNK = 64 << 10
STEP_SECONDS = 0.004
"""Of the host's clock, each time somebody looks: a job ends after some polls, a merge after some more."""
LATE_BY = 3
"""So many other requests come first where a host is late."""
KEPT = 2
"""So many reference points of ours may stand."""
DOUBT = re.compile(r"the reference point (\S+) may be ours or somebody else's, .*")
"""What a run says of a reference point that it leaves."""

Truth: TypeAlias = dict[str, str]
"""What the disks held when they were frozen: digests by location."""


@dataclass(frozen=True)
class How:
    """One way to interrupt a run at a request, and what is run then."""

    name: str
    at: Callable[["VmScene", int], Fault]
    ends: Callable[[int], bool]
    """Whether a client may end with this exit code."""
    clean_at_once: bool
    """Whether the host must be clean when the client has ended."""
    then: str = "backup"


@dataclass(frozen=True)
class Kind:
    """One kind of run that is interrupted."""

    name: str
    runs_before: int
    quirks: Quirks = field(default_factory=Quirks)
    user_checkpoint: bool = False
    application_consistent: bool = True
    every: int = 1
    """Which share of the requests is interrupted where all kinds are tried in full."""

    @property
    def next_methods(self) -> set[str]:
        """How the next run may read the disks: with two baselines before, losing the third costs nothing."""
        return {"rct"} if self.runs_before else {"full", "compare", "rct"}


class VmScene:
    """A machine on a lab host, and the repository that it is backed up to.

    Args:
        folder: Where both are, or will be.
        kind: What the host and the machine are like.
        worker: Starts clients.
        truths: What the restore points that exist must hold.
        seed: Of what the guest writes.
    """

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        worker: VmWorker,
        truths: Mapping[str, Truth],
        seed: str,
    ) -> None:
        self.folder = folder
        self.kind = kind
        self.worker = worker
        self.truths = dict(truths)
        self.frozen: list[Truth] = []
        self.told: set[str] = set()
        """Reference points that a run has left, and said so."""
        self.random = random.Random(seed)
        self.requests = 0
        self.another = threading.Condition()
        self.closing = False
        self.started = threading.Event()
        # Now, because clients compare the host's clock with theirs.
        self.clock = ManualClock(datetime.now(UTC), step_seconds=STEP_SECONDS)
        self.host = LabHost(
            folder / "host",
            clock=self.clock,
            quirks=kind.quirks,
            seed=self.random.getrandbits(64),
        )
        self.host.when_frozen(self._frozen)
        self.before: frozenset[str] = frozenset()
        if self.host.vms:
            self._remember()

    @classmethod
    def make(cls, folder: Path, kind: Kind, worker: VmWorker) -> "VmScene":
        """Make a scene: a machine that somebody else backs up too, and as many runs as the kind has."""
        scene = cls(folder, kind, worker, {}, kind.name)
        vm = scene.host.add_vm("web01", disks=[2 * MIB, MIB])
        vm.set_consistency(kind.application_consistent)
        vm.add_reference_points(1)
        for disk in vm.disks:
            disk.write(0, scene.random.randbytes(MIB // 4))
        Repository.create(scene.repository, chunk_size=CHUNK).close()
        if kind.user_checkpoint:
            vm.checkpoint()
            scene.write()
        scene._remember()
        for _ in range(kind.runs_before):
            scene.check_run(scene.run("backup"))
            scene.write()
        scene.settled()
        scene._remember()
        return scene

    def _remember(self) -> None:
        """Remember what stands, as not ours to remove."""
        self.before = self._files()
        self.checkpoints_before = {c.id for c in self.vm.checkpoints}
        points = {point.id for point in self.vm.reference_points}
        self.points_before = points - set(self._recorded())

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def vm(self) -> LabVm:
        return self.host.vm("web01")

    def close(self) -> None:
        """Stop the host; what failed inside it is raised."""
        with self.another:
            self.closing = True
            self.another.notify_all()
        self.host.close()
        assert not self.host.server.errors, self.host.server.errors

    def write(self, pieces: int = 12) -> None:
        """Let the guest write here and there."""
        for _ in range(pieces):
            disk = self.random.choice(self.vm.disks)
            length = 512 * self.random.randint(1, 32)
            at = 512 * self.random.randrange((disk.size - length) // 512)
            disk.write(at, self.random.randbytes(length))

    # A run

    def run(
        self, action: str, fault: Fault | None = None, abort_at: int | None = None
    ) -> Ended:
        """Run a client; what it commits must hold what was last frozen."""
        self.frozen.clear()
        self.started.clear()
        self.host.faults.clear()
        if fault is not None:
            self.host.faults.add(fault)
        # Not the first: of several that are due, the one that was added first strikes.
        self.host.faults.add(Fault("*", Run(self._request), times=None))
        report = self.folder / "report"
        self.worker.start(
            action,
            self.host,
            "web01",
            self.repository,
            report=report,
            abort_at=abort_at,
        )
        self.started.set()
        ended = self.worker.wait()
        self.host.faults.clear()
        self._learn()
        return ended

    def _request(self) -> None:
        """Is called with every request that nothing is wrong with."""
        with self.another:
            self.requests += 1
            self.another.notify_all()
        if self.random.random() < 0.25:
            self.write(1)

    def _frozen(self, vm: LabVm, files: Mapping[str, Path]) -> None:
        ours = {c.id for c in vm.checkpoints} - getattr(
            self, "checkpoints_before", set()
        )
        if vm.machine.checkpoints[-1].kind != "Recovery":
            return
        assert len(ours) == 1, "a second checkpoint was made while one stood"
        self.frozen.append({place: digest(file) for place, file in files.items()})

    def _learn(self) -> None:
        """A restore point that is new holds what was frozen last."""
        with Repository.open(self.repository) as repository:
            new = {point.id for point in repository.points()} - self.truths.keys()
        assert len(new) <= 1, "one run made two restore points"
        for point in new:
            self.truths[point] = self.frozen[-1]

    def kill(self, number: int) -> None:
        """End the client that runs."""
        self.started.wait()
        os.kill(self.worker.pid, number)

    def kill_and_be_late(self, number: int) -> None:
        """End the client that runs, and go on with its request only after others: its own last ones, or the next's."""
        self.kill(number)
        with self.another:
            after = self.requests + LATE_BY
            self.another.wait_for(lambda: self.closing or self.requests >= after)

    # What must hold

    def check_run(self, ended: Ended) -> None:
        """A run has worked, and made a point that is right."""
        assert ended.code == 0, ended
        assert ended.said["missed_chunks"] == 0, ended
        findings = list(ended.said["findings"])
        if not self.kind.quirks.recovery_destroy_works:
            # Converted instead, by a run that was killed before it destroyed the point: it may be somebody else's.
            doubts = [DOUBT.fullmatch(finding) for finding in findings]
            self.told |= {guid_of(doubt[1]) for doubt in doubts if doubt}
            findings = [
                f for f, doubt in zip(findings, doubts, strict=True) if not doubt
            ]
        assert findings == [], ended

    def settled(self, more: int = 0) -> None:
        """Nothing of ours is left on the host but what the repository knows.

        Args:
            more: So many reference points of ours may stand besides those that are kept.
        """
        vm = self.vm
        assert {c.id for c in vm.checkpoints} == self.checkpoints_before, (
            f"a checkpoint is left: {[c.name for c in vm.checkpoints]}"
        )
        assert vm.machine.id not in self.host.model.world.busy, "the host is still busy"
        left = {name for name in self._files() - self.before if not is_tracking(name)}
        assert not left, f"files are left: {left}"
        gone = self.before - self._files()
        assert not gone, f"files have gone: {gone}"
        points = {p.id for p in vm.reference_points}
        assert self.points_before <= points, "a foreign reference point has gone"
        ours = points - self.points_before - self.told
        recorded = self._recorded()
        assert set(recorded[:KEPT]) <= points, "one that the next run needs has gone"
        unknown = ours - set(recorded)
        assert not unknown, f"reference points that nobody knows: {unknown}"
        assert len(ours) <= KEPT + more, f"{len(ours)} reference points of ours"

    def no_lease(self) -> None:
        """Nobody has to come back."""
        with Repository.open(self.repository) as repository:
            assert parse_list(repository.native.leases()) == [], "a lease is left"

    def whole(self) -> None:
        """Every restore point holds what its disks held when they were frozen, and nothing is damaged."""
        with Repository.open(self.repository) as repository:
            points = {point.id: point for point in repository.points()}
            assert points.keys() == self.truths.keys(), "a restore point is missing"
            for point in points.values():
                held = {
                    disk.location: digest_of(disk.open().read()) for disk in point.disks
                }
                assert held == self.truths[point.id], f"{point.id} is wrong"
                assert len(point.configuration) >= 2, "no configuration"
            report = repository.verify()
            assert report.clean, report
            assert repository.damaged_points() == []
            assert repository.suspects() == []

    def _recorded(self) -> list[str]:
        """Return the reference points that the repository knows, newest first."""
        with Repository.open(self.repository) as repository:
            entries = parse_list(repository.native.baselines())
        return [guid_of(entry["reference_point"]) for entry in entries]

    def _files(self) -> frozenset[str]:
        root = self.folder / "host" / "VMs"
        return frozenset(
            str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()
        )


def copied(original: VmScene, folder: Path, seed: str) -> VmScene:
    """Return a copy of a scene whose host does not run."""
    shutil.copytree(original.folder, folder)
    return VmScene(folder, original.kind, original.worker, original.truths, seed)


def guid_of(instance_id: str) -> str:
    """Return the part of an `InstanceID` that the host's model knows a reference point by."""
    return instance_id.rpartition("\\")[2].rpartition(":")[2].upper()


def is_tracking(name: str) -> bool:
    """Tell whether a file belongs to change tracking, which the first checkpoint switches on."""
    return name.endswith((".rct", ".mrt"))


def digest(file: Path) -> str:
    with VirtualDisk.open(file) as disk:
        return digest_of(disk.read_at(0, disk.size))


def digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _kill(number: int, after: bool) -> Callable[[VmScene, int], Fault]:
    return lambda scene, nth: Fault(
        "*", Run(lambda: scene.kill(number), after=after), nth
    )


def _late(number: int) -> Callable[[VmScene, int], Fault]:
    return lambda scene, nth: Fault(
        "*", Run(lambda: scene.kill_and_be_late(number)), nth
    )


def _drop(drop: Drop, times: int | None = 1) -> Callable[[VmScene, int], Fault]:
    return lambda _, nth: Fault("*", drop, nth, times)


def _is(code: int) -> Callable[[int], bool]:
    return lambda ended: ended == code


def _typed(code: int) -> bool:
    return code > 0


def _any(code: int) -> bool:
    return code >= 0


_KILLED = _is(-signal.SIGKILL)

WAYS = [
    How("kill-before", _kill(signal.SIGKILL, False), _KILLED, False),
    How("kill-after", _kill(signal.SIGKILL, True), _KILLED, False),
    How("kill-late", _late(signal.SIGKILL), _KILLED, False),
    How("kill-before-check", _kill(signal.SIGKILL, False), _KILLED, False, "check"),
    How("kill-after-check", _kill(signal.SIGKILL, True), _KILLED, False, "check"),
    *(
        How(f"{name}-{when}", at, _is(code), True)
        for name, number, code in (
            ("ctrl-c", signal.SIGINT, 130),
            ("terminate", signal.SIGTERM, 143),
        )
        for when, at in (
            ("before", _kill(number, False)),
            ("after", _kill(number, True)),
            ("late", _late(number)),
        )
    ),
    How("drop-before", _drop(Drop()), _any, True),
    How("drop-halfway", _drop(Drop(halfway=True)), _any, True),
    How("drop-after", _drop(Drop(after=True)), _any, True),
    How("gone", _drop(Drop(after=True), times=None), _any, False),
]

KINDS = [
    Kind("first", 0),
    Kind("incremental", 2),
    Kind(
        "hindered",
        2,
        Quirks(
            rename_by_job=True,
            clean_up_by_job=False,
            recovery_destroy_works=False,
            documented_states=True,
        ),
        user_checkpoint=True,
        application_consistent=False,
        every=3,
    ),
]


def names_of(scene: VmScene) -> list[str]:
    """Return the names of the requests of one run, in order; the run changes the scene."""
    seen = len(scene.host.server.requests)
    scene.check_run(scene.run("backup"))
    return [str(record.asked) for record in scene.host.server.requests[seen:]]


@contextmanager
def fresh(original: VmScene, folder: Path, seed: str) -> Iterator[VmScene]:
    """Give a copy of a scene, and remove it."""
    scene = copied(original, folder, seed)
    try:
        yield scene
    finally:
        scene.close()
        shutil.rmtree(folder)


def play(original: VmScene, folder: Path, how: How, nth: int, seed: str) -> None:
    """Interrupt one run at a request, and look at everything afterwards."""
    with fresh(original, folder, seed) as scene:
        interrupted = scene.run("backup", how.at(scene, nth))
        assert how.ends(interrupted.code), interrupted
        if interrupted.code > 0 and how.ends is _any:
            assert interrupted.said["typed"], interrupted
        after(scene, how.then, clean=how.clean_at_once)


def after(scene: VmScene, then: str, *, clean: bool) -> None:
    """Look at everything after a run that was interrupted, and let others follow."""
    if clean:
        scene.settled(more=1)  # who is interrupted leaves the oldest one to the next
        scene.no_lease()
    scene.write()
    scene.clock.advance(scene.random.choice([0, 0, 5, 400]))
    if then == "check":
        ended = scene.run("check")
        assert ended.code == 0, ended
        assert ended.said["blocking"] == [], ended
        scene.settled()
        scene.no_lease()
        scene.write()
    ended = scene.run("backup")
    scene.check_run(ended)
    assert set(ended.said["methods"]) <= scene.kind.next_methods, ended
    scene.settled()
    scene.no_lease()
    scene.write()
    ended = scene.run("backup")
    scene.check_run(ended)
    assert set(ended.said["methods"]) == {"rct"}, ended
    scene.settled()
    scene.whole()

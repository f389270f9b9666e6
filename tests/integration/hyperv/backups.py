"""A lab host, a repository, and backups of its machines of which every byte is compared with what was frozen."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import hypercbt
from hypercbt import Repository, RestorePoint, VirtualDisk
from hypercbt.hyperv.backup import Done, backup_machine
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.order import Order
from hypercbt.lab import LabHost, LabVm, ManualClock, Pace, Quirks

MIB = 1 << 20
CHUNK = 64 << 10

BenchT = TypeVar("BenchT", bound="Bench")


class LabTime:
    """The client waits by the clock of the lab host, so nobody does."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def now(self) -> float:
        return self.clock.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)


@dataclass
class Bench:
    """What a test holds."""

    lab: LabHost
    repository: Repository
    folder: Path
    clock: ManualClock
    truth: dict[str, bytes] = field(default_factory=dict)
    """What each place held when disks were last frozen."""

    def add_vm(self, name: str = "web01", **more: Any) -> LabVm:
        """Add a machine with one disk, if nothing else is said, and some data on each."""
        vm = self.lab.add_vm(name, **{"disks": [8 * MIB], **more})
        for number, disk in enumerate(vm.disks):
            if disk.kind in ("vhdx", "vhd"):
                disk.write(MIB, random.Random(number).randbytes(3 * MIB))
        return vm

    def hold(self, vm: LabVm, files: Mapping[str, Path]) -> None:
        """Remember what was frozen: called by the lab while the guest waits."""
        self.truth = contents(files)

    def open(self, lab: LabHost | None = None) -> hypercbt.Host:
        at = lab or self.lab
        return hypercbt.Host(
            at.host, credentials=Credentials(*at.credentials), map=at.map
        )

    def limits(self) -> Limits:
        """Short ones: the lab is asked each time that a second passes for it."""
        time = LabTime(self.clock)
        return Limits(
            busy_seconds=120.0,
            merge_seconds=60.0,
            settle_seconds=5.0,
            tidy_seconds=10.0,
            clock=time,
            tidy_clock=time,
        )

    def try_backup(
        self, name: str = "web01", *, lab: LabHost | None = None, **order: Any
    ) -> Done:
        """Back up a machine, and compare nothing."""
        made = Order(**{"limits": self.limits(), "space_floor_bytes": 0, **order})
        with self.open(lab) as host:
            machine = HostedMachine(host, host.vm(name).id, clock=made.limits.clock)
            return backup_machine(machine, self.repository, made)

    def backup(self, name: str = "web01", **order: Any) -> RestorePoint:
        """Back up a machine; its point holds what was frozen, and nothing is to be read."""
        done = self.try_backup(name, **order)
        self.compare(done.point)
        assert done.point.stats.findings == ()
        return done.point

    def compare(self, point: RestorePoint) -> None:
        """See that a point holds what was frozen, byte for byte."""
        for location, held in held_by(point).items():
            assert held == self.truth[location], location

    def assert_clean(self, vm: LabVm) -> None:
        """See that nothing of a backup is left on the host, and no lease is open."""
        assert [c for c in vm.checkpoints if "Recovery" in c.kind] == []
        if not vm.checkpoints:
            assert [d.path for d in vm.disks if "avhdx" in d.path] == []
        assert self.repository.native.leases() == "[]"

    def methods(self, point: RestorePoint) -> list[str]:
        return [disk.stats.method for disk in point.disks]

    def reason(self, point: RestorePoint) -> str:
        """Why the only disk was compared."""
        (disk,) = point.disks
        assert disk.stats.fallback_reason is not None
        return disk.stats.fallback_reason


def contents(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Return what each place holds, where its file is a disk that can be read."""
    held = {}
    for location, file in files.items():
        if file.suffix in (".vhdx", ".avhdx", ".vhd", ".avhd"):
            with VirtualDisk.open(file) as disk:
                held[location] = disk.read_at(0, disk.size)
    return held


def held_by(point: RestorePoint) -> dict[str, bytes]:
    """Return what each place holds in a restore point."""
    held = {}
    for disk in point.disks:
        assert disk.location is not None
        with disk.open() as file:
            held[disk.location] = file.readall()
    return held


@contextmanager
def bench(
    folder: Path,
    *,
    quirks: Quirks | None = None,
    pace: Pace | None = None,
    power_cuts: bool = False,
) -> Iterator[Bench]:
    """Give a lab host whose time passes when the client waits."""
    with bench_of(
        Bench, folder, quirks=quirks, pace=pace, power_cuts=power_cuts
    ) as made:
        yield made


@contextmanager
def bench_of(
    kind: Callable[[LabHost, Repository, Path, ManualClock], BenchT],
    folder: Path,
    *,
    step_seconds: float = 0.01,
    **lab_options: Any,
) -> Iterator[BenchT]:
    """Give a bench of one's own kind; each look at its clock lets `step_seconds` pass."""
    folder.mkdir(exist_ok=True)
    clock = ManualClock(datetime.now(UTC), step_seconds=step_seconds)
    with (
        LabHost(folder / "lab", clock=clock, seed=1, **lab_options) as lab,
        Repository.create(folder / "repository", chunk_size=CHUNK) as repository,
    ):
        made = kind(lab, repository, folder, clock)
        lab.when_frozen(made.hold)
        yield made


def overwrite(vm: LabVm, seed: int, writes: int = 3) -> None:
    """Let a guest change a little, here and there, on each of its disks."""
    rng = random.Random(seed)
    for disk in vm.disks:
        if disk.kind in ("vhdx", "vhd"):
            for _ in range(writes):
                at = rng.randrange(0, disk.size - CHUNK, 4096)
                disk.write(at, rng.randbytes(4096))

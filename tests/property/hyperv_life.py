"""A virtual machine that a guest writes to and that is backed up, in trouble too: each point is compared with what was frozen."""

import random
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import hypercbt
from hypercbt import Repository, RestorePoint
from hypercbt.errors import HypercbtError
from hypercbt.hyperv import attempt, sealing, stale
from hypercbt.hyperv.backup import backup_machine
from hypercbt.hyperv.conversation import Conversation
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.order import Order
from hypercbt.lab import LabDisk, LabHost, LabVm, ManualClock, NewDisk, Pace, Quirks
from hypercbt.lab.faults import Fault, Run
from hypercbt.lab.model.state import Disk
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import CHUNK, MIB, Bench
from property.hyperv_draws import (
    HOSTS,
    LEVELS,
    PACES,
    TROUBLES,
    WIRES,
    Trouble,
)

DISK_BYTES = 2 * MIB
PAGE = 4096


class BackedUpMachine(RuleBasedStateMachine):
    """A virtual machine, two hosts that it lives on in turn, and a repository with its backups."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hypercbt-"))
        self.clock = ManualClock(datetime.now(UTC), step_seconds=0.01)
        self.repository = Repository.create(
            self.folder / "repository", chunk_size=CHUNK
        )
        self.labs: list[LabHost] = []
        self.truth: dict[str, dict[str, bytes]] = {}
        """What was frozen for each restore point, by its id and place."""
        self.foreign: set[str] = set()
        """Reference points of another product."""
        self.detached: list[Disk] = []
        self.under_reporting = False
        self.lost: set[str] = set()
        """Disks whose tracker answers nothing."""
        self.known = False
        """Everything since the newest restore point can be asked for."""
        self.random = random.Random(0)

    @initialize(
        quirks=HOSTS,
        options=WIRES,
        pace=PACES,
        disks=st.lists(
            st.sampled_from(["vhdx", "vhdx", "vhdx", "vhd"]), min_size=1, max_size=2
        ),
        generation=st.sampled_from([1, 2]),
    )
    def begin(
        self,
        quirks: Quirks,
        options: WireOptions,
        pace: Pace,
        disks: list[str],
        generation: int,
    ) -> None:
        self.labs = [
            LabHost(
                self.folder / name,
                name=name,
                quirks=quirks,
                options=options,
                pace=pace,
                clock=self.clock,
                power_cuts=True,
                seed=number,
            )
            for number, name in enumerate(("LAB1", "LAB2"))
        ]
        self.bench = Bench(self.labs[0], self.repository, self.folder, self.clock)
        for lab in self.labs:
            lab.when_frozen(self.hold)
        self.vm = self.labs[0].add_vm(
            "web01",
            disks=[NewDisk(DISK_BYTES, kind=kind) for kind in disks],
            generation=generation,
        )
        self.labs[0].add_vm("db01", disks=[NewDisk(DISK_BYTES)], light=True)

    def teardown(self) -> None:
        try:
            if self.labs:
                self.cure()
                for point in self.repository.points():
                    self.compare(point)
        finally:
            for lab in self.labs:
                lab.close()
            self.repository.close()
            shutil.rmtree(self.folder)

    def cure(self) -> None:
        """At the end nothing hinders any more: two backups are right, the second by change tracking."""
        self.vm.start()
        self.vm.set_merging(on=True)
        self.vm.fail_merges(0)
        self.known = False
        for disk in self.vm.disks:
            if disk.kind == "vhdx":
                disk.lose_tracking(None)
        self.lost.clear()
        for _ in range(2):
            self.write_somewhere(3)
            self.back_up("prefer", full=False, audit="full", troubles=[], adopt=False)
        assert self.vm.checkpoints or not self.children()
        assert self.repository.native.leases() == "[]"

    # What is there

    @property
    def lab(self) -> LabHost:
        return self.vm.host

    def hold(self, vm: LabVm, files: Mapping[str, Path]) -> None:
        self.bench.hold(vm, files)

    def settle(self) -> None:
        """Let what the host does in the background come to its end."""
        for _ in range(10):
            self.clock.advance(10)
            self.lab.settle()

    def make_room(self) -> None:
        """Have merged what was left: the lab's disks take eight checkpoints one over the other."""
        if max(len(disk.files) for disk in self.vm.disks) > 6:
            self.vm.set_merging(on=True)
            self.vm.fail_merges(0)
            with self.lab.model.world.lock:
                self.lab.model.merges.start(self.vm.machine)
            self.settle()
            self.known = False

    def recovery(self) -> list[str]:
        return [one.name for one in self.vm.checkpoints if one.kind == "Recovery"]

    def children(self) -> list[str]:
        return [disk.path for disk in self.vm.disks if "avhd" in disk.path]

    def disk(self, number: int) -> LabDisk:
        disks = self.vm.disks
        return disks[number % len(disks)]

    def compare(self, point: RestorePoint) -> None:
        truth = self.truth[point.id]
        assert [disk.location for disk in point.disks] == sorted(truth)
        for disk in point.disks:
            with disk.open() as file:
                found = file.readall()
            wanted = truth[cast(str, disk.location)]
            if found != wanted:
                wrong = [
                    at
                    for at in range(0, len(wanted), PAGE)
                    if found[at : at + PAGE] != wanted[at : at + PAGE]
                ]
                raise AssertionError(
                    f"{disk.location} of {point.id} ({disk.stats.method}) is wrong at {wrong[:8]}"
                )

    # What the guest does

    @rule(
        number=st.integers(0, 1),
        page=st.integers(0, DISK_BYTES // PAGE - 1),
        pages=st.sampled_from([1, 1, 3, CHUNK // PAGE, MIB // PAGE]),
        kind=st.sampled_from(["bytes", "bytes", "zeros", "zero", "unmap"]),
        flush=st.booleans(),
    )
    def write(self, number: int, page: int, pages: int, kind: str, flush: bool) -> None:
        disk = self.disk(number)
        if pages > 3:
            page -= page % pages
        at = page * PAGE
        length = min(pages * PAGE, disk.size - at)
        if kind == "bytes" or (disk.kind == "vhd" and kind != "zeros"):
            disk.write(at, self.random.randbytes(length))
        elif kind == "zeros":
            disk.write(at, bytes(length))
        elif kind == "zero":
            disk.tracked.zero(at, length)
        else:
            disk.tracked.unmap(at, length)
        if flush:
            disk.flush()

    def write_somewhere(self, times: int) -> None:
        for disk in self.vm.disks:
            for _ in range(times):
                at = self.random.randrange(0, disk.size, PAGE)
                disk.write(at, self.random.randbytes(PAGE))

    # Backups

    @rule(
        consistency=st.sampled_from(["prefer", "prefer", "crash", "require"]),
        full=st.sampled_from([False] * 5 + [True]),
        audit=st.sampled_from(["off", "off", "rotate", "full"]),
    )
    def backup(self, consistency: str, full: bool, audit: str) -> None:
        self.back_up(consistency, full=full, audit=audit, troubles=[], adopt=False)

    @rule(
        consistency=st.sampled_from(["prefer", "crash"]),
        audit=st.sampled_from(["off", "rotate"]),
        troubles=TROUBLES,
    )
    def backup_in_trouble(
        self, consistency: str, audit: str, troubles: list[Trouble]
    ) -> None:
        self.back_up(
            consistency, full=False, audit=audit, troubles=troubles, adopt=False
        )

    # Most of what happens is a day with its backup.

    @rule(writes=st.integers(0, 4), consistency=LEVELS)
    def day(self, writes: int, consistency: str) -> None:
        self.write_somewhere(writes)
        self.back_up(consistency, full=False, audit="off", troubles=[], adopt=False)

    @rule(writes=st.integers(0, 4), consistency=LEVELS)
    def another_day(self, writes: int, consistency: str) -> None:
        self.day(writes, consistency)

    @rule(writes=st.integers(1, 4), troubles=TROUBLES)
    def bad_day(self, writes: int, troubles: list[Trouble]) -> None:
        self.write_somewhere(writes)
        self.back_up("prefer", full=False, audit="off", troubles=troubles, adopt=False)

    @rule(writes=st.integers(1, 4), troubles=TROUBLES)
    def another_bad_day(self, writes: int, troubles: list[Trouble]) -> None:
        self.bad_day(writes, troubles)

    def back_up(
        self,
        consistency: str,
        *,
        full: bool,
        audit: str,
        troubles: list[Trouble],
        adopt: bool,
    ) -> None:
        self.make_room()
        lab, before = self.lab, {point.id for point in self.repository.points()}
        struck = len(lab.faults.struck)
        stood = bool(self.recovery())
        active = [disk.path for disk in self.vm.disks]
        for trouble in troubles:
            lab.faults.add(
                Fault(
                    trouble.call,
                    Run(lab.power_cut) if trouble.what == "power cut" else trouble.what,
                    nth=trouble.nth,
                    times=trouble.times,
                )
            )
        if self.under_reporting:
            audit = "full"
        self.bench.truth = {}
        expected = self.known and not full
        error: HypercbtError | None = None
        try:
            self.ask(consistency, full=full, audit=audit, adopt=adopt)
        except HypercbtError as raised:
            error = raised
            note(
                f"{type(raised).__name__}: {raised} {getattr(raised, '__notes__', '')}"
            )
        hit = len(lab.faults.struck) > struck
        lab.faults.clear()
        dead = lab.model.world.dead
        if dead:
            lab.restart()
        elif lab.server.errors:
            raise lab.server.errors[0]
        new = [p for p in self.repository.points() if p.id not in before]
        assert len(new) <= 1
        for point in new:
            stats = [disk.stats for disk in point.disks]
            note(
                f"{point.id} of {[(one.method, one.fallback_reason) for one in stats]}"
            )
            self.truth[point.id] = dict(self.bench.truth)
            self.compare(point)
            missed = [disk.stats.missed_chunks for disk in point.disks]
            assert self.under_reporting or not any(missed), missed
        if not hit:
            self.judge(error, consistency, new, expected=expected)
        elif error is not None and not dead:
            self.judge_leftovers(error, stood)
        read_back = bool(new) and new[0].stats.findings == ()
        # What was frozen is what it runs on again: else the next backup does not find what was sealed.
        stayed = active == [disk.path for disk in self.vm.disks]
        self.known = read_back and not hit and not dead and stayed and not self.lost

    def ask(self, consistency: str, *, full: bool, audit: str, adopt: bool) -> None:
        order = Order(
            consistency=cast(Any, consistency),
            full=full,
            audit=audit,
            adopt=adopt,
            space_floor_bytes=0,
            limits=self.bench.limits(),
        )
        user, password = self.lab.credentials
        with hypercbt.Host(
            self.lab.host, credentials=Credentials(user, password), map=self.lab.map
        ) as host:
            cast(Conversation, host.session)._sleep = self.clock.advance

            def now() -> int:
                return int(self.clock.now().timestamp() * 1_000_000)

            machine = HostedMachine(host, self.vm.id, clock=order.limits.clock)
            # Both sides have one calendar: a checkpoint counts as a run's only if it is made soon after its lease.
            with (
                patch.object(attempt, "now_microseconds", now),
                patch.object(sealing, "now_microseconds", now),
                patch.object(stale, "now_microseconds", now),
            ):
                backup_machine(machine, self.repository, order)

    def judge(
        self,
        error: HypercbtError | None,
        consistency: str,
        new: list[RestorePoint],
        *,
        expected: bool,
    ) -> None:
        """Nothing went wrong on the way: it has to succeed, or to have said that it cannot."""
        if error is not None:
            hindered = (
                self.vm.machine.enabled in (6, 9)
                or not self.vm.machine.application_consistent
            )
            if consistency != "require" or not hindered:
                raise AssertionError("it should have worked") from error
        assert self.recovery() == []
        assert self.repository.native.leases() == "[]"
        for point in new:
            for disk in point.disks:
                if expected and disk.stats.fallback_reason is not None:
                    assert "VHD file" in disk.stats.fallback_reason

    def judge_leftovers(self, error: HypercbtError, stood: bool) -> None:
        """What is still on the host is known to the repository, and was said."""
        if self.recovery() and not stood:
            assert self.repository.native.leases() != "[]"
            notes = " ".join(getattr(error, "__notes__", ()))
            assert "could not be tidied up" in notes

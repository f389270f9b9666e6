"""Whatever happens to a machine, its host and the way to it: each restore point holds what was frozen, and nothing is left behind.

Few runs by default. `HYPERCBT_MACHINE_RUNS` says how many others, of `HYPERCBT_MACHINE_STEPS` steps each, drawn from
`HYPERCBT_MACHINE_SEED`; what fails is not made smaller then.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_type_hints
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import hypercbt
from hypercbt import Repository, RestorePoint
from hypercbt.errors import (
    ForeignCheckpointError,
    HypercbtError,
)
from hypercbt.hyperv import attempt, sealing, stale
from hypercbt.hyperv.backup import backup_machine
from hypercbt.hyperv.conversation import Conversation
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.order import Order
from hypercbt.lab import LabDisk, LabHost, LabVm, ManualClock, NewDisk, Pace, Quirks
from hypercbt.lab.faults import (
    TIMEOUT,
    Answer,
    Drop,
    Effect,
    FailJob,
    Fault,
    Refuse,
    Return,
    Run,
    Unauthorized,
)
from hypercbt.lab.model.state import Disk
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import CHUNK, MIB, Bench

DISK_BYTES = 2 * MIB
MOST_CHECKPOINTS = 3
PAGE = 4096
LOST_CODES = [*range(0xC03A0020, 0xC03A0025), 0xC03A0029, 0xC03A002A, 0xC03A0030]


def switches(kind: type[Any], **chosen: st.SearchStrategy[Any]) -> Any:
    """All switches of a kind, in any positions; those that are no booleans and no choices as said, or left alone."""
    hints = get_type_hints(kind)
    drawn = dict(chosen)
    for known in fields(kind):
        type_ = hints[known.name]
        if known.name in chosen:
            continue
        if type_ is bool:
            drawn[known.name] = st.booleans()
        elif type_ is not str and isinstance(known.default, str):
            drawn[known.name] = st.sampled_from(get_args(type_))
    return st.builds(kind, **drawn)


HOSTS = switches(
    Quirks,
    most_ranges=st.sampled_from([None, None, 1, 3]),
    coarse_bytes=st.sampled_from([0, 0, CHUNK, 3 * CHUNK, MIB]),
)
WIRES = switches(
    WireOptions,
    language=st.sampled_from(["de-DE", "en-US"]),
    max_envelope_bytes=st.sampled_from([512_000, 153_600, 32_768]),
    max_batch_items=st.sampled_from([32_000, 3, 1]),
    shuffle_seed=st.sampled_from([None, 0, 1]),
)
PACES = st.builds(
    Pace,
    job_seconds=st.sampled_from([0.0, 0.02, 2.0]),
    merge_seconds=st.sampled_from([0.05, 5.0]),
    removal_seconds=st.sampled_from([300.0, 300.0, 0.1]),
)

EFFECTS: st.SearchStrategy[Effect | Literal["power cut"]] = st.sampled_from(
    [
        Drop(),
        Drop(after=True),
        Drop(halfway=True),
        TIMEOUT,
        Unauthorized(),
        Refuse("w:QuotaLimit", 2150858843),
        Refuse("w:EncodingLimit", 2150858790),
        Refuse("w:InternalError", 2150859012),
        Refuse("a:DestinationUnreachable", 2150858752),
        Answer(b"<x/>"),
        Return(32775),
        Return(32768),
        Return(5),
        FailJob(32768, "no (0x80070005)"),
        "power cut",
    ]
)
CALLS = st.sampled_from(
    [
        "*",
        "*",
        "*",
        "Pull",
        "Get Msvm_ConcreteJob",
        "CreateSnapshot",
        "ModifySystemSettings",
        "GetVirtualHardDiskSettingData",
        "GetVirtualDiskChanges",
        "ConvertToReferencePoint",
        "DestroySnapshot",
        "DestroyReferencePoint",
    ]
)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong at one request of a backup."""

    call: str
    what: Effect | Literal["power cut"]
    nth: int
    times: int


TROUBLE = st.builds(
    Trouble,
    call=CALLS,
    what=EFFECTS,
    nth=st.integers(1, 40),
    times=st.sampled_from([1, 1, 1, 2, 6]),
)
TROUBLES = st.lists(TROUBLE, min_size=1, max_size=2)

LEVELS = st.sampled_from(["prefer", "prefer", "crash", "require"])


class HyperVMachine(RuleBasedStateMachine):
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

    # What others do

    @precondition(lambda self: len(self.vm.checkpoints) < MOST_CHECKPOINTS)
    @rule()
    def checkpoint(self) -> None:
        self.settle()
        self.make_room()
        self.vm.checkpoint()

    @precondition(lambda self: self.vm.checkpoints)
    @rule(number=st.integers(0, MOST_CHECKPOINTS - 1), wait=st.booleans())
    def delete_checkpoint(self, number: int, wait: bool) -> None:
        self.settle()
        if not self.vm.checkpoints:
            return
        found = self.vm.checkpoints[number % len(self.vm.checkpoints)]
        if found.kind == "Recovery":
            return  # of ours, and ours to remove
        self.vm.delete_checkpoint(found.id)
        if wait:
            self.settle()
        self.known = False

    @precondition(lambda self: self.vm.checkpoints)
    @rule()
    def revert(self) -> None:
        self.settle()
        if self.recovery():
            return
        self.vm.revert()
        self.known = False

    @rule()
    def others_back_up(self) -> None:
        """Another product's recovery checkpoint stands: it is refused, and stays."""
        self.settle()
        self.make_room()
        if self.recovery() or len(self.vm.checkpoints) >= MOST_CHECKPOINTS:
            return
        made = self.vm.recovery_checkpoint("Bareos JobId 7")
        try:
            self.ask("crash", full=False, audit="off", adopt=False)
        except ForeignCheckpointError:
            pass
        else:
            raise AssertionError("it was not refused")
        assert self.recovery() == ["Bareos JobId 7"]
        self.vm.delete_checkpoint(made)
        self.settle()
        self.known = False

    @rule(count=st.integers(1, 3))
    def others_have_points(self, count: int) -> None:
        before = set(self.vm.machine.points)
        self.vm.add_reference_points(count)
        self.foreign |= set(self.vm.machine.points) - before

    @precondition(lambda self: self.foreign)
    @rule()
    def others_drop_a_point(self) -> None:
        self.settle()
        self.vm.machine.points.pop(self.foreign.pop())

    @rule()
    def somebody_drops_our_point(self) -> None:
        self.settle()
        ours = [one for one in self.vm.machine.points if one not in self.foreign]
        if ours:
            del self.vm.machine.points[ours[-1]]
            self.known = False

    @rule(code=st.sampled_from([None, None, *LOST_CODES]), number=st.integers(0, 1))
    def lose_tracking(self, code: int | None, number: int) -> None:
        disk = self.disk(number)
        if disk.kind == "vhdx":
            disk.lose_tracking(code)
            self.known = False
            self.lost.discard(disk.location)
            if code is not None:
                self.lost.add(disk.location)

    @rule(much=st.booleans())
    def over_report(self, much: bool) -> None:
        for disk in self.vm.disks:
            if disk.kind == "vhdx":
                # Beyond its end: it may grow.
                disk.pretend([(0, 64 * MIB)] if much else None)

    @rule(share=st.sampled_from([0.0, 0.0, 0.05, 0.5]))
    def under_report(self, share: float) -> None:
        self.vm.under_report(share, seed=self.random.randrange(1000))
        self.under_reporting = share > 0

    @rule(state=st.sampled_from(["run", "run", "stop", "pause", "save"]))
    def switch(self, state: str) -> None:
        vm = self.vm
        {"run": vm.start, "stop": vm.stop, "pause": vm.pause, "save": vm.save}[state]()

    @rule(
        possible=st.booleans(),
        failing=st.integers(0, 2),
        merging=st.sampled_from([True, True, False]),
    )
    def set_up(self, possible: bool, failing: int, merging: bool) -> None:
        self.vm.set_consistency(possible)
        self.vm.fail_merges(failing)
        self.vm.set_merging(merging)

    @precondition(lambda self: len(self.vm.disks) > 1)
    @rule(number=st.integers(0, 1))
    def detach(self, number: int) -> None:
        self.settle()
        disk = self.disk(number)
        if self.vm.checkpoints or self.children():
            return
        self.detached.append(disk.state)
        self.vm.detach(disk.location)
        self.known = False

    @precondition(lambda self: self.detached)
    @rule()
    def attach(self) -> None:
        self.settle()
        if self.vm.checkpoints or self.vm.machine.disk(self.detached[-1].location):
            return
        self.vm.attach(self.detached.pop())
        self.known = False

    @precondition(lambda self: len(self.vm.disks) < 2 and not self.detached)
    @rule()
    def add_disk(self) -> None:
        self.settle()
        if self.vm.checkpoints or self.children():
            return
        self.vm.attach(self.lab.new_disk(self.vm.machine, NewDisk(DISK_BYTES)))
        self.known = False

    @rule(number=st.integers(0, 1))
    def resize(self, number: int) -> None:
        self.settle()
        disk = self.disk(number)
        if len(disk.files) > 1 or disk.kind != "vhdx" or disk.size > 2 * DISK_BYTES:
            return
        disk.resize(disk.size + MIB)
        self.known = False

    @rule()
    def hand_over(self) -> None:
        self.settle()
        if self.recovery() or self.detached:
            return
        source = self.lab
        other = self.labs[1 - self.labs.index(source)]
        source.move(self.vm, other)
        if not other.quirks.tracking_travels:
            self.known = False

    @rule(cut=st.booleans())
    def restart_the_host(self, cut: bool) -> None:
        if cut:
            self.lab.power_cut()
        self.lab.restart()
        self.under_reporting = False
        self.lost.clear()  # the lab has forgotten what it was told

    @rule(number=st.integers(0, 1), point=st.integers(0, 9))
    def restore_by_hand(self, number: int, point: int) -> None:
        """Somebody puts a disk back as it was at a restore point, file and all, and tells nobody."""
        self.settle()
        disk, points = self.disk(number), self.repository.points()
        if len(disk.files) > 1 or disk.kind != "vhdx" or not points:
            return
        chosen = points[point % len(points)]
        found = [one for one in chosen.disks if one.disk_id == disk.id]
        if not found or found[0].size != disk.size:
            return
        self.lab.model.files.close(self.vm.machine)
        found[0].restore(disk.files[0], overwrite=True)
        self.known = False

    @precondition(lambda self: self.labs)
    @invariant()
    def what_belongs_to_others_is_there(self) -> None:
        assert self.foreign <= set(self.vm.machine.points)


RUNS = int(os.environ.get("HYPERCBT_MACHINE_RUNS", "0"))
STEPS = int(os.environ.get("HYPERCBT_MACHINE_STEPS", "30"))

# After a power cut the lab leaves some of its own sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

TestHyperVMachine = HyperVMachine.TestCase
TestHyperVMachine.settings = settings(
    max_examples=RUNS or 5,
    stateful_step_count=STEPS if RUNS else 12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not RUNS,
    database=None,
    phases=(Phase.generate,) if RUNS else (Phase.generate, Phase.shrink),
    print_blob=False,
)
if RUNS:
    seed(int(os.environ.get("HYPERCBT_MACHINE_SEED", "1")))(TestHyperVMachine)

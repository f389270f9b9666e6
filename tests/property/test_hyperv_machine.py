"""Whatever happens to a machine, its host and the way to it: each restore point holds what was frozen, and nothing is left behind.

Few runs by default. `HYPERCBT_MACHINE_RUNS` says how many others, of `HYPERCBT_MACHINE_STEPS` steps each, drawn from
`HYPERCBT_MACHINE_SEED`; what fails is not made smaller then.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from hypercbt.errors import ForeignCheckpointError
from hypercbt.lab import NewDisk
from integration.hyperv.backups import MIB
from property.hyperv_draws import LOST_CODES
from property.hyperv_life import DISK_BYTES, BackedUpMachine
from property.seeded import seeded

MOST_CHECKPOINTS = 3


class HyperVMachine(BackedUpMachine):
    """And everything that others do to it: its owners, other products, and the weather."""

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
        dropped = min(self.foreign)
        self.foreign.remove(dropped)
        del self.vm.machine.points[dropped]

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

SEED = int(os.environ.get("HYPERCBT_MACHINE_SEED", "1"))
TestHyperVMachine = seeded(HyperVMachine, SEED) if RUNS else HyperVMachine.TestCase
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

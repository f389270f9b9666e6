"""Before a machine is touched, and after: who else is at it, what state it is in, and when its disks are merged."""

import os
from dataclasses import replace

import psutil
import pytest

from hypercbt.errors import VmBusyError, VmUnsupportedError
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.owners import place
from hypercbt.hyperv.waits import until_merged
from unit.hyperv.backing_up import GONE_RUN, findings, run, steps
from unit.hyperv.pretend import REPOSITORY, Clock, Scene, vm_disk


def test_a_run_of_another_process_here_that_lives_is_not_adopted() -> None:
    scene = Scene()
    parent = os.getppid()
    started = psutil.Process(parent).create_time()
    owner = f"{place()} {parent} {started:.2f}"
    scene.add_lease(GONE_RUN, owner=owner)
    for adopt in (False, True):
        with pytest.raises(VmBusyError, match=f"backed up by process {parent}"):
            run(scene, adopt=adopt)
    assert steps(scene) == []


@pytest.mark.parametrize("adopt", [False, True])
def test_a_run_that_came_while_the_machine_was_busy_keeps_its_checkpoint(
    adopt: bool,
) -> None:
    scene = Scene()
    parent = os.getppid()
    started = psutil.Process(parent).create_time()

    def come() -> None:
        scene.add_lease(GONE_RUN, owner=f"{place()} {parent} {started:.2f}")
        scene.add_checkpoint(f"hypercbt {REPOSITORY} {GONE_RUN}")

    scene.on("checkpoints", come)
    with pytest.raises(VmBusyError, match=f"backed up by process {parent}"):
        run(scene, adopt=adopt)
    assert steps(scene) == []
    assert len(scene.checkpoint_list) == 1


def test_a_replica_is_left_to_its_primary() -> None:
    scene = Scene()
    scene.vm = replace(scene.vm, replication="replica")
    with pytest.raises(VmUnsupportedError):
        run(scene)
    assert steps(scene) == []


def test_a_machine_that_is_off_is_recorded_as_off() -> None:
    assert run(Scene(state="off")).point.stats.consistency == "off"


def test_a_machine_that_was_started_meanwhile_is_not() -> None:
    scene = Scene(state="off")

    def start() -> None:
        scene.vm = replace(scene.vm, state="running")

    scene.on("create", start)
    assert run(scene).point.stats.consistency == "crash"


def test_a_machine_that_still_merges_what_a_dead_run_left_is_not_touched() -> None:
    scene = Scene()
    scene.merge_seconds = 10_000.0
    scene.add_lease(GONE_RUN)
    scene.add_checkpoint(f"hypercbt {REPOSITORY} {GONE_RUN}")
    with pytest.raises(VmBusyError, match="merging disks"):
        run(scene)
    assert "begin" not in steps(scene)


CHILD = vm_disk("web01_1", kind="avhdx", parents=(r"C:\VMs\web01.vhdx",))
BEFORE = frozenset({r"c:\vms\web01.vhdx"})


def limits(clock: Clock) -> Limits:
    return Limits(clock=clock, tidy_clock=clock)


def test_a_merge_that_begins_and_pauses_is_given_its_time() -> None:
    scene = Scene(CHILD)

    def busy(what: str | None) -> None:
        scene.vm = replace(scene.vm, busy=what)

    scene.clock.at += [
        (20.0, lambda: busy("merging disks")),
        (100.0, lambda: busy(None)),
        (120.0, lambda: scene.active.__setitem__(0, vm_disk())),
    ]
    assert until_merged(scene.machine, BEFORE, limits(scene.clock)) is None
    assert scene.clock.time >= 120


def test_a_merge_of_which_nothing_is_seen_is_given_up() -> None:
    scene = Scene(CHILD)
    reason = until_merged(scene.machine, BEFORE, limits(scene.clock))
    assert reason is not None
    assert "web01_1.avhdx" in reason
    assert 30 <= scene.clock.time < 60


def test_where_nobody_knows_the_former_files_a_child_with_a_checkpoint_is_fine() -> (
    None
):
    scene = Scene()
    scene.add_checkpoint("mine", kind="user")
    assert until_merged(scene.machine, None, limits(scene.clock)) is None
    assert until_merged(Scene(CHILD).machine, None, limits(Clock())) is not None


def test_the_files_are_compared_whatever_their_case() -> None:
    scene = Scene()
    again = replace(vm_disk(), path=r"c:\vms\WEB01.VHDX")
    scene.on("close", lambda: scene.active.__setitem__(0, again))
    assert findings(run(scene)) == ()

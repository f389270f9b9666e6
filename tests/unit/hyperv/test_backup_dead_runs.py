"""What a backup does about checkpoints and reference points that others have left (hyperv-rct (a), B2)."""

from collections.abc import Callable

import pytest

from hypercbt.errors import (
    ForeignCheckpointError,
    HostJobError,
    HostUnreachableError,
    IntegrityError,
    VmBusyError,
)
from hypercbt.hyperv import stale
from unit.hyperv.backing_up import (
    ELSEWHERE,
    GONE_RUN,
    POINT,
    committed_and_dead,
    dead,
    findings,
    run,
    steps,
    with_base,
)
from unit.hyperv.pretend import (
    REPOSITORY,
    Scene,
    later,
)
from unit.hyperv.test_backup_interruptions import at

CLOSED_RUN = "cd" * 16


@pytest.fixture(autouse=True)
def minutes_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let it be so many minutes after what a dead run did last; one, where a test does not say."""

    def set_time(minutes: float) -> None:
        now = round(later(minutes).timestamp() * 1_000_000)
        monkeypatch.setattr(stale, "now_microseconds", lambda: now)

    set_time(1)
    return set_time


# B2: recovery checkpoints that stand already


def test_a_marked_checkpoint_of_a_closed_run_is_removed() -> None:
    scene = Scene()
    scene.add_lease(GONE_RUN)
    scene.leases[GONE_RUN].closed = True
    scene.add_checkpoint(f"hypercbt {REPOSITORY} {GONE_RUN}")
    done = run(scene)
    assert scene.clean
    assert "removed the checkpoint" in done.warnings[0]


def test_where_the_host_refuses_to_delete_a_stale_checkpoint_it_is_converted() -> None:
    scene = Scene()
    scene.add_lease(GONE_RUN)
    stale = scene.add_checkpoint(f"hypercbt {REPOSITORY} {GONE_RUN}")

    def refuse() -> None:
        raise HostJobError("no")

    scene.on("destroy", *[refuse] * 1000)
    run(scene)
    assert scene.count(f"destroy {stale.id}") > 1
    assert scene.events.count("convert") == 2
    assert [p.id for p in scene.points] == ["RP-2"]
    assert scene.clean


@pytest.mark.parametrize(
    "name",
    [
        "web01 - (10/8/2026 - 3:15:36 PM)",
        "Bareos JobId 7",
        f"hypercbt {'ab' * 16} {GONE_RUN}",
        f"hypercbt {REPOSITORY} {GONE_RUN}",
        f"hypercbt {REPOSITORY} or not {CLOSED_RUN}",
    ],
)
def test_a_checkpoint_that_is_not_known_to_be_ours_is_refused(name: str) -> None:
    scene = Scene()
    scene.add_lease(CLOSED_RUN)
    scene.leases[CLOSED_RUN].closed = True
    scene.add_checkpoint(name)
    with pytest.raises(ForeignCheckpointError):
        run(scene)
    assert steps(scene) == []
    assert len(scene.checkpoint_list) == 1


def test_a_foreign_checkpoint_is_removed_where_it_is_adopted() -> None:
    scene = Scene()
    scene.add_checkpoint("Bareos JobId 7")
    run(scene, adopt=True)
    assert scene.clean


def test_a_users_own_checkpoint_stays() -> None:
    scene = Scene()
    scene.add_checkpoint("before the update", kind="user")
    done = run(scene)
    assert [c.name for c in scene.checkpoint_list] == ["before the update"]
    assert findings(done) == ()


# Runs that died, and runs that live


def test_a_dead_run_is_fenced_and_its_marked_checkpoint_removed() -> None:
    scene = Scene()
    dead(scene)
    scene.add_checkpoint(f"hypercbt {REPOSITORY} {GONE_RUN}")
    run(scene)
    assert steps(scene)[:4] == ["fence", "destroy", "close-lease", "begin"]
    assert scene.clean
    assert scene.open_leases == []


def test_a_dead_runs_unmarked_checkpoint_is_known_by_what_stood_before() -> None:
    scene = Scene()
    dead(scene)
    scene.add_checkpoint(created=later(9))
    run(scene)
    assert scene.clean


@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("web01 - (10/8/2026 - 3:15:36 PM)", 11),
        ("web01 - (10/8/2026 - 3:15:36 PM)", -11),
        ("Bareos JobId 7", 1),
        ("web02 - (10/8/2026 - 3:15:36 PM)", 1),
    ],
)
def test_another_checkpoint_is_not_taken_for_a_dead_runs(
    name: str, minutes: int
) -> None:
    scene = Scene()
    dead(scene)
    scene.add_checkpoint(name, created=later(minutes))
    with pytest.raises(ForeignCheckpointError):
        run(scene)
    assert len(scene.checkpoint_list) == 1


def test_of_two_that_may_be_a_dead_runs_neither_is_taken() -> None:
    scene = Scene()
    dead(scene)
    scene.add_checkpoint(created=later(1))
    scene.add_checkpoint(created=later(2))
    with pytest.raises(ForeignCheckpointError):
        run(scene)
    assert len(scene.checkpoint_list) == 2


def test_a_checkpoint_that_stood_before_a_dead_run_is_not_taken_for_its_own() -> None:
    scene = Scene()
    stood = scene.add_checkpoint(created=later(1))
    vm = {"host": "hv01", "checkpoints": [stood.id], "reference_points": []}
    dead(scene, vm=vm)
    with pytest.raises(ForeignCheckpointError):
        run(scene)


def test_a_dead_runs_unrecorded_reference_point_is_destroyed_and_not_built_upon() -> (
    None
):
    scene = with_base(Scene())
    committed_and_dead(scene)
    scene.add_reference_point("RP-lost")
    run(scene)
    assert "destroy-reference-point RP-lost" in scene.events
    assert scene.read[0]["base"] == POINT
    assert "RP-old" in [p.id for p in scene.points]


def test_a_dead_run_that_wrote_its_baseline_keeps_its_reference_point() -> None:
    scene = Scene()
    dead(scene, state="committed")
    scene.add_baseline(GONE_RUN, "RP-done")
    scene.add_reference_point("RP-done")
    run(scene)
    assert "RP-done" in [p.id for p in scene.points]
    assert scene.read[0]["base"] == GONE_RUN


def test_of_two_reference_points_that_may_be_a_dead_runs_neither_is_destroyed() -> None:
    scene = Scene()
    committed_and_dead(scene)
    scene.add_reference_point("RP-a")
    scene.add_reference_point("RP-b")
    done = run(scene)
    assert {"RP-a", "RP-b"} < {p.id for p in scene.points}
    assert [text.split(" ")[3] for text in findings(done)] == ["RP-a", "RP-b"]


@pytest.mark.parametrize("minutes", [11, 24 * 60, -11])
def test_long_after_a_dead_runs_commit_a_new_reference_point_may_be_somebody_elses(
    minutes: float, minutes_later: Callable[[float], None]
) -> None:
    """Somebody has removed the dead run's checkpoint, and backs the machine up with another product."""
    scene = with_base(Scene())
    committed_and_dead(scene)
    scene.add_reference_point("RP-other")
    minutes_later(minutes)
    done = run(scene)
    assert "destroy-reference-point RP-other" not in scene.events
    (finding,) = findings(done)
    assert "the reference point RP-other may be ours or somebody else's" in finding
    assert scene.read[0]["base"] == POINT
    assert scene.open_leases == []
    assert findings(run(scene)) == (), "said once"


def test_where_nobody_can_tell_when_a_dead_run_committed_what_is_new_is_left() -> None:
    scene = Scene()
    committed_and_dead(scene)
    scene.add_reference_point("RP-other")
    scene.on("point", IntegrityError("damaged"))
    done = run(scene)
    assert "destroy-reference-point RP-other" not in scene.events
    assert len(findings(done)) == 1


def test_a_dead_run_that_wrote_its_baseline_has_no_other_reference_point() -> None:
    """It was killed before it closed its lease; since then another product has backed the machine up."""
    scene = Scene()
    committed_and_dead(scene)
    scene.add_baseline(GONE_RUN, "RP-done")
    scene.add_reference_point("RP-done")
    scene.add_reference_point("RP-other")
    done = run(scene)
    assert "destroy-reference-point RP-other" not in scene.events
    assert findings(done) == ()


def test_the_reference_points_of_a_run_that_did_not_commit_are_never_its_own() -> None:
    scene = Scene()
    dead(scene)
    scene.add_reference_point("of another product")
    run(scene)
    assert "of another product" in [p.id for p in scene.points]


def test_what_a_checkpoint_became_for_somebody_who_tidied_up_and_died_is_told() -> None:
    """The host refused to delete it. It was converted instead, and nobody came to destroy the reference point."""
    scene = Scene()
    dead(scene, state="fenced")
    scene.add_reference_point("RP-left")
    done = run(scene)
    assert "destroy-reference-point RP-left" not in scene.events
    (finding,) = findings(done)
    assert "the reference point RP-left may be ours or somebody else's" in finding
    assert scene.open_leases == []


def test_a_dead_runs_lease_stays_open_while_the_host_does_not_give_its_checkpoint_back() -> (
    None
):
    scene = Scene()
    dead(scene)
    scene.add_checkpoint(f"hypercbt {REPOSITORY} {GONE_RUN}")
    gone = HostUnreachableError("no route")
    scene.on("destroy", *[gone] * 1000)
    with pytest.raises(HostUnreachableError):
        run(scene)
    assert scene.open_leases == [GONE_RUN]


def test_a_run_on_another_machine_may_live_and_is_named() -> None:
    scene = Scene()
    dead(scene, owner=ELSEWHERE)
    with pytest.raises(VmBusyError, match="process 1234 on another-machine") as raised:
        run(scene)
    assert raised.value.retryable
    assert steps(scene) == []


def test_a_run_on_another_machine_is_dead_where_somebody_says_so() -> None:
    scene = Scene()
    dead(scene, owner=ELSEWHERE)
    run(scene, adopt=True)
    assert scene.leases[GONE_RUN].state == "fenced"
    assert scene.open_leases == []


def test_a_run_that_began_at_the_same_moment_makes_both_give_way() -> None:
    scene = Scene()
    scene.on("begun", lambda: scene.add_lease("cc" * 16, owner=ELSEWHERE))
    with pytest.raises(VmBusyError, match="being backed up"):
        run(scene)
    assert steps(scene) == ["begin", "abort"]


@pytest.mark.parametrize("while_we", ["baselines", "begun"])
def test_a_checkpoint_that_somebody_makes_meanwhile_is_not_worked_beside(
    while_we: str,
) -> None:
    scene = Scene()

    def other() -> None:
        scene.add_checkpoint("Bareos JobId 7")

    scene.on(while_we, other)
    with pytest.raises(VmBusyError, match="Bareos JobId 7"):
        run(scene)
    assert steps(scene) == ["begin", "abort"]


def test_a_checkpoint_that_stood_when_it_was_planned_is_not_worked_beside_either() -> (
    None
):
    scene = Scene()

    def other() -> None:
        scene.add_checkpoint("Bareos JobId 7")

    # Asked twice before: what stood from a dead run, and what is planned with.
    scene.on("checkpoints", None, other)
    with pytest.raises(VmBusyError, match="Bareos JobId 7"):
        run(scene)
    assert steps(scene) == ["begin", "abort"]


@pytest.mark.parametrize("state", ["open", "fenced"])
def test_a_dead_runs_checkpoint_may_come_while_it_is_looked_for(state: str) -> None:
    scene = Scene()
    dead(scene, state=state)
    at(scene, 7.0, lambda: scene.add_checkpoint(created=later(1)))
    run(scene)
    assert scene.made == 2
    assert scene.clean

"""What is done when a step of a backup fails that comes after the checkpoint (hyperv-rct (a), B9 to B14)."""

from dataclasses import replace
from typing import Any

import pytest

from hypercbt.errors import (
    HostJobError,
    HostUnreachableError,
    LostReplyError,
    RepositoryUnavailableError,
    RunFencedError,
    SourceError,
)
from unit.hyperv.backing_up import findings, run, steps, with_base
from unit.hyperv.pretend import (
    Scene,
    vm_disk,
)

# B9, B12: reading fails


def test_whatever_fails_while_reading_the_checkpoint_goes_and_the_run_ends() -> None:
    scene = with_base(Scene())
    scene.on("read", SourceError("sharing violation"))
    with pytest.raises(SourceError, match="sharing violation") as raised:
        run(scene)
    assert steps(scene)[-2:] == ["destroy", "abort"]
    assert scene.clean
    assert scene.open_leases == []
    assert [p.id for p in scene.points] == ["RP-old"]
    assert not hasattr(raised.value, "__notes__")


def test_a_checkpoint_that_is_busy_is_asked_for_again() -> None:
    scene = Scene()
    scene.on("read", SourceError("gone"))
    scene.on("destroy", HostJobError("busy", code=32775), None)
    with pytest.raises(SourceError):
        run(scene)
    assert scene.clean


def test_what_cannot_be_taken_back_is_noted_and_the_first_error_is_raised() -> None:
    scene = Scene()
    scene.on("read", SourceError("gone"))
    scene.on("destroy", *[HostUnreachableError("no route")] * 1000)
    with pytest.raises(SourceError) as raised:
        run(scene)
    assert "could not be tidied up" in raised.value.__notes__[0]
    (lease,) = scene.leases.values()
    assert (lease.state, lease.closed) == ("fenced", False)


def test_what_nobody_expected_while_tidying_up_does_not_hide_the_first_error() -> None:
    """A full disk under a record of the conversation, say."""
    scene = Scene()
    scene.on("read", SourceError("gone"))
    scene.on("destroy", OSError("no space left on device"))
    with pytest.raises(SourceError) as raised:
        run(scene)
    assert "no space left on device" in raised.value.__notes__[0]
    (lease,) = scene.leases.values()
    assert (lease.state, lease.closed) == ("fenced", False)


def test_the_next_run_takes_back_what_the_last_one_could_not() -> None:
    scene = Scene()
    scene.on("read", SourceError("gone"))
    scene.on("destroy", *[HostUnreachableError("no route")] * 1000)
    with pytest.raises(SourceError):
        run(scene)
    scene._failures.clear()
    run(scene)
    assert scene.clean
    assert scene.open_leases == []


def test_a_run_that_was_fenced_leaves_nothing() -> None:
    scene = Scene()
    scene.on("commit", RunFencedError("fenced"))
    with pytest.raises(RunFencedError):
        run(scene)
    assert scene.clean


def test_a_repository_that_goes_away_at_the_commit_leaves_no_checkpoint() -> None:
    """Whether there is a restore point nobody can tell; that nothing was converted is known all the same."""
    scene = Scene()
    gone = [RepositoryUnavailableError("no route")] * 9
    scene.on("commit", *gone)
    scene.on("run-state", *gone)
    scene.on("abort", *gone)
    with pytest.raises(RepositoryUnavailableError) as raised:
        run(scene)
    assert scene.clean
    assert "could not be ended in the repository" in raised.value.__notes__[0]
    assert len(scene.open_leases) == 1


# B10, B11: after the commit


def test_a_conversion_that_fails_keeps_the_point_and_is_a_finding() -> None:
    scene = Scene()
    scene.on("convert", HostJobError("0x8007052f"))
    done = run(scene)
    assert "no baseline, so the next backup compares: 0x8007052f" in findings(done)[0]
    assert steps(scene)[-3:] == ["convert", "destroy", "close"]
    assert scene.clean
    assert scene.committed == [done.point.id]


def test_a_conversion_that_fails_keeps_the_older_reference_points() -> None:
    scene = with_base(Scene())
    scene.on("convert", HostJobError("0x8007052f"))
    run(scene)
    assert [p.id for p in scene.points] == ["RP-old"]


def test_a_conversion_without_an_answer_leaves_no_reference_point_that_nobody_knows() -> (
    None
):
    scene = Scene()

    def lost() -> None:
        scene.add_reference_point("RP-lost")
        scene.drop(scene.checkpoint_list[0].id)
        raise LostReplyError("connection reset")

    scene.on("convert", lost)
    done = run(scene)
    assert "no baseline" in findings(done)[0]
    assert scene.points == []
    assert scene.clean


def test_a_baseline_that_cannot_be_written_takes_its_reference_point_along() -> None:
    scene = Scene()
    scene.on("baseline", RepositoryUnavailableError("no route"))
    done = run(scene)
    assert "no baseline" in findings(done)[0]
    assert scene.points == []


def test_a_reference_point_of_ours_is_known_among_others() -> None:
    scene = Scene()

    def fail() -> None:
        scene.add_reference_point("RP-other")
        raise RepositoryUnavailableError("no route")

    scene.on("baseline", fail)
    run(scene)
    assert [p.id for p in scene.points] == ["RP-other"]


def test_where_ours_cannot_be_told_from_others_both_stay_and_are_named() -> None:
    scene = Scene()

    def lost() -> None:
        scene.add_reference_point("RP-lost")
        scene.add_reference_point("RP-other")
        scene.drop(scene.checkpoint_list[0].id)
        raise LostReplyError("connection reset")

    scene.on("convert", lost)
    done = run(scene)
    assert [p.id for p in scene.points] == ["RP-lost", "RP-other"]
    assert [text.split(" ")[3] for text in findings(done)[1:]] == [
        "RP-lost",
        "RP-other",
    ]


def test_once_the_baseline_stands_every_other_reference_point_is_somebody_elses() -> (
    None
):
    scene = Scene()

    def interrupted() -> None:
        scene.add_reference_point("RP-other")
        raise KeyboardInterrupt

    scene.on("closed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert [p.id for p in scene.points] == ["RP-1", "RP-other"]


def test_a_checkpoint_that_cannot_be_taken_back_after_the_commit_is_the_next_runs_job() -> (
    None
):
    scene = Scene()
    scene.on("convert", HostJobError("0x8007052f"))
    scene.on("destroy", *[HostUnreachableError("no route")] * 1000)
    done = run(scene)
    assert any("the next backup or check does it" in text for text in findings(done))
    assert scene.open_leases == [done.point.id]
    scene._failures.clear()
    run(scene)
    assert scene.clean
    assert scene.open_leases == []


def test_a_disk_for_which_the_host_gave_no_id_is_a_finding() -> None:
    scene = Scene(vm_disk(), vm_disk("data", slot=1))
    done = run(replace_ids(scene))
    assert "data.vhdx" in findings(done)[0]
    assert "no change tracking id" in findings(done)[0]


def replace_ids(scene: Scene) -> Scene:
    """Let reference points have an id for the first disk only."""
    made = scene.add_reference_point

    def shorter(name: str) -> Any:
        point = made(name)
        scene.points[-1] = replace(point, disks=point.disks[:1])
        return scene.points[-1]

    scene.add_reference_point = shorter  # type: ignore[method-assign]
    return scene


# B13: the merge


def test_a_merge_that_takes_too_long_is_a_finding() -> None:
    scene = Scene()
    scene.merge_seconds = 10_000.0
    done = run(scene)
    assert "still merging disks" in findings(done)[0]


def test_a_merge_that_never_begins_is_a_finding_long_before_the_limit() -> None:
    scene = Scene()
    scene.on("close", lambda: scene.active.__setitem__(0, unmerged()))
    done = run(scene)
    assert "does not merge its disks" in findings(done)[0]
    assert scene.clock.time < 120


def test_a_machine_that_ran_on_a_child_from_the_start_is_a_finding() -> None:
    scene = Scene(unmerged())
    done = run(scene)
    assert "merging is suspended or has failed" in findings(done)[0]


def unmerged() -> Any:
    return replace(
        vm_disk(),
        path=r"C:\VMs\web01_9.avhdx",
        kind="avhdx",
        parents=(r"C:\VMs\web01.vhdx",),
    )


# B14: older reference points


def test_an_older_reference_point_that_cannot_be_destroyed_is_a_warning() -> None:
    scene = Scene()
    for number in range(2):
        scene.add_baseline(f"{number:032x}", f"RP-old-{number}")
        scene.add_reference_point(f"RP-old-{number}")
    scene.on("destroy-reference-point", HostJobError("no"))
    done = run(scene)
    assert "RP-old-0 could not be destroyed" in done.warnings[0]
    assert findings(done) == ()

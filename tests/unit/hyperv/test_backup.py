"""The steps of a backup, their order, and what is done when one fails (hyperv-rct (a))."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hypercbt.errors import (
    AuditUnfinishedError,
    ChangeTrackingLostError,
    CheckpointError,
    DiskIdentityError,
    ForeignCheckpointError,
    HostFileError,
    HostJobError,
    HostSpaceError,
    HostUnreachableError,
    LostReplyError,
    RepositoryUnavailableError,
    RunFencedError,
    SourceError,
    VmBusyError,
    VmUnsupportedError,
)
from hypercbt.hyperv.backup import Done, backup_machine
from unit.hyperv.pretend import (
    GIB,
    NOW,
    REPOSITORY,
    VM,
    Scene,
    later,
    vm_disk,
)

POINT = "aa" * 16
ELSEWHERE = "another-machine 1234 1700000000.00"
GONE_RUN = "bb" * 16


def run(scene: Scene, **order: Any) -> Done:
    return backup_machine(scene.machine, scene.repository, scene.order(**order))


def findings(done: Done) -> tuple[str, ...]:
    return done.point.stats.findings


def with_base(scene: Scene) -> Scene:
    scene.add_baseline(POINT, "RP-old")
    scene.add_reference_point("RP-old")
    return scene


def steps(scene: Scene) -> list[str]:
    """Return what changed something, in order."""
    words = (
        "begin", "create", "rename", "store", "read", "commit", "convert", "baseline",
        "close", "abort", "destroy", "destroy-reference-point", "fence", "close-lease",
    )  # fmt: skip
    return [
        event.split(" ")[0] for event in scene.events if event.split(" ")[0] in words
    ]


# What a backup that works does


def test_data_is_committed_before_the_conversion_and_the_baseline_follows_it() -> None:
    scene = with_base(Scene())
    run(scene)
    assert steps(scene) == [
        "begin", "create", "rename", "store", "store", "store", "read", "commit",
        "convert", "baseline", "close",
    ]  # fmt: skip
    assert scene.clean
    assert scene.open_leases == []


def test_no_disk_is_open_when_the_conversion_is_asked_for() -> None:
    scene = Scene(vm_disk(), vm_disk("data", slot=1))
    run(scene)
    before = scene.events[: scene.events.index("convert")]
    opened = sum(event.startswith("open ") for event in before)
    assert opened == before.count("closed-disk") == 2


def test_the_lease_names_what_stood_before() -> None:
    scene = with_base(Scene())
    user = scene.add_checkpoint("before the update", kind="user")
    run(scene)
    (lease,) = scene.leases.values()
    assert lease.document["vm"] == {
        "host": "hv01",
        "checkpoints": [user.id.lower()],
        "reference_points": ["rp-old"],
    }


def test_the_checkpoint_bears_the_mark_of_repository_and_run() -> None:
    scene = Scene()
    done = run(scene)
    assert f"rename hypercbt {REPOSITORY} {done.point.id}" in scene.events


def test_a_disk_with_a_base_is_asked_for_its_changes() -> None:
    scene = with_base(Scene())
    run(scene)
    (asked,) = scene.read
    assert asked["method"] == "rct"
    assert asked["base"] == POINT
    assert list(asked["changes"]) == [(0, 65536)]
    assert scene.count("changes rctX:RP-old:SCSI 0:0") == 1


def test_changes_count_from_the_file_that_was_active_right_before_the_checkpoint() -> (
    None
):
    scene = Scene()
    run(scene)
    assert scene.read[0]["sealed_in"] == "web01.vhdx"


def test_what_is_sealed_is_the_active_child_where_there_are_user_checkpoints() -> None:
    scene = Scene()
    scene.add_checkpoint("mine", kind="user")
    run(scene)
    assert scene.read[0]["sealed_in"] == "web01_1.avhdx"
    assert scene.read[0]["disk_name"] == "web01"


def test_a_disk_without_a_base_is_compared_and_says_why() -> None:
    scene = Scene()
    run(scene)
    (asked,) = scene.read
    assert asked["method"] == "compare"
    assert "no earlier restore point" in asked["fallback_reason"]


def test_a_full_backup_asks_for_no_changes() -> None:
    scene = with_base(Scene())
    run(scene, full=True)
    assert scene.read[0]["method"] == "full"
    assert scene.read[0]["fallback_reason"] is None
    assert scene.count("changes") == 0


def test_the_level_that_was_reached_is_recorded() -> None:
    scene = Scene()
    run(scene)
    assert scene.events.count("create application") == 1


def test_the_configuration_is_stored_and_a_missing_vmgs_is_none_of_our_concern() -> (
    None
):
    scene = Scene()
    scene.missing.add(r"C:\VMs\web01\Snapshots\1.vmgs")
    done = run(scene)
    assert [e for e in scene.events if e.startswith("store")] == [
        "store 1.vmcx",
        "store 1.vmrs",
    ]
    assert findings(done) == ()


def test_a_missing_configuration_file_is_a_finding() -> None:
    scene = Scene()
    scene.missing.add(r"C:\VMs\web01\Snapshots\1.vmrs")
    done = run(scene)
    assert "1.vmrs is not in the point" in findings(done)[0]


def test_only_our_older_reference_points_go_and_two_stay() -> None:
    scene = Scene()
    for number in range(4):
        scene.add_baseline(f"{number:032x}", f"RP-old-{number}")
        scene.add_reference_point(f"RP-old-{number}")
    scene.add_reference_point("of another product")
    run(scene)
    assert [p.id for p in scene.points] == ["RP-old-3", "of another product", "RP-1"]


def test_older_reference_points_stay_until_the_baseline_stands() -> None:
    scene = Scene()
    for number in range(3):
        scene.add_baseline(f"{number:032x}", f"RP-old-{number}")
        scene.add_reference_point(f"RP-old-{number}")
    run(scene)
    gone = [e for e in scene.events if e.startswith("destroy-reference-point")]
    assert len(gone) == 2
    assert scene.events.index(gone[0]) > scene.events.index("baseline")


def test_the_merge_is_waited_for() -> None:
    scene = Scene()
    scene.merge_seconds = 300.0
    done = run(scene)
    assert scene.clean
    assert findings(done) == ()


# B1: the machine is busy


def test_a_busy_machine_is_waited_for() -> None:
    scene = Scene()
    scene.vm = replace(scene.vm, busy="exporting")

    def idle() -> None:
        scene.vm = replace(scene.vm, busy=None)

    scene.clock.at.append((100.0, idle))
    run(scene)
    assert scene.clock.time >= 100.0


def test_a_machine_that_stays_busy_is_left_alone() -> None:
    scene = Scene()
    scene.vm = replace(scene.vm, busy="exporting")
    with pytest.raises(VmBusyError, match="still exporting after 600 s"):
        run(scene)
    assert steps(scene) == []


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
    ],
)
def test_a_checkpoint_that_is_not_known_to_be_ours_is_refused(name: str) -> None:
    scene = Scene()
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


def dead(scene: Scene, **changed: Any) -> None:
    """Let the lease of a killed run of this machine stand. (This process holds no run: its own owner is gone.)"""
    scene.add_lease(GONE_RUN, **changed)


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
    vm = {"host": "hv01", "checkpoints": [], "reference_points": ["RP-old"]}
    dead(scene, state="committed", vm=vm)
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
    dead(scene, state="committed")
    scene.add_reference_point("RP-a")
    scene.add_reference_point("RP-b")
    run(scene)
    assert {"RP-a", "RP-b"} < {p.id for p in scene.points}


def test_the_reference_points_of_a_run_that_did_not_commit_are_never_its_own() -> None:
    scene = Scene()
    dead(scene)
    scene.add_reference_point("of another product")
    run(scene)
    assert "of another product" in [p.id for p in scene.points]


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


def test_a_checkpoint_that_somebody_makes_meanwhile_is_not_worked_beside() -> None:
    scene = Scene()

    def other() -> None:
        scene.add_checkpoint("Bareos JobId 7")

    scene.on("begun", other)
    with pytest.raises(VmBusyError, match="Bareos JobId 7"):
        run(scene)
    assert steps(scene) == ["begin", "abort"]


# B3: what can and what cannot be backed up


def test_a_pass_through_disk_is_refused_before_anything_is_touched() -> None:
    scene = Scene(vm_disk(), vm_disk("raw", kind="pass-through", slot=1, size=None))
    with pytest.raises(VmUnsupportedError, match="exclude it"):
        run(scene)
    assert steps(scene) == []


def test_an_excluded_disk_is_not_in_the_point_and_not_in_the_baseline() -> None:
    scene = Scene(vm_disk(), vm_disk("scratch", slot=1))
    run(scene, exclude=["scratch.vhdx"])
    assert [asked["disk_name"] for asked in scene.read] == ["web01"]
    assert [d["location"] for d in scene.baselines[0]["disks"]] == ["SCSI 0:0"]


# B4: the checkpoint cannot be made


def test_an_application_consistent_checkpoint_is_tried_twice() -> None:
    scene = Scene()
    scene.on("create", HostJobError("VSS"), None)
    done = run(scene)
    assert [e for e in scene.events if e.startswith("create ")] == [
        "create application",
        "create application",
    ]
    assert done.warnings == ()


def test_then_a_crash_consistent_one_is_taken_and_it_is_said_why() -> None:
    scene = Scene()
    scene.on("create", HostJobError("VSS"), HostJobError("VSS"), None)
    done = run(scene)
    assert "create crash" in scene.events
    assert "only crash-consistent" in done.warnings[0]


def test_require_takes_no_crash_consistent_one() -> None:
    scene = Scene()
    scene.on("create", HostJobError("VSS 0x800423F2"), HostJobError("VSS"))
    with pytest.raises(CheckpointError, match="no checkpoint of web01"):
        run(scene, consistency="require")
    assert "create crash" not in scene.events
    assert scene.open_leases == []


def test_what_a_failed_try_has_left_is_gone_before_the_next() -> None:
    scene = Scene()

    def made_and_failed() -> None:
        scene.add_checkpoint()
        raise HostJobError("failed, and yet it stands")

    scene.on("create", made_and_failed, None)
    run(scene)
    assert steps(scene)[:5] == ["begin", "create", "destroy", "create", "rename"]
    assert scene.clean


def test_a_checkpoint_that_nobody_answered_for_is_found_and_removed() -> None:
    scene = Scene()

    def made_and_lost() -> None:
        scene.add_checkpoint()
        raise HostUnreachableError("connection reset")

    scene.on("create", made_and_lost)
    with pytest.raises(HostUnreachableError):
        run(scene)
    assert scene.clean
    assert scene.open_leases == []


def at(scene: Scene, seconds: float, happens: Callable[[], object]) -> None:
    """Let the host do something so many seconds from now."""

    def happen() -> None:
        happens()

    scene.clock.at.append((scene.clock.time + seconds, happen))


def test_a_checkpoint_that_comes_after_an_interruption_is_found_and_removed() -> None:
    scene = Scene()

    def asked_for_and_interrupted() -> None:
        at(scene, 7.0, scene.add_checkpoint)
        raise KeyboardInterrupt

    scene.on("create", asked_for_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert scene.made == 1
    assert scene.clean
    assert scene.open_leases == []


def test_a_conversion_that_comes_after_an_interruption_leaves_no_reference_point() -> (
    None
):
    scene = Scene()

    def asked_for_and_interrupted() -> None:
        at(scene, 7.0, lambda: convert(scene))
        raise KeyboardInterrupt

    scene.on("convert", asked_for_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert scene.count("destroy-reference-point") == 1
    assert scene.clean
    assert scene.points == []


def convert(scene: Scene) -> None:
    [checkpoint] = scene.checkpoint_list
    scene.add_reference_point("RP-late")
    scene.drop(checkpoint.id)


@pytest.mark.parametrize("step", ["rename", "committed", "converted"])
def test_an_interruption_that_left_nothing_on_its_way_is_not_waited_for(
    step: str,
) -> None:
    scene = Scene()
    reading = 10.0 if step != "rename" else 0.0
    scene.on(step, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert scene.clean
    assert scene.clock.time == reading


@pytest.mark.parametrize("state", ["open", "fenced"])
def test_a_dead_runs_checkpoint_may_come_while_it_is_looked_for(state: str) -> None:
    scene = Scene()
    dead(scene, state=state)
    at(scene, 7.0, lambda: scene.add_checkpoint(created=later(1)))
    run(scene)
    assert scene.made == 2
    assert scene.clean


def test_a_lost_reply_without_a_checkpoint_is_tried_again() -> None:
    scene = Scene()
    scene.on("create", LostReplyError("connection reset"), None)
    run(scene)
    assert scene.events.count("create application") == 2


# B6: the mark


def test_a_checkpoint_that_cannot_be_marked_is_good_enough() -> None:
    scene = Scene()
    scene.on("rename", HostJobError("read-only"))
    done = run(scene)
    assert "could not be marked" in done.warnings[0]
    assert findings(done) == ()
    assert scene.clean


# B7: the checkpoint's disks


def test_disks_are_matched_by_id_and_place_whatever_their_order() -> None:
    scene = Scene(vm_disk(), vm_disk("data", slot=1))

    def turned() -> None:
        for one, disks in scene.frozen.items():
            scene.frozen[one] = disks[::-1]

    scene.on("frozen-disks", turned)
    run(scene)
    assert [(r["disk_name"], r["location"]) for r in scene.read] == [
        ("web01", "SCSI 0:0"),
        ("data", "SCSI 0:1"),
    ]


def test_a_disk_that_the_checkpoint_lacks_fails_the_backup() -> None:
    scene = Scene(vm_disk(), vm_disk("data", slot=1))

    def lost() -> None:
        for one, disks in scene.frozen.items():
            scene.frozen[one] = disks[:1]

    scene.on("frozen-disks", lost)
    with pytest.raises(VmBusyError, match=r"data\.vhdx"):
        run(scene)
    assert scene.clean


def test_a_disk_that_was_added_meanwhile_fails_the_backup() -> None:
    scene = Scene()
    scene.on("create", lambda: scene.active.append(vm_disk("new", slot=5)))
    with pytest.raises(VmBusyError, match=r"new\.vhdx"):
        run(scene)


def test_a_disk_that_was_resized_meanwhile_fails_the_backup() -> None:
    scene = Scene()

    def resize() -> None:
        scene.active = [replace(scene.active[0], size=1 << 30)]

    scene.on("create", resize)
    with pytest.raises(VmBusyError, match="resized"):
        run(scene)
    assert scene.checkpoint_list == []


def test_a_file_that_cannot_be_reached_fails_the_backup_before_the_machine_is_touched() -> (
    None
):
    scene = Scene()
    scene.missing.add(r"C:\VMs\web01.vhdx")
    with pytest.raises(HostFileError, match=r"web01\.vhdx of the host is not there"):
        run(scene)
    assert steps(scene) == []


def test_a_mapping_that_leads_to_another_disk_is_noticed() -> None:
    scene = Scene()

    machine = scene.machine
    opened = machine.open
    machine.open = lambda disk: opened(replace(disk, disk_id="ff" * 16))  # type: ignore[method-assign]
    with pytest.raises(DiskIdentityError, match="mapped to the right place"):
        backup_machine(machine, scene.repository, scene.order())
    assert scene.clean


def test_a_frozen_chain_without_the_active_file_has_no_sealed_file_and_says_so() -> (
    None
):
    scene = Scene()

    def elsewhere() -> None:
        for one, disks in scene.frozen.items():
            scene.frozen[one] = (replace(disks[0], path=r"D:\moved.vhdx"),)

    scene.on("frozen-disks", elsewhere)
    done = run(scene)
    assert scene.read[0]["sealed_in"] is None
    assert "the next backup compares" in findings(done)[0]


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


# C: incrementals


def test_a_reference_point_that_is_gone_means_a_comparison() -> None:
    scene = Scene()
    scene.add_baseline(POINT, "RP-old")
    run(scene)
    assert scene.read[0]["method"] == "compare"
    assert "no longer has the reference point" in scene.read[0]["fallback_reason"]


def test_of_two_disks_each_has_its_own_fate() -> None:
    scene = with_base(Scene())
    scene.active.append(vm_disk("new", slot=1))
    run(scene)
    assert [asked["method"] for asked in scene.read] == ["rct", "compare"]


def test_tracking_that_was_lost_means_a_comparison_that_says_why() -> None:
    scene = with_base(Scene())
    scene.on("changes", ChangeTrackingLostError("VHD_CHANGED_OFFLINE (0xc03a0022)"))
    run(scene)
    assert scene.read[0]["method"] == "compare"
    assert "VHD_CHANGED_OFFLINE" in scene.read[0]["fallback_reason"]


def test_a_connection_that_stays_broken_fails_the_backup_and_compares_nothing() -> None:
    scene = with_base(Scene())
    scene.on("changes", HostUnreachableError("no route"))
    with pytest.raises(HostUnreachableError):
        run(scene)
    assert scene.read == []
    assert scene.clean


def test_after_a_crash_between_baseline_and_clean_up_either_point_serves() -> None:
    scene = with_base(Scene())
    scene.add_baseline("dd" * 16, "RP-newer")
    scene.add_reference_point("RP-newer")
    run(scene)
    assert scene.read[0]["base"] == "dd" * 16


def test_where_the_newest_reference_point_is_gone_the_one_before_still_serves() -> None:
    scene = with_base(Scene())
    scene.add_baseline("dd" * 16, "RP-newer")
    run(scene)
    assert scene.read[0]["base"] == POINT


# Room on the host


def test_too_little_room_is_refused_before_the_machine_is_touched() -> None:
    scene = Scene()
    scene.free = (19 * GIB, 100 * GIB)
    with pytest.raises(HostSpaceError):
        run(scene)
    assert steps(scene) == []


def fill(scene: Scene, free: int) -> None:
    """Let the volume fill up when the disk is read."""

    def full() -> None:
        scene.free = (free, 100 * GIB)

    scene.on("read", full)


def test_below_the_floor_the_audit_ends_and_the_backup_goes_on() -> None:
    scene = Scene()
    fill(scene, 15 * GIB)
    done = run(scene)
    assert "stop-audit" in scene.events
    assert "the next backup owes" in findings(done)[0]


def test_below_half_of_the_floor_the_backup_ends_and_the_checkpoint_goes() -> None:
    scene = Scene()
    fill(scene, 9 * GIB)
    with pytest.raises(HostSpaceError, match="was ended"):
        run(scene)
    assert scene.clean
    assert scene.committed == []


def test_a_comparison_that_a_missed_change_makes_necessary_is_not_begun_without_room() -> (
    None
):
    scene = Scene()
    scene.on("read", AuditUnfinishedError("stopped"))
    with pytest.raises(HostSpaceError, match="missed a change"):
        run(scene)
    assert scene.clean


# Ctrl-C, and anything else, anywhere


def number_of_events() -> int:
    scene = with_base(Scene())
    run(scene)
    return len(scene.events)


@pytest.mark.parametrize("number", range(1, number_of_events() + 1))
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_is_raised_at_any_step_the_host_is_left_clean(
    number: int, error: type[BaseException]
) -> None:
    scene = with_base(Scene())
    scene.stop_at = (number, error())
    with pytest.raises(error):
        run(scene)
    assert scene.clean
    known = {entry["reference_point"] for entry in scene.baselines}
    assert {p.id for p in scene.points} <= known
    scene.stop_at = None
    scene.read.clear()
    run(scene)
    assert scene.clean
    assert scene.open_leases == []
    assert scene.read[0]["method"] == "rct"
    assert {p.id for p in scene.points} <= known | {
        entry["reference_point"] for entry in scene.baselines
    }


def test_an_interrupted_backup_says_that_its_point_stands_where_it_does() -> None:
    scene = Scene()
    scene.on("committed", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as raised:
        run(scene)
    assert "was made, and is whole" in raised.value.__notes__[0]
    assert scene.clean


def test_two_backups_of_one_machine_in_one_process_do_not_meet() -> None:
    scene = Scene()

    def again() -> None:
        with pytest.raises(VmBusyError, match="already backing up"):
            run(scene)

    scene.on("read", again)
    run(scene)
    assert scene.events.count("begin") == 1


def test_the_machine_is_known_by_its_guid() -> None:
    done = run(Scene())
    assert done.point.machine == f"vm:{VM}"
    assert NOW.tzinfo is not None

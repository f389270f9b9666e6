"""The steps of a backup that works, their order, and which disks are asked for their changes (hyperv-rct (a))."""

import pytest

from hypercbt.errors import (
    ChangeTrackingLostError,
    HostUnreachableError,
    VmBusyError,
    VmUnsupportedError,
)
from unit.hyperv.backing_up import POINT, findings, run, steps, with_base
from unit.hyperv.pretend import (
    NOW,
    REPOSITORY,
    VM,
    Scene,
    vm_disk,
)


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

"""The checkpoint of a backup: when it is asked for, what it is called, and whose disks it holds (hyperv-rct (a), B1 to B7)."""

from dataclasses import replace
from typing import Any

import pytest

from hypercbt.errors import (
    CheckpointError,
    DiskIdentityError,
    HostFileError,
    HostJobError,
    HostUnreachableError,
    LostReplyError,
    VmBusyError,
)
from hypercbt.hyperv.backup import backup_machine
from unit.hyperv.backing_up import findings, run, steps
from unit.hyperv.pretend import (
    Scene,
    vm_disk,
)

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
    with pytest.raises(HostFileError, match=r"web01\.vhdx is not there"):
        run(scene)
    assert steps(scene) == []


def test_a_file_that_cannot_be_opened_fails_the_backup_before_the_machine_is_touched() -> (
    None
):
    scene = Scene()
    scene.unreadable.add(r"C:\VMs\web01.vhdx")
    with pytest.raises(HostFileError, match=r"web01\.vhdx cannot be read"):
        run(scene)
    assert steps(scene) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"disk_id": "ff" * 16}, "mapped to the right place"),
        ({"size": 1 << 20}, "has 1048576 bytes, and the host's"),
    ],
)
def test_a_mapping_that_leads_to_another_disk_is_noticed(
    other: dict[str, Any], words: str
) -> None:
    scene = Scene()

    machine = scene.machine
    opened = machine.open
    machine.open = lambda disk: opened(replace(disk, **other))  # type: ignore[method-assign]
    with pytest.raises(DiskIdentityError, match=words):
        backup_machine(machine, scene.repository, scene.order())
    assert scene.clean


@pytest.mark.parametrize(
    "chain",
    [
        {"path": r"D:\moved.vhdx"},
        {"path": r"D:\top.avhdx", "parents": (r"D:\web01.vhdx", r"C:\VMs\web01.vhdx")},
    ],
)
def test_a_frozen_chain_without_the_active_file_or_with_two_of_its_name_has_no_sealed_file(
    chain: dict[str, Any],
) -> None:
    scene = Scene()

    def elsewhere() -> None:
        for one, disks in scene.frozen.items():
            scene.frozen[one] = (replace(disks[0], **chain),)

    scene.on("frozen-disks", elsewhere)
    done = run(scene)
    assert scene.read[0]["sealed_in"] is None
    assert "the next backup compares" in findings(done)[0]

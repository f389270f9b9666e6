"""The two tables of `hypercbt.hyperv.policy`, a test for each row."""

import pytest

from hypercbt.errors import VmBusyError, VmUnsupportedError
from hypercbt.hyperv.checkpoints import Level
from hypercbt.hyperv.policy import (
    Consistency,
    Levels,
    levels,
    refuse_replica,
    selected,
    untracked,
)
from unit.hyperv.pretend import virtual_machine, vm_disk

TWICE_AND_CRASH: tuple[Level, ...] = ("application", "application", "crash")


@pytest.mark.parametrize(
    ("state", "consistency", "expected"),
    [
        ("running", "prefer", Levels(TWICE_AND_CRASH)),
        ("running", "require", Levels(("application", "application"))),
        ("running", "crash", Levels(("crash", "crash"))),
        ("off", "prefer", Levels(("crash", "crash"), unlike="off")),
        ("off", "require", Levels(("crash", "crash"), unlike="off")),
        ("off", "crash", Levels(("crash", "crash"), unlike="off")),
        ("saved", "prefer", Levels(("crash", "crash"))),
        ("saved", "crash", Levels(("crash", "crash"))),
        ("paused", "prefer", Levels(("crash", "crash"))),
        ("paused", "crash", Levels(("crash", "crash"))),
    ],
)
def test_what_is_tried_follows_from_state_and_wish(
    state: str, consistency: Consistency, expected: Levels
) -> None:
    assert levels(virtual_machine(state=state), consistency) == expected


@pytest.mark.parametrize("state", ["saved", "paused"])
def test_a_machine_that_sleeps_cannot_be_required_to_be_consistent(state: str) -> None:
    with pytest.raises(VmUnsupportedError, match=f"web01 is {state}"):
        levels(virtual_machine(state=state), "require")


def test_a_machine_on_its_way_from_one_state_to_another_is_busy() -> None:
    with pytest.raises(VmBusyError):
        levels(virtual_machine(state="other"), "prefer")


@pytest.mark.parametrize("kind", ["replica", "test replica", "extended replica"])
def test_a_replica_is_refused(kind: str) -> None:
    with pytest.raises(VmUnsupportedError, match="is a replica"):
        refuse_replica(virtual_machine(replication=kind))


@pytest.mark.parametrize("kind", ["none", "primary", "unknown"])
def test_a_primary_is_none(kind: str) -> None:
    refuse_replica(virtual_machine(replication=kind))


@pytest.mark.parametrize("kind", ["vhdx", "avhdx"])
def test_vhdx_files_are_tracked(kind: str) -> None:
    assert untracked(virtual_machine(), vm_disk(kind=kind)) is None


@pytest.mark.parametrize("kind", ["vhd", "avhd"])
def test_vhd_files_are_compared(kind: str) -> None:
    reason = untracked(virtual_machine(), vm_disk(kind=kind))
    assert reason == "a VHD file has no change tracking"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("vhds", "shared disk"),
        ("pass-through", "no checkpoint holds"),
        ("other", "unknown kind"),
    ],
)
def test_what_no_checkpoint_holds_is_refused(kind: str, words: str) -> None:
    with pytest.raises(VmUnsupportedError, match=words):
        untracked(virtual_machine(), vm_disk(kind=kind))


@pytest.mark.parametrize(
    ("version", "tracked"),
    [
        ("5.0", False),
        ("6.1", False),
        ("6.2", True),
        ("7.1", True),
        ("8.0", True),
        ("12.0", True),
        ("", True),
        ("new", True),
    ],
)
def test_machines_before_version_6_2_are_compared(version: str, tracked: bool) -> None:
    reason = untracked(virtual_machine(version=version), vm_disk())
    assert (reason is None) == tracked


DISKS = (
    vm_disk("web01"),
    vm_disk("data_9", kind="avhdx", slot=1, parents=(r"C:\VMs\data.vhdx",)),
    vm_disk("raw", kind="pass-through", slot=2),
)


@pytest.mark.parametrize(
    "text",
    ["SCSI 0:1", "scsi 0:1", "data_9.avhdx", "DATA.vhdx", "0D15C000-0000-4000-8000-000000000001"],
)  # fmt: skip
def test_a_disk_is_meant_by_its_place_its_file_the_file_below_or_its_id(
    text: str,
) -> None:
    assert selected(DISKS, [text]) == (DISKS[1],)
    assert selected(DISKS, None, [text]) == (DISKS[0], DISKS[2])


def test_all_disks_are_meant_where_nothing_is_said() -> None:
    assert selected(DISKS) == DISKS


@pytest.mark.parametrize("text", ["SCSI 0:7", "data", r"C:\VMs\web01.vhdx", ""])
def test_what_means_no_disk_is_misuse_and_the_disks_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"SCSI 0:0 \(web01\.vhdx\)"):
        selected(DISKS, [text])
    with pytest.raises(ValueError, match="is no disk"):
        selected(DISKS, None, [text])


def test_a_disk_without_an_id_is_not_meant_by_an_empty_one() -> None:
    with pytest.raises(ValueError, match="no disk is left"):
        selected(DISKS, ["SCSI 0:0"], ["SCSI 0:0"])

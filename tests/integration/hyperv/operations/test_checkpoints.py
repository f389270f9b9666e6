"""Checkpoints on a lab host over real HTTP, also where answers are lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hypercbt.errors import (
    HostJobError,
    LostReplyError,
)
from hypercbt.hyperv import checkpoints as cp
from hypercbt.hyperv.reference_points import (
    destroy_reference_point,
    list_reference_points,
)
from hypercbt.lab import LabVm, Pace, Quirks
from hypercbt.lab.faults import Drop, FailJob, Fault, Return
from integration.hyperv.backups import MIB
from integration.hyperv.operations.bench import Bench, bench

# --- checkpoints


def test_a_guest_that_cannot_be_made_consistent_says_why_and_can_be_frozen_as_it_is(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    vm.set_consistency(False)

    with pytest.raises(HostJobError) as raised:
        on.create("application")
    assert "0x800423" in str(raised.value).lower()

    assert on.create("crash").kind == "recovery"


def test_checkpoints_of_others_are_told_from_ours(one: tuple[Bench, LabVm]) -> None:
    on, vm = one
    users = vm.checkpoint("mine")
    theirs = vm.recovery_checkpoint("other product")

    ours = on.create()

    found = {
        c.id.lower().partition(":")[2]: c
        for c in cp.list_checkpoints(on.session, vm.id)
    }
    assert found[users].kind == "user"
    assert found[theirs].kind == "recovery"
    assert ours.id.lower().partition(":")[2] not in (users, theirs)
    cp.destroy(on.session, ours, clock=on.time)
    on.merged()
    assert len(cp.list_checkpoints(on.session, vm.id)) == 2


@pytest.mark.parametrize(
    ("call", "do"),
    [
        ("CreateSnapshot", lambda on: on.create()),
        ("ConvertToReferencePoint", lambda on: on.convert(on.create())),
        (
            "DestroySnapshot",
            lambda on: cp.destroy(on.session, on.create(), clock=on.time),
        ),
        (
            "DestroyReferencePoint",
            lambda on: destroy_reference_point(
                on.session, on.convert(on.create()), clock=on.time
            ),
        ),
        (
            "ModifySystemSettings",
            lambda on: cp.rename(on.session, on.create(), "x", clock=on.time),
        ),
    ],
)
def test_an_answer_that_is_lost_changes_nothing_of_the_outcome(
    one: tuple[Bench, LabVm], call: str, do: Callable[[Bench], object]
) -> None:
    on, vm = one
    on.lab.faults.add(Fault(call, Drop(after=True)))

    do(on)

    assert len(on.lab.faults.struck) == 1
    on.merged()
    left = [c.name for c in cp.list_checkpoints(on.session, vm.id)]
    points = list_reference_points(on.session, vm.id)
    assert (len(left), len(points)) == {
        "CreateSnapshot": (1, 0),
        "ConvertToReferencePoint": (0, 1),
        "DestroySnapshot": (0, 0),
        "DestroyReferencePoint": (0, 0),
        "ModifySystemSettings": (1, 0),
    }[call]
    assert on.lab.counts[call] == (2 if call == "ModifySystemSettings" else 1)


def test_a_checkpoint_whose_request_never_arrived_is_not_asked_for_twice(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    on.lab.faults.add(Fault("CreateSnapshot", Drop()))

    with pytest.raises(LostReplyError):
        on.create()

    assert cp.list_checkpoints(on.session, vm.id) == ()


def test_a_deletion_whose_request_never_arrived_is_asked_for_again(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    made = on.create()
    on.lab.faults.add(Fault("DestroySnapshot", Drop()))

    cp.destroy(on.session, made, clock=on.time)

    assert cp.list_checkpoints(on.session, vm.id) == ()


def test_a_busy_machine_is_asked_again(one: tuple[Bench, LabVm]) -> None:
    on, _ = one
    on.lab.faults.add(Fault("CreateSnapshot", Return(32775)))

    on.create()

    assert on.lab.counts["CreateSnapshot"] == 2


def test_a_job_that_the_host_has_forgotten_is_looked_for(tmp_path: Path) -> None:
    with bench(tmp_path, pace=Pace(job_seconds=2, removal_seconds=0.01)) as on:
        on.lab.add_vm("web01", disks=[8 * MIB])

        made = on.create()
        point = on.convert(made)

        assert list_reference_points(on.session, on.web01().id)[0].id == point.id


def test_a_conversion_that_fails_leaves_the_checkpoint(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    made = on.create()
    on.lab.faults.add(
        Fault("ConvertToReferencePoint", FailJob(32768, "Anlage 0x8007052F"))
    )

    with pytest.raises(HostJobError, match="0x8007052F"):
        on.convert(made)

    assert [c.id for c in cp.list_checkpoints(on.session, vm.id)] == [made.id]


def test_bland_jobs_are_asked_for_their_reason(tmp_path: Path) -> None:
    with bench(tmp_path, Quirks(bland_job_errors=True)) as on:
        on.lab.add_vm("web01", disks=[8 * MIB]).set_consistency(False)

        with pytest.raises(HostJobError, match=r"0x800423"):
            on.create("application")

"""Reference points, and which RCT id is whose."""

import pytest

from hypercbt.errors import HostJobError, HostReplyError, LostReplyError
from hypercbt.hyperv.reference_points import (
    ReferencePoint,
    destroy_reference_point,
    list_reference_points,
    pair,
)
from hypercbt.hyperv.values import Answer, Instance, Reference
from unit.hyperv.scripted import (
    DB01,
    WEB01,
    ManualClock,
    ScriptedSession,
    point_reference,
    reference_point,
)

POINT = "4E4E4E4E-0000-4000-8000-000000000001"
DISK_0, DISK_1 = (f"Microsoft:{WEB01}\\A\\0\\{slot}\\L" for slot in (0, 1))
SERVICE = Instance(
    "Msvm_VirtualSystemReferencePointService",
    {
        "CreationClassName": "Msvm_VirtualSystemReferencePointService",
        "Name": "vmrefpt",
        "SystemCreationClassName": None,
        "SystemName": "HV01",
    },
)


def the_point(session: ScriptedSession) -> ReferencePoint:
    (found,) = list_reference_points(session, WEB01.lower())
    return found


def test_the_points_of_a_machine_have_both_keys_as_the_host_spells_them() -> None:
    session = ScriptedSession(
        reference_point(POINT, disks=(DISK_0,), ids=("rctX:a",)),
        reference_point("X", vm=DB01),
    )

    found = the_point(session)

    assert found.reference == point_reference(POINT)
    assert found.vm_id == WEB01.lower()
    assert found.disks == ((DISK_0, "rctX:a"),)
    assert len(session.requests) == 1


def test_parallel_arrays_pair_by_place() -> None:
    assert pair((DISK_0, DISK_1), ("a", "b")) == ((DISK_0, "a"), (DISK_1, "b"))
    assert pair((DISK_0, DISK_1), (None, "b")) == ((DISK_0, None), (DISK_1, "b"))
    assert pair((None, DISK_1), ("a", "b")) == ((DISK_1, "b"),)


def test_an_id_too_few_or_too_many_is_nobodys_unless_the_kinds_tell() -> None:
    nobody = ((DISK_0, None), (DISK_1, None))

    assert pair((DISK_0, DISK_1), ("b",)) == nobody
    assert pair((DISK_0, DISK_1), ()) == nobody
    assert pair((DISK_0, DISK_1), ("a", "b", "c")) == nobody
    assert pair((DISK_0, DISK_1), ("b",), {"a\\0\\1\\l"}) == (
        (DISK_0, None),
        (DISK_1, "b"),
    )
    assert pair((DISK_0, DISK_1), ("b",), {"a\\0\\1\\l", "a\\0\\0\\l"}) == nobody


@pytest.mark.parametrize(
    "point",
    [
        reference_point(POINT, InstanceID=None),
        reference_point(POINT, VirtualDiskIdentifiers=(5,)),
        reference_point(POINT, ResilientChangeTrackingIdentifiers=(True,)),
    ],
)
def test_a_point_that_makes_no_sense_is_not_believed(point: Instance) -> None:
    with pytest.raises(HostReplyError):
        list_reference_points(ScriptedSession(point), WEB01)


def test_a_point_is_destroyed_through_the_service_as_the_host_shows_it() -> None:
    session = ScriptedSession(SERVICE, reference_point(POINT))

    def go(_: object) -> Answer:
        session.remove(f"Microsoft:{POINT}")
        return Answer(0, {})

    session.on("DestroyReferencePoint", go)

    destroy_reference_point(session, the_point(session), clock=ManualClock())

    (call,) = session.calls
    assert call.arguments == {"AffectedReferencePoint": point_reference(POINT)}
    assert call.target == Reference(
        SERVICE.class_name,
        {
            "CreationClassName": SERVICE.class_name,
            "Name": "vmrefpt",
            "SystemName": "HV01",
        },
    )


def test_a_point_that_is_gone_is_no_error() -> None:
    session = ScriptedSession(reference_point(POINT))
    point = the_point(session)
    session.instances.clear()

    destroy_reference_point(session, point, clock=ManualClock())

    assert session.calls == []


def test_a_point_that_cannot_be_destroyed_is_an_error() -> None:
    session = ScriptedSession(reference_point(POINT))
    session.on("DestroyReferencePoint", Answer(32768, {}))

    with pytest.raises(HostJobError, match="destroy the reference point"):
        destroy_reference_point(session, the_point(session), clock=ManualClock())


def test_a_lost_answer_is_looked_at_before_it_is_asked_again() -> None:
    session, clock = ScriptedSession(reference_point(POINT)), ManualClock()
    session.always("DestroyReferencePoint", LostReplyError("broke"))

    with pytest.raises(LostReplyError):
        destroy_reference_point(session, the_point(session), clock=clock)
    assert len(session.calls) == 3
    assert clock.time >= 30

"""A checkpoint becomes a reference point."""

from collections.abc import Callable, Mapping

import pytest

from hypercbt.errors import (
    CheckpointError,
    LostReplyError,
)
from hypercbt.hyperv.checkpoints import (
    convert,
)
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.values import Answer, Instance, Value
from unit.hyperv.checkpointing import LOST, OTHER, POINT, a_host, the_checkpoint, then
from unit.hyperv.scripted import (
    SCSI,
    SNAPSHOT,
    WEB01,
    ManualClock,
    ScriptedSession,
    affected,
    checkpoint,
    job,
    point_reference,
    reference_point,
    settings_reference,
    started,
)
from unit.hyperv.test_checkpoints import POINT_2


def converted(
    session: ScriptedSession, disks: tuple[VmDisk, ...] = ()
) -> ReferencePoint:
    return convert(session, the_checkpoint(session), disks=disks, clock=ManualClock())


def becomes(
    session: ScriptedSession, answer: Answer | Exception, *points: Instance
) -> Callable[[Mapping[str, Value]], Answer]:
    step = then(session, answer, *points)

    def convert_step(arguments: Mapping[str, Value]) -> Answer:
        session.remove(f"Microsoft:{SNAPSHOT}")
        return step(arguments)

    return convert_step


def test_a_checkpoint_becomes_the_reference_point_that_the_job_names() -> None:
    session = a_host()
    session.add(
        checkpoint(),
        reference_point(OTHER),
        job("J", 7),
        affected("J", point_reference(POINT), 5),
    )
    session.on(
        "ConvertToReferencePoint",
        becomes(
            session, started("J"), reference_point(POINT), reference_point(POINT_2)
        ),
    )

    point = converted(session)

    assert point.id == f"Microsoft:{POINT}"
    (call,) = session.calls
    assert call.arguments == {"AffectedSnapshot": settings_reference(SNAPSHOT)}
    assert not call.repeatable


def test_of_two_new_reference_points_without_a_name_neither_is_ours() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on(
        "ConvertToReferencePoint",
        becomes(
            session, Answer(0, {}), reference_point(POINT), reference_point(POINT_2)
        ),
    )

    with pytest.raises(CheckpointError, match="cannot be told"):
        converted(session)


def test_a_lost_conversion_is_looked_for() -> None:
    session = a_host()
    session.add(checkpoint(), reference_point(OTHER))
    session.on(
        "ConvertToReferencePoint", becomes(session, LOST, reference_point(POINT))
    )

    assert converted(session).id == f"Microsoft:{POINT}"
    assert len(session.called("ConvertToReferencePoint")) == 1


def test_while_the_checkpoint_stands_a_new_reference_point_is_not_what_it_became() -> (
    None
):
    session = a_host()
    session.add(checkpoint())
    session.on("ConvertToReferencePoint", then(session, LOST, reference_point(POINT)))

    with pytest.raises(LostReplyError):
        converted(session)


def test_the_kinds_of_the_disks_say_whose_an_id_is() -> None:
    device = f"{SCSI}\\0\\{{}}\\L"
    session = a_host()
    session.add(checkpoint())
    ids = [f"Microsoft:{WEB01}\\{device.format(slot)}" for slot in (0, 1)]
    session.on(
        "ConvertToReferencePoint",
        becomes(
            session,
            Answer(0, {}),
            reference_point(POINT, disks=tuple(ids), ids=("rctX:1",)),
        ),
    )
    old = VmDisk(
        f"Microsoft:{SNAPSHOT}\\{device.format(0)}", "a.vhd", "vhd", "SCSI 0:0"
    )
    new = VmDisk(
        f"Microsoft:{SNAPSHOT}\\{device.format(1)}", "b.vhdx", "vhdx", "SCSI 0:1"
    )

    point = converted(session, (old, new))

    assert point.disks == ((ids[0], None), (ids[1], "rctX:1"))
    assert point.rct_ids == {new.device: "rctX:1"}

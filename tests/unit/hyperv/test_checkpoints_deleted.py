"""Deleting a checkpoint, also where nobody answers."""

from collections.abc import Callable, Mapping

import pytest

from hypercbt.errors import (
    HostFaultError,
    HostJobError,
    JobVanishedError,
    LostReplyError,
)
from hypercbt.hyperv.checkpoints import (
    destroy,
)
from hypercbt.hyperv.values import Answer, Value
from unit.hyperv.checkpointing import LOST, a_host, the_checkpoint
from unit.hyperv.scripted import (
    SNAPSHOT,
    ManualClock,
    ScriptedSession,
    checkpoint,
    job,
    settings_reference,
    started,
)
from unit.hyperv.test_checkpoints_converted import becomes


def destroyed(session: ScriptedSession, clock: ManualClock | None = None) -> None:
    target = the_checkpoint(session)
    destroy(session, target, clock=clock or ManualClock())


def goes(
    session: ScriptedSession, answer: Answer | Exception
) -> Callable[[Mapping[str, Value]], Answer]:
    return becomes(session, answer)


def test_a_checkpoint_is_deleted_by_its_reference() -> None:
    session = a_host()
    session.add(checkpoint(), job("J", 7))
    session.on("DestroySnapshot", goes(session, started("J")))

    destroyed(session)

    assert session.calls[0].arguments == {
        "AffectedSnapshot": settings_reference(SNAPSHOT)
    }


def test_a_checkpoint_that_is_gone_is_not_deleted_again() -> None:
    session = a_host()
    session.add(checkpoint())
    target = the_checkpoint(session)
    session.remove(target.id)

    destroy(session, target, clock=ManualClock())

    assert session.calls == []


@pytest.mark.parametrize("answer", [Answer(4, {}), HostFaultError("no such object")])
def test_a_refusal_for_something_that_is_gone_is_no_error(
    answer: Answer | Exception,
) -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", goes(session, answer))

    destroyed(session)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(32769, {}), HostJobError), (HostFaultError("no"), HostFaultError)],
)
def test_a_refusal_is_an_error_while_it_stands(
    answer: Answer | Exception, error: type[Exception]
) -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", answer)

    with pytest.raises(error):
        destroyed(session)


def test_a_lost_deletion_is_looked_at() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", goes(session, LOST))

    destroyed(session)

    assert len(session.calls) == 1


def test_a_deletion_that_provably_never_arrived_is_asked_for_again() -> None:
    session, clock = a_host(), ManualClock()
    session.add(checkpoint())
    session.on("DestroySnapshot", LOST, goes(session, Answer(0, {})))

    destroyed(session, clock)

    assert len(session.calls) == 2
    assert clock.time >= 10


def test_a_deletion_that_is_always_lost_is_given_up_on() -> None:
    session = a_host()
    session.add(checkpoint())
    session.always("DestroySnapshot", LOST)

    with pytest.raises(LostReplyError):
        destroyed(session)
    assert len(session.calls) == 3


def test_deleted_and_still_there_is_an_error() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", Answer(0, {}))

    with pytest.raises(HostJobError, match="still there"):
        destroyed(session)


def test_a_vanished_job_of_a_deletion_is_looked_at() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", started("J"), started("J"), started("J"))

    with pytest.raises(JobVanishedError):
        destroyed(session)
    assert len(session.called("DestroySnapshot")) == 3

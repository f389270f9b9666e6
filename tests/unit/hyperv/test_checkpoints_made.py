"""Making a recovery checkpoint, also where its answer is lost."""

import pytest

from hypercbt.errors import (
    CheckpointError,
    HostJobError,
    JobUnfinishedError,
    LostReplyError,
)
from hypercbt.hyperv.checkpoints import (
    Level,
    create_checkpoint,
)
from hypercbt.hyperv.machines import find_vm
from hypercbt.hyperv.values import Answer, Instance
from unit.hyperv.checkpointing import LOST, OTHER, POINT, STANDING, a_host, create, then
from unit.hyperv.scripted import (
    SNAPSHOT,
    USER,
    WEB01,
    ManualClock,
    affected,
    checkpoint,
    computer,
    job,
    settings_reference,
    started,
    vm,
    vm_reference,
)
from unit.hyperv.test_checkpoints import POINT_2


@pytest.mark.parametrize(("level", "number"), [("application", 1), ("crash", 2)])
def test_a_recovery_checkpoint_is_asked_for_at_its_level(
    level: Level, number: int
) -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, Answer(0, {}), checkpoint()))

    assert create(session, level=level).id == f"Microsoft:{SNAPSHOT}"

    (call,) = session.calls
    wanted = call.arguments["SnapshotSettings"]
    assert isinstance(wanted, Instance)
    assert dict(wanted.properties) == {
        "ConsistencyLevel": number,
        "IgnoreNonSnapshottableDisks": True,
    }
    assert call.arguments["SnapshotType"] == 32768
    assert call.arguments["AffectedSystem"] == vm_reference(WEB01)
    assert not call.repeatable


def test_of_two_new_ones_the_job_says_which_is_ours() -> None:
    session = a_host()
    session.add(
        job("J", 7),
        affected("J", vm_reference(WEB01), 0),
        affected("OTHER", settings_reference(OTHER), 5),
        affected("J", settings_reference(OTHER), 0),
        affected("j", settings_reference(SNAPSHOT.lower()), 5),
        Instance("Msvm_AffectedJobElement", {"AffectingElement": None}),
    )
    session.on(
        "CreateSnapshot",
        then(session, started("J"), checkpoint(), checkpoint(OTHER)),
    )

    assert create(session).id == f"Microsoft:{SNAPSHOT}"


def test_without_a_word_of_the_job_the_only_new_one_is_ours() -> None:
    session = a_host()
    session.add(job("J", 7), checkpoint(OTHER), checkpoint(POINT, kind=USER))
    session.on(
        "CreateSnapshot",
        then(session, started("J"), checkpoint(), checkpoint(POINT_2, kind=USER)),
    )

    assert create(session, (STANDING.lower(),)).id == f"Microsoft:{SNAPSHOT}"


def test_without_a_word_of_the_job_neither_of_two_new_ones_is_ours() -> None:
    session = a_host()
    session.add(job("J", 7))
    session.on(
        "CreateSnapshot",
        then(session, started("J"), checkpoint(), checkpoint(OTHER)),
    )

    with pytest.raises(CheckpointError, match="cannot be told") as raised:
        create(session)
    assert SNAPSHOT in str(raised.value)
    assert OTHER in str(raised.value)


def test_what_the_job_names_must_be_new_and_a_recovery_checkpoint() -> None:
    session = a_host()
    session.add(
        job("J", 7), checkpoint(OTHER), affected("J", settings_reference(OTHER), 5)
    )
    session.on("CreateSnapshot", then(session, started("J"), checkpoint()))

    with pytest.raises(CheckpointError, match="not there before"):
        create(session, (STANDING,))


def test_done_without_a_checkpoint_is_a_failure() -> None:
    session = a_host()
    session.on("CreateSnapshot", Answer(0, {}))

    with pytest.raises(CheckpointError, match="not there before"):
        create(session)


def test_a_result_that_is_named_at_once_saves_the_question() -> None:
    session = a_host()
    result = {"ResultingSnapshot": settings_reference(SNAPSHOT)}
    session.on(
        "CreateSnapshot",
        then(session, Answer(0, result), checkpoint(), checkpoint(OTHER)),
    )

    assert create(session).id == f"Microsoft:{SNAPSHOT}"
    assert "Enumerate Msvm_AffectedJobElement" not in session.requests


def test_a_failed_job_is_a_failure_with_the_hosts_words() -> None:
    session = a_host()
    session.add(job("J", 10, ErrorCode=32768, ErrorDescription="VSS 0x800423F2"))
    session.on("CreateSnapshot", started("J"))
    session.on("GetErrorEx", Answer(0, {"Errors": None}))

    with pytest.raises(HostJobError, match="checkpoint of web01: VSS 0x800423F2"):
        create(session)


def test_a_busy_machine_is_asked_again() -> None:
    session = a_host()
    session.on("CreateSnapshot", Answer(32775, {}))
    session.on("CreateSnapshot", then(session, Answer(0, {}), checkpoint()))

    assert create(session).id == f"Microsoft:{SNAPSHOT}"


# --- lost answers


def test_a_lost_answer_is_looked_for_and_not_asked_for_again() -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, LOST, checkpoint()))

    assert create(session).id == f"Microsoft:{SNAPSHOT}"
    assert len(session.called("CreateSnapshot")) == 1


def test_a_vanished_job_is_looked_for_too() -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, started("J"), checkpoint()))

    assert create(session).id == f"Microsoft:{SNAPSHOT}"


def test_a_checkpoint_that_is_still_being_made_is_waited_for() -> None:
    session, clock = a_host(), ManualClock()
    busy = computer(WEB01, "web01", OperationalStatus=(2, 32768))
    session.on("CreateSnapshot", then(session, LOST, checkpoint(), checkpoint(OTHER)))
    machine = find_vm(session, "web01")
    session.on_get("Msvm_ComputerSystem", *[busy] * 30)

    made = create_checkpoint(
        session, machine, level="crash", before=(STANDING,), clock=clock
    )

    assert made.id == f"Microsoft:{SNAPSHOT}"
    assert session.requests.count("Get Msvm_ComputerSystem") == 31
    assert clock.time > 20


def test_the_quiet_seconds_begin_when_the_host_has_ended_its_work() -> None:
    session, clock = a_host(), ManualClock()
    machine = find_vm(session, "web01")
    busy = computer(WEB01, "web01", OperationalStatus=(2, 32772))
    session.on("CreateSnapshot", LOST)
    session.on_get("Msvm_ComputerSystem", *[busy] * 30)
    # Nothing is listed while the host works, and five quiet looks see nothing yet.
    session.on_query("Msvm_VirtualSystemSettingData", *[[]] * 5)
    session.add(checkpoint())

    made = create_checkpoint(session, machine, level="crash", before=(), clock=clock)

    assert made.id == f"Microsoft:{SNAPSHOT}"
    assert clock.time > 25


def test_a_request_that_never_arrived_is_lost_after_ten_quiet_seconds() -> None:
    session, clock = a_host(), ManualClock()
    session.on("CreateSnapshot", LOST)

    with pytest.raises(LostReplyError):
        create(session, clock=clock)

    assert 10 <= clock.time < 12
    assert len(session.called("CreateSnapshot")) == 1


def test_after_a_lost_answer_neither_of_two_new_ones_is_ours() -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, LOST, checkpoint(), checkpoint(OTHER)))

    with pytest.raises(CheckpointError, match="cannot be told"):
        create(session)


def test_a_machine_that_stays_busy_is_given_up_on() -> None:
    session, clock = a_host(), ManualClock()
    machine = find_vm(session, "web01")
    session.instances = vm(WEB01, "web01", OperationalStatus=(2, 32768))
    session.on("CreateSnapshot", LOST)

    with pytest.raises(LostReplyError):
        create_checkpoint(session, machine, level="crash", before=(), clock=clock)
    assert clock.time == pytest.approx(900)


def test_a_job_that_does_not_end_says_so() -> None:
    session = a_host()
    session.add(job("J", 4))
    session.on("CreateSnapshot", started("J"))

    with pytest.raises(JobUnfinishedError):
        create(session)

"""What becomes of a method that takes a host its time."""

import pytest

from hypercbt.errors import (
    HostFaultError,
    HostJobError,
    HostReplyError,
    HostUnreachableError,
    JobUnfinishedError,
    JobVanishedError,
)
from hypercbt.hyperv.jobs import Job, OnPoll, code_text, finish, run
from hypercbt.hyperv.values import Answer, Instance, Reference
from unit.hyperv.scripted import ManualClock, ScriptedSession, job, started

SERVICE = Reference("Msvm_X", {"CreationClassName": "Msvm_X"})


def finished(
    session: ScriptedSession,
    answer: Answer,
    clock: ManualClock | None = None,
    on_poll: OnPoll | None = None,
    timeout_seconds: float = 60,
) -> Job:
    return finish(
        session,
        answer,
        what="do it",
        timeout_seconds=timeout_seconds,
        on_poll=on_poll,
        clock=clock or ManualClock(),
    )


def test_zero_is_done_without_a_job() -> None:
    session = ScriptedSession()

    assert finished(session, Answer(0, {"X": 1})) == Job(None, {"X": 1})
    assert session.requests == []


@pytest.mark.parametrize("state", [2, 3, 4, 5, 6])
def test_states_two_to_six_are_not_the_end(state: int) -> None:
    session = ScriptedSession()
    session.on_get("Msvm_ConcreteJob", job("J", state), job("J", 7))

    assert finished(session, started("J")).warning is None
    assert session.requests == ["Get Msvm_ConcreteJob"] * 2


def test_a_job_is_polled_by_the_class_of_its_reference() -> None:
    session = ScriptedSession(job("J", 7, "Msvm_StorageJob"))

    finished(session, started("J", "Msvm_StorageJob"))

    assert session.requests == ["Get Msvm_StorageJob"]


def test_done_with_warnings_is_done_and_says_what_the_host_said() -> None:
    session = ScriptedSession(job("J", 32768, ErrorDescription="Hinweis"))
    session.on("GetErrorEx", Answer(0, {"Errors": None}))

    assert finished(session, started("J")).warning == "Hinweis"


@pytest.mark.parametrize("state", [8, 9, 10, 11, 0, 99])
def test_other_states_are_failures(state: int) -> None:
    session = ScriptedSession(job("J", state))
    session.on("GetErrorEx", Answer(0, {"Errors": None}))

    with pytest.raises(HostJobError, match=f"could not do it: .* state {state}"):
        finished(session, started("J"))


def test_a_failure_says_what_geterrorex_says_and_then_what_the_job_says() -> None:
    session = ScriptedSession(
        job("J", 10, ErrorCode=32768, ErrorDescription="Fehler\r\nallgemein")
    )
    why = Instance("Msvm_Error", {"Message": "VSS meldet 0x800423F2"})
    session.on("GetErrorEx", Answer(0, {"Errors": (why,)}))

    with pytest.raises(HostJobError) as raised:
        finished(session, started("J"))

    assert str(raised.value) == (
        "the host could not do it: VSS meldet 0x800423F2; Fehler allgemein (failed (32768))"
    )
    assert raised.value.code == 32768


def test_codes_within_a_text_get_their_names() -> None:
    session = ScriptedSession(job("J", 10, ErrorDescription="Fehler 0xC03A0030."))
    session.on("GetErrorEx", HostFaultError("no such method"))

    with pytest.raises(HostJobError, match="VHD_MISSING_CHANGE_TRACKING_INFORMATION"):
        finished(session, started("J"))


def test_a_job_that_is_gone_says_nothing_of_what_it_did() -> None:
    session = ScriptedSession()
    session.on_get("Msvm_ConcreteJob", job("J", 4), None)

    with pytest.raises(JobVanishedError):
        finished(session, started("J"))


def test_a_refusal_is_named() -> None:
    with pytest.raises(HostJobError, match="would not do it: access denied") as raised:
        finished(ScriptedSession(), Answer(32769, {}))

    assert raised.value.code == 32769


@pytest.mark.parametrize("job_value", [None, "J", 7])
def test_a_started_job_without_a_reference_makes_no_sense(
    job_value: str | int | None,
) -> None:
    with pytest.raises(HostReplyError):
        finished(ScriptedSession(), Answer(4096, {"Job": job_value}))


@pytest.mark.parametrize("state", [None, "7", True])
def test_a_job_without_a_state_makes_no_sense(state: str | bool | None) -> None:
    session = ScriptedSession(
        Instance("Msvm_ConcreteJob", {"InstanceID": "J", "JobState": state})
    )

    with pytest.raises(HostReplyError, match="JobState"):
        finished(session, started("J"))


def test_the_pauses_grow_from_a_tenth_of_a_second_to_one() -> None:
    session, clock = ScriptedSession(), ManualClock()
    session.on_get("Msvm_ConcreteJob", *[job("J", 4)] * 12, job("J", 7))

    finished(session, started("J"), clock)

    assert clock.pauses[0] == pytest.approx(0.1)
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[-1] == 1.0


def test_a_job_that_does_not_end_is_given_up_on_in_time() -> None:
    session, clock = ScriptedSession(job("J", 4)), ManualClock()

    with pytest.raises(JobUnfinishedError):
        finished(session, started("J"), clock, timeout_seconds=5)

    assert clock.time == pytest.approx(5)


def test_four_lost_polls_in_a_row_do_no_harm_and_five_do() -> None:
    lost = [HostUnreachableError("gone")] * 4
    session = ScriptedSession()
    session.on_get("Msvm_ConcreteJob", *lost, job("J", 4), *lost, job("J", 7))
    finished(session, started("J"))

    session.on_get("Msvm_ConcreteJob", *lost, HostFaultError("busy"))
    with pytest.raises(HostFaultError):
        finished(session, started("J"))


def test_what_a_poll_raises_ends_the_waiting() -> None:
    session = ScriptedSession(job("J", 4, PercentComplete=37))
    seen: list[int | None] = []

    def stop(percent: int | None) -> None:
        seen.append(percent)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(session, started("J"), on_poll=stop)
    assert seen == [37]


def test_an_invalid_state_is_asked_again_until_the_machine_is_ready() -> None:
    session, clock = ScriptedSession(), ManualClock()
    session.on("Do", Answer(32775, {}), Answer(32775, {}), Answer(0, {}))

    run(session, SERVICE, "Do", {}, what="do it", clock=clock)

    assert len(session.called("Do")) == 3
    assert len(clock.pauses) == 2


def test_an_invalid_state_that_stays_is_a_refusal_in_the_end() -> None:
    session, clock = ScriptedSession(), ManualClock()
    session.always("Do", Answer(32775, {}))

    with pytest.raises(HostJobError, match="invalid state") as raised:
        run(session, SERVICE, "Do", {}, what="do it", ready_seconds=3, clock=clock)

    assert raised.value.code == 32775
    assert clock.time == pytest.approx(3)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (32775, "invalid state for this operation (32775)"),
        (4, "invalid parameter (4)"),
        (99, "code 99"),
        (0xC03A0022, "CTLOG_VHD_CHANGED_OFFLINE (0xc03a0022)"),
        (0xC03A0022 - (1 << 32), "CTLOG_VHD_CHANGED_OFFLINE (0xc03a0022)"),
    ],
)
def test_codes_are_named(code: int, text: str) -> None:
    assert code_text(code) == text

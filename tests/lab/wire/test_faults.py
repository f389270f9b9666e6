"""What goes wrong on purpose: with which request, how often, and before or after it is done."""

import pytest

from hypercbt.lab.faults import (
    TIMEOUT,
    Answer,
    Asked,
    Drop,
    FailJob,
    Fault,
    FaultPlan,
    Refuse,
    Return,
    Run,
    Unauthorized,
)
from hypercbt.lab.wire.service import Reply
from lab.wire.asking import GET, V2, Asker, envelope

JOB = envelope(GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"})
MACHINES = Asked("Enumerate", "Msvm_ComputerSystem")
SNAPSHOT = Asked("Invoke", "Msvm_VirtualSystemSnapshotService", "CreateSnapshot")


def struck(plan: FaultPlan, asked: Asked, times: int) -> list[bool]:
    return [plan.take(asked) is not None for _ in range(times)]


@pytest.mark.parametrize(
    "call",
    ["*", "Invoke", "Invoke Msvm_VirtualSystemSnapshotService", "CreateSnapshot"],
)
def test_a_request_goes_by_several_names(call: str) -> None:
    plan = FaultPlan()
    plan.add(Fault(call, TIMEOUT))
    assert plan.take(SNAPSHOT) is not None


@pytest.mark.parametrize(
    "call", ["Get", "Enumerate Msvm_Other", "DestroySnapshot", "Msvm_ComputerSystem"]
)
def test_and_not_by_others(call: str) -> None:
    plan = FaultPlan()
    plan.add(Fault(call, TIMEOUT))
    assert plan.take(MACHINES) is None
    assert plan.struck == ()


def test_a_fault_strikes_the_nth_and_no_other() -> None:
    plan = FaultPlan()
    plan.add(Fault("Enumerate Msvm_ComputerSystem", TIMEOUT, nth=3))
    assert plan.take(SNAPSHOT) is None
    assert struck(plan, MACHINES, 5) == [False, False, True, False, False]


def test_or_several_in_a_row_or_all_from_then_on() -> None:
    plan = FaultPlan()
    plan.add(Fault("Enumerate", TIMEOUT, nth=2, times=2))
    assert struck(plan, MACHINES, 5) == [False, True, True, False, False]
    plan.add(Fault("Enumerate", TIMEOUT, nth=2, times=None))
    assert struck(plan, MACHINES, 4) == [False, True, True, True]


def test_a_fault_counts_from_where_it_was_added() -> None:
    plan = FaultPlan()
    plan.take(MACHINES)
    plan.add(Fault("*", TIMEOUT))
    assert plan.take(MACHINES) is not None


def test_two_faults_count_each_for_itself_and_the_first_wins() -> None:
    plan = FaultPlan()
    first = plan.add(Fault("*", TIMEOUT, nth=2))
    second = plan.add(Fault("Enumerate", Drop(), nth=2, times=2))
    assert [plan.take(MACHINES) for _ in range(3)] == [None, first, second]
    assert plan.struck == ((MACHINES, first), (MACHINES, second))


@pytest.mark.parametrize("what", [Return(32775), FailJob(1, "x")])
def test_what_only_a_method_can_do_waits_for_one(what: Return | FailJob) -> None:
    plan = FaultPlan()
    fault = plan.add(Fault("*", what))
    assert plan.take(MACHINES) is None
    assert plan.take(SNAPSHOT) == fault


def test_a_plan_can_be_cleared() -> None:
    plan = FaultPlan()
    plan.add(Fault("*", TIMEOUT))
    plan.clear()
    assert plan.take(MACHINES) is None


def test_requests_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Fault("*", TIMEOUT, nth=0)
    with pytest.raises(ValueError, match="from 1"):
        Fault("*", TIMEOUT, times=0)


def asker(fault: Fault) -> Asker:
    made = Asker()
    made.plan.add(fault)
    return made


def test_a_timeout_is_the_fault_that_clients_know() -> None:
    made = asker(Fault("Get", TIMEOUT))
    assert made.send(JOB).fault == ("w:TimedOut", 2150858793)
    assert made.tiny.asked_equal == []
    assert made.send(JOB).status == 200


def test_any_fault_can_be_had() -> None:
    made = asker(Fault("*", Refuse("w:Concurrency", 7, provider_code=9)))
    said = made.send(JOB)
    assert said.fault == ("w:Concurrency", 7)
    assert said.told("e:error_Code") == "9"


def test_a_drop_before_does_nothing_and_a_drop_after_has_done_it() -> None:
    made = asker(Fault("*", Drop()))
    assert made.service.answer(JOB, "lab") == Reply(0, None)
    assert made.tiny.asked_equal == []
    made.plan.add(Fault("*", Drop(after=True)))
    assert made.service.answer(JOB, "lab") == Reply(0, None)
    assert made.tiny.asked_equal == [{}]
    assert [record.status for record in made.service.book.records] == [None, None]


def test_a_host_may_forget_who_asks() -> None:
    made = asker(Fault("*", Unauthorized()))
    assert made.service.answer(JOB, "lab") == Reply(401, b"", forget=True)
    assert made.tiny.asked_equal == []


def test_an_answer_may_be_anything() -> None:
    made = asker(Fault("*", Answer(b"<html>", 503)))
    assert made.service.answer(JOB, "lab") == Reply(503, b"<html>")


@pytest.mark.parametrize("after", [False, True])
def test_something_may_happen_before_or_after(after: bool) -> None:
    made = Asker()
    seen: list[int] = []
    happens = Run(lambda: seen.append(len(made.tiny.asked_equal)), after=after)
    made.plan.add(Fault("Get", happens))
    assert made.send(JOB).status == 200
    assert seen == [int(after)]


def test_a_callback_that_fails_is_remembered() -> None:
    def fail() -> None:
        raise RuntimeError("the callback")

    for after in (False, True):
        made = asker(Fault("*", Run(fail, after=after)))
        made.service.answer(JOB, "lab")
        assert [str(error) for error in made.service.book.errors] == ["the callback"]


def test_requests_are_counted_by_all_their_names_and_recorded() -> None:
    made = Asker()
    context = made.enumerate("Msvm_ComputerSystem", "").context
    assert context is not None
    made.pull(context)
    made.query("SELECT * FROM Msvm_StorageJob")
    made.invoke("CreateSnapshot")
    assert made.service.book.counts == {
        "*": 4,
        "Enumerate": 2,
        "Enumerate Msvm_ComputerSystem": 1,
        "Enumerate Msvm_StorageJob": 1,
        "Pull": 1,
        "Pull Msvm_ComputerSystem": 1,
        "Invoke": 1,
        "Invoke Msvm_ImageManagementService": 1,
        "CreateSnapshot": 1,
    }
    assert [str(one.asked) for one in made.service.book.records] == [
        "Enumerate Msvm_ComputerSystem",
        "Pull Msvm_ComputerSystem",
        "Enumerate Msvm_StorageJob",
        "CreateSnapshot",
    ]
    assert [one.number for one in made.service.book.records] == [1, 2, 3, 4]

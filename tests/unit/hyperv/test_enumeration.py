from itertools import islice

import pytest

from hypercbt.errors import HostFaultError, HostReplyError, LostReplyError
from hypercbt.hyperv import enumeration
from hypercbt.hyperv.session import Session
from unit.hyperv.channel import Said, conversation, fault, machine, page

EXPIRED = fault("n:InvalidEnumerationContext", 2150858779)
TOO_LARGE = fault("w:EncodingLimit", 2150858805)


def names(session: Session) -> list[object]:
    found = session.enumerate("Msvm_ComputerSystem")
    return [instance.properties["Name"] for instance in found]


def begin(*labels: str, context: str | None = "c") -> str:
    return page(*map(machine, labels), context=context, kind="Enumerate")


def more(*labels: str, context: str | None = None) -> str:
    return page(*map(machine, labels), context=context)


@pytest.mark.parametrize(
    "answers",
    [
        [begin("A", "B", "C", context=None)],
        [begin(), more("A", "B", "C")],
        [begin(), more("A", context="c"), more("B", context="d"), more("C")],
        [begin("A"), more("B", context="c"), more("C", context="c"), more()],
        [begin("A"), more(context="c"), more("B", "C")],
    ],
    ids=["at once", "one pull", "one each", "empty last", "empty between"],
)
def test_all_comes_however_a_host_pages(answers: list[Said]) -> None:
    session, channel = conversation(*answers)

    assert names(session) == ["A", "B", "C"]
    assert channel.answers == []


def test_each_pull_names_the_context_that_came_last() -> None:
    session, channel = conversation(
        begin("A", context="first"), more("B", context="second"), more("C")
    )

    names(session)

    assert [r.what.split()[0] for r in channel.requests] == [
        "Enumerate",
        "Pull",
        "Pull",
    ]
    assert ">first<" in channel.requests[1].text
    assert ">second<" in channel.requests[2].text


@pytest.mark.parametrize(
    "said", [EXPIRED, LostReplyError("x"), fault("w:TimedOut", 2150858793)]
)
def test_an_expired_context_and_a_lost_page_begin_anew_and_nothing_comes_twice_or_is_missed(
    said: Said,
) -> None:
    # Asked again with the same context, the host would go on after the page that was lost.
    session, channel = conversation(
        begin("A", "B"), said, begin("B", "A"), more("C", "D")
    )

    assert names(session) == ["A", "B", "C", "D"]
    assert [r.what.split()[0] for r in channel.requests] == [
        "Enumerate",
        "Pull",
        "Enumerate",
        "Pull",
    ]


def test_after_a_new_beginning_the_rest_is_fetched_before_more_is_given_out() -> None:
    session, channel = conversation(begin("A"), EXPIRED, begin("A", "B"), more("C"))
    found = session.enumerate("Msvm_ComputerSystem")

    next(found)
    next(found)

    assert channel.answers == []


def test_new_beginnings_come_to_an_end() -> None:
    session, channel = conversation(*[begin("A"), EXPIRED] * 50)

    with pytest.raises(HostFaultError) as caught:
        names(session)

    assert caught.value.subcode == "InvalidEnumerationContext"
    assert len(channel.requests) == 18


def test_pages_that_are_too_large_are_halved_and_that_is_remembered() -> None:
    session, channel = conversation(
        TOO_LARGE, begin("A"), TOO_LARGE, begin("A"), more("B"), begin(context=None)
    )

    assert names(session) == ["A", "B"]
    assert names(session) == []
    sizes = [
        r.text.partition("MaxElements>")[2].partition("<")[0] for r in channel.requests
    ]
    assert sizes == ["50", "25", "25", "12", "12", "12"]


def test_one_instance_that_is_too_large_is_the_hosts_fault() -> None:
    session, channel = conversation(*[TOO_LARGE] * 20)

    with pytest.raises(HostFaultError) as caught:
        names(session)

    assert caught.value.subcode == "EncodingLimit"
    assert "MaxElements>1<" in channel.requests[-1].text


def test_pages_without_items_come_to_an_end() -> None:
    session, channel = conversation(begin(), *[more(context="c")] * 50)

    with pytest.raises(HostReplyError, match="does not come to an end"):
        names(session)
    assert len(channel.requests) == 4


def test_instances_without_end_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enumeration, "_MAX_ITEMS", 5)
    session, _ = conversation(begin("A"), *[more("B", context="c")] * 50)

    with pytest.raises(HostReplyError, match="does not come to an end"):
        names(session)


def test_who_has_seen_enough_lets_go_of_the_enumeration() -> None:
    session, channel = conversation(begin("A", "B"), page(end=True))
    found = session.enumerate("Msvm_ComputerSystem")

    assert len(list(islice(found, 1))) == 1
    found.close()  # type: ignore[attr-defined]

    assert channel.requests[-1].what == "Release Msvm_ComputerSystem"
    assert ">c<" in channel.requests[-1].text


def test_a_query_that_is_not_read_to_its_end_is_let_go_of_too() -> None:
    session, channel = conversation(begin("A", "B"), page(end=True))
    found = session.query("Msvm_ComputerSystem", where={"Name": "A"})

    next(found)
    del found

    assert channel.requests[-1].what == "Release Msvm_ComputerSystem"


def test_letting_go_is_no_error_whatever_the_host_says_of_it() -> None:
    session, channel = conversation(begin("A", "B"), LostReplyError("x"))
    found = session.enumerate("Msvm_ComputerSystem")

    next(found)
    del found

    assert len(channel.requests) == 2


def test_what_is_at_its_end_is_not_let_go_of() -> None:
    session, channel = conversation(begin("A", context=None))
    found = session.enumerate("Msvm_ComputerSystem")

    next(found)
    del found

    assert len(channel.requests) == 1


def test_nothing_is_asked_of_a_closed_session_to_let_go() -> None:
    session, channel = conversation(begin("A", "B"))
    found = session.enumerate("Msvm_ComputerSystem")

    next(found)
    session.close()
    del found

    assert len(channel.requests) == 1

import pytest

from hypercbt.errors import (
    HostAccessDeniedError,
    HostAuthenticationError,
    HostCertificateError,
    HostFaultError,
    HostReplyError,
    HostUnreachableError,
    HyperVMissingError,
    LostReplyError,
)
from hypercbt.hyperv.envelope import Request
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Answer, Instance, Reference
from unit.hyperv.channel import (
    ANONYMOUS,
    V2,
    Said,
    conversation,
    enveloped,
    fault,
    machine,
    output,
    page,
)

VM = Reference("Msvm_ComputerSystem", {"Name": "A"})
SNAPSHOTS = Reference(
    "Msvm_VirtualSystemSnapshotService",
    {"CreationClassName": "Msvm_VirtualSystemSnapshotService"},
)
IMAGES = Reference(
    "Msvm_ImageManagementService", {"CreationClassName": "Msvm_ImageManagementService"}
)
GONE = fault("a:DestinationUnreachable", 2150858752)
TIMED_OUT = fault("w:TimedOut", 2150858793)
BUSY = fault("w:QuotaLimit", 2150858815)
JOB = (
    f"<p:Job><a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
    f"<w:ResourceURI>{V2}/Msvm_ConcreteJob</w:ResourceURI><w:SelectorSet>"
    '<w:Selector Name="InstanceID">J</w:Selector></w:SelectorSet></a:ReferenceParameters></p:Job>'
)


def test_it_is_what_the_rest_of_the_package_asks() -> None:
    session: Session = conversation()[0]

    assert session.host == "hv01"


def test_get_returns_the_instance_or_none() -> None:
    session, _ = conversation(machine("A"), GONE, fault("", 1, 0x80041002))

    assert session.get(VM) == Instance("Msvm_ComputerSystem", {"Name": "A"})
    assert session.get(VM) is None
    assert session.get(VM) is None


def test_wrong_selectors_are_no_instance_that_is_gone() -> None:
    session, _ = conversation(fault("w:InvalidSelectors", 0x8033805B))

    with pytest.raises(HostFaultError):
        session.get(VM)


def test_a_missing_namespace_is_no_instance_that_is_gone() -> None:
    session, _ = conversation(fault("a:DestinationUnreachable", None, 2150858778))

    with pytest.raises(HyperVMissingError):
        session.get(VM)


def test_an_empty_body_is_refused() -> None:
    session, _ = conversation("")

    with pytest.raises(HostReplyError, match="empty"):
        session.get(VM)


def test_a_method_gives_its_return_value_and_what_is_declared() -> None:
    session, channel = conversation(
        output("CreateSnapshot", f'{JOB}<p:ResultingSnapshot xsi:nil="true"/>', 4096)
    )

    answer = session.invoke(SNAPSHOTS, "CreateSnapshot", {"AffectedSystem": VM})

    job = Reference("Msvm_ConcreteJob", {"InstanceID": "J"})
    assert answer == Answer(4096, {"Job": job, "ResultingSnapshot": None})
    assert channel.requests[0].what == "CreateSnapshot"


def test_a_return_value_is_no_fault() -> None:
    session, _ = conversation(output("DestroySnapshot", value=32775))

    assert session.invoke(SNAPSHOTS, "DestroySnapshot", {}).return_value == 32775


def test_a_method_that_is_not_declared_is_misuse() -> None:
    session, channel = conversation()

    with pytest.raises(ValueError, match="no declared method"):
        session.invoke(SNAPSHOTS, "Nonsense", {})
    with pytest.raises(ValueError, match="none of the declared"):
        session.invoke(Reference("Msvm_Unheard", {}), "X", {})
    assert channel.requests == []


@pytest.mark.parametrize("error", [LostReplyError("x"), HostUnreachableError("x")])
def test_what_only_asks_is_repeated_with_a_message_id_of_its_own(
    error: Exception,
) -> None:
    session, channel = conversation(GONE, error, error, machine("A"))
    session.get(VM)

    assert session.get(VM) is not None
    assert len({request.message_id for request in channel.requests}) == 4


def test_what_changes_something_is_not_sent_twice() -> None:
    session, channel = conversation(LostReplyError("x"), output("DestroySnapshot"))

    with pytest.raises(LostReplyError):
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})
    assert len(channel.requests) == 1


def test_what_was_surely_not_sent_is_sent_again() -> None:
    session, channel = conversation(
        HostUnreachableError("x"), output("DestroySnapshot")
    )

    assert session.invoke(SNAPSHOTS, "DestroySnapshot", {}).return_value == 0
    assert len(channel.requests) == 2


def test_a_method_that_only_asks_is_repeated() -> None:
    session, channel = conversation(
        LostReplyError("x"), TIMED_OUT, output("GetVirtualHardDiskState")
    )

    session.invoke(IMAGES, "GetVirtualHardDiskState", {"Path": "x"}, repeatable=True)
    assert len(channel.requests) == 3


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (HostUnreachableError("x"), HostUnreachableError),
        (LostReplyError("x"), LostReplyError),
        (TIMED_OUT, HostFaultError),
        (BUSY, HostFaultError),
    ],
)
def test_repeating_comes_to_an_end(said: Said, kind: type[Exception]) -> None:
    session, channel = conversation(GONE, *[said] * 20)
    session.get(VM)

    with pytest.raises(kind) as caught:
        session.get(VM)
    assert type(caught.value) is kind
    assert len(channel.requests) == 1 + 5


def test_operations_that_take_too_long_are_not_repeated_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def slowly(request: Request) -> bytes:
        nonlocal now
        now += 61
        return enveloped(TIMED_OUT, request.message_id)

    session, channel = conversation(*[slowly] * 20)
    monkeypatch.setattr("tenacity.time.monotonic", lambda: now)

    with pytest.raises(HostFaultError):
        session.get(VM)
    assert len(channel.requests) == 3


def test_a_host_that_never_answered_is_asked_twice() -> None:
    session, channel = conversation(*[HostUnreachableError("x")] * 20)

    with pytest.raises(HostUnreachableError):
        session.get(VM)
    assert len(channel.requests) == 2


@pytest.mark.parametrize(
    "error", [HostCertificateError("x"), HostAuthenticationError("x")]
)
def test_what_will_not_get_better_is_not_repeated(error: Exception) -> None:
    session, channel = conversation(error, machine("A"))

    with pytest.raises(type(error)):
        session.get(VM)
    assert len(channel.requests) == 1


def test_a_host_that_is_too_busy_is_asked_again_even_to_change_something() -> None:
    session, channel = conversation(BUSY, output("DestroySnapshot"))

    assert session.invoke(SNAPSHOTS, "DestroySnapshot", {}).return_value == 0
    assert len(channel.requests) == 2


def test_a_change_that_took_too_long_may_have_been_done() -> None:
    session, channel = conversation(TIMED_OUT)

    with pytest.raises(LostReplyError):
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})
    assert len(channel.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        "",
        output("CreateSnapshot"),
        f'<p:DestroySnapshot_OUTPUT xmlns:p="{V2}/X"/>',
        f'<p:DestroySnapshot_OUTPUT xmlns:p="{V2}/X"><p:ReturnValue>-1</p:ReturnValue></p:DestroySnapshot_OUTPUT>',
        lambda request: b"<nothing/>",
        lambda request: b"<!DOCTYPE x><x/>",
        lambda request: enveloped(output("DestroySnapshot"), "uuid:other"),
    ],
)
def test_an_answer_that_makes_no_sense_may_mean_that_it_was_done(said: Said) -> None:
    session, _ = conversation(said)

    with pytest.raises(LostReplyError, match="may have been done"):
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})


def test_an_answer_that_makes_no_sense_to_a_question_is_a_reply_error() -> None:
    session, channel = conversation(lambda request: b"<nothing/>")

    with pytest.raises(HostReplyError):
        session.get(VM)
    assert len(channel.requests) == 1


def test_a_refused_method_is_a_fault_and_surely_not_lost() -> None:
    session, _ = conversation(
        fault("w:AccessDenied", 5), fault("w:SchemaValidationError", 1)
    )

    with pytest.raises(HostAccessDeniedError):
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})
    with pytest.raises(HostFaultError) as caught:
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})
    assert caught.value.subcode == "SchemaValidationError"


def test_a_closed_session_asks_no_more() -> None:
    session, channel = conversation(machine("A"))

    with session:
        pass

    assert channel.closed
    with pytest.raises(ValueError, match="closed"):
        session.get(VM)
    assert channel.requests == []


def names(session: Session, **where: str) -> list[object]:
    found = session.query("Msvm_ComputerSystem", where=where)
    return [instance.properties["Name"] for instance in found]


def test_a_query_is_matched_here_too() -> None:
    session, channel = conversation(page(machine("a"), machine("b"), kind="Enumerate"))

    assert names(session, Name="A") == ["a"]
    assert "WHERE Name = 'A'" in channel.requests[0].text


@pytest.mark.parametrize(
    "refusal",
    [
        fault("w:CannotProcessFilter", 2150859042),
        fault("n:FilteringNotSupported", 1),
        fault("", None, 2150858778),
    ],
)
def test_where_filters_are_refused_all_are_enumerated_and_that_is_remembered(
    refusal: str,
) -> None:
    everything = page(machine("A"), machine("B"), kind="Enumerate")
    session, channel = conversation(refusal, everything, everything)

    assert names(session, Name="A") == ["A"]
    assert names(session, Name="B") == ["B"]
    assert ["Filter" in request.text for request in channel.requests] == [
        True,
        False,
        False,
    ]


def test_a_host_without_the_namespace_refuses_both_and_has_no_hyper_v() -> None:
    missing = fault("", None, 2150858778)
    session, channel = conversation(missing, missing, missing, missing)

    for _ in range(2):
        with pytest.raises(HyperVMissingError):
            names(session, Name="A")
    # Nothing was learned of filters: the second query has tried one again.
    assert ["Filter" in r.text for r in channel.requests] == [True, False] * 2


def test_another_fault_of_a_query_is_not_taken_for_the_filter() -> None:
    session, channel = conversation(fault("w:AccessDenied", 5))

    with pytest.raises(HostAccessDeniedError):
        names(session, Name="A")
    assert len(channel.requests) == 1

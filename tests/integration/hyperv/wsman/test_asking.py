"""Asking and calling over a real connection, page by page."""

import threading
from pathlib import Path

import pytest

from hypercbt.errors import (
    HostFaultError,
)
from hypercbt.hyperv.classes import CIMV2
from hypercbt.hyperv.envelope import Request
from hypercbt.hyperv.values import Instance, Reference
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.wire.server import WireOptions, WireServer
from integration.hyperv.wsman.asking import LAB, SERVICE, ask, change
from lab.wire.tiny import IDS, Tiny, machines

WEB01 = Reference(
    "Msvm_ComputerSystem",
    {"CreationClassName": "Msvm_ComputerSystem", "Name": IDS[0]},
)


def test_a_machine_is_got_enumerated_and_asked_for(session: WsmanSession) -> None:
    got = session.get(WEB01)
    everything = list(session.enumerate("Msvm_ComputerSystem"))
    asked = list(
        session.query("Msvm_ComputerSystem", where={"ElementName": "web<02> & \\ 'b'"})
    )
    begun = list(
        session.query("Msvm_ComputerSystem", prefix={"Name": IDS[1][:8].lower()})
    )

    assert got is not None
    assert got.properties["ElementName"] == "web01"
    assert got.properties["OperationalStatus"] == (2,)
    assert sorted(str(i.properties["Name"]) for i in everything) == sorted(
        ["LAB1", *IDS]
    )
    assert [i.properties["Name"] for i in asked] == [IDS[1]]
    assert [i.properties["OperationalStatus"] for i in begun] == [(2, 32772)]


def test_what_is_not_there_is_none(session: WsmanSession) -> None:
    assert session.get(Reference("Msvm_StorageJob", {"InstanceID": "gone"})) is None
    job = session.get(Reference("Msvm_StorageJob", {"InstanceID": "J1"}))
    assert job is not None
    assert job.properties["JobState"] == 4


def test_the_hosts_own_system_is_in_another_namespace(session: WsmanSession) -> None:
    found = list(session.enumerate("Win32_OperatingSystem", namespace=CIMV2))

    assert [i.properties["Name"] for i in found] == ["Lab"]


def test_arguments_arrive_as_they_were_meant(tiny: Tiny, session: WsmanSession) -> None:
    tiny.answer = {
        "ReturnValue": 0,
        "ProcessedByteLength": 1 << 41,
        "ChangedByteOffsets": (0, 1 << 40),
        "ChangedByteLengths": (4096, 512),
    }

    answer = session.invoke(
        SERVICE,
        "GetVirtualDiskChanges",
        {
            "Path": "C:\\a<b>&\r\n'\"ä",
            "LimitId": "",
            "ByteOffset": 0,
            "ByteLength": 1 << 41,
        },
    )

    assert tiny.calls[0].arguments == {
        "Path": "C:\\a<b>&\r\n'\"ä",
        "LimitId": "",
        "ByteOffset": 0,
        "ByteLength": 1 << 41,
    }
    assert tiny.calls[0].max_envelope_bytes == 512_000
    assert answer.out == {
        "Job": None,
        "ProcessedByteLength": 1 << 41,
        "ChangedByteOffsets": (0, 1 << 40),
        "ChangedByteLengths": (4096, 512),
    }


@pytest.mark.parametrize("nil", [False, True])
def test_nothing_changed_is_nothing_in_either_form(tiny: Tiny, nil: bool) -> None:
    tiny.answer = {"ReturnValue": 0, "ChangedByteOffsets": (), "ProcessedByteLength": 1}
    options = WireOptions(empty_array_is_nil=nil)
    with (
        WireServer(tiny, users={"lab": "lab"}, options=options) as server,
        WsmanSession.open(server.url, credentials=LAB) as session,
    ):
        answer = session.invoke(SERVICE, "GetVirtualDiskChanges", {})

    assert not answer.out.get("ChangedByteOffsets")


@pytest.mark.parametrize("last_pull_empty", [False, True])
@pytest.mark.parametrize("refuse_filters", [False, True])
@pytest.mark.parametrize("max_batch_items", [1, 7, 32_000])
def test_many_come_however_a_host_pages(
    last_pull_empty: bool, refuse_filters: bool, max_batch_items: int
) -> None:
    options = WireOptions(
        last_pull_empty=last_pull_empty,
        refuse_filters=refuse_filters,
        max_batch_items=max_batch_items,
    )
    tiny = Tiny(list(machines(60)))
    with (
        WireServer(tiny, users={"lab": "lab"}, options=options) as server,
        WsmanSession.open(server.url, credentials=LAB) as session,
    ):
        everything = list(session.enumerate("Msvm_ComputerSystem"))
        asked = [
            list(session.query("Msvm_ComputerSystem", where={"ElementName": f"VM{n}"}))
            for n in (3, 47)
        ]
        counts = server.counts

    assert len({i.properties["Name"] for i in everything}) == len(everything) == 60
    assert [[i.properties["ElementName"] for i in found] for found in asked] == [
        ["vm3"],
        ["vm47"],
    ]
    # A filter is refused once, and then no longer sent.
    assert counts["Enumerate"] == (4 if refuse_filters else 3)


def test_an_envelope_limit_of_the_host_makes_smaller_pages_not_fewer_machines() -> None:
    tiny = Tiny(list(machines(200)))
    options = WireOptions(max_envelope_bytes=10_000)
    with (
        WireServer(tiny, users={"lab": "lab"}, options=options) as server,
        WsmanSession.open(server.url, credentials=LAB) as session,
    ):
        assert len(list(session.enumerate("Msvm_ComputerSystem"))) == 200


def test_an_answer_that_does_not_fit_is_an_encoding_limit(
    tiny: Tiny, session: WsmanSession
) -> None:
    tiny.answer = {"ReturnValue": 0, "ChangedByteOffsets": tuple(range(20_000))}

    with pytest.raises(HostFaultError) as caught:
        ask(session)

    assert caught.value.subcode == "EncodingLimit"
    assert len(tiny.calls) == 1


def test_a_context_that_expired_begins_anew(tiny: Tiny) -> None:
    now = 0.0
    tiny.things = list(machines(120))
    options = WireOptions(clock=lambda: now, enumeration_timeout_seconds=60)
    with (
        WireServer(tiny, users={"lab": "lab"}, options=options) as server,
        WsmanSession.open(server.url, credentials=LAB) as session,
    ):
        found = session.enumerate("Msvm_ComputerSystem")
        names = [next(found).properties["Name"]]
        now = 61.0
        names += [i.properties["Name"] for i in found]
        assert server.counts["Enumerate"] == 2

    assert len(set(names)) == len(names) == 120


def test_an_enumeration_that_is_let_go_of_within_a_request_does_no_harm(
    tiny: Tiny, server: WireServer, session: WsmanSession
) -> None:
    # The garbage collector may run anywhere; here it runs while the host does what it was asked for.
    tiny.things = list(machines(120))
    found = session.enumerate("Msvm_ComputerSystem")
    next(found)
    exchange = session._channel._exchange  # type: ignore[attr-defined]

    def collected(request: Request) -> bytes:
        nonlocal found
        found = iter(())
        answer: bytes = exchange(request)
        return answer

    session._channel._exchange = collected  # type: ignore[attr-defined]
    assert change(session) == 0
    assert change(session) == 0
    assert server.counts["Release"] == 0


def test_several_threads_wait_for_each_other(tiny: Tiny, session: WsmanSession) -> None:
    failed: list[Exception] = []

    def run() -> None:
        try:
            for _ in range(20):
                assert session.get(WEB01) is not None
        except Exception as error:  # what a thread raises would be lost
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_what_is_said_with_a_real_server_can_be_recorded(
    server: WireServer, tmp_path: Path
) -> None:
    path = tmp_path / "transcript"
    with WsmanSession.open(server.url, credentials=LAB, record=path) as session:
        found = list(session.enumerate("Msvm_ComputerSystem"))

    text = path.read_text()
    assert all(isinstance(instance, Instance) for instance in found)
    for gone in ("web01", IDS[0], "LAB1", "127.0.0.1", "lab:lab"):
        assert gone.lower() not in text.lower()
    assert "Msvm_ComputerSystem" in text

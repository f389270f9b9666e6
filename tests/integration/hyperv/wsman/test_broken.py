"""Connections that break, hosts that are gone, answers that make no sense: what is asked again, and what never."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from winrm.transport import Transport

from hypercbt.errors import (
    HostAccessDeniedError,
    HostFaultError,
    HostUnreachableError,
    HyperVMissingError,
    LostReplyError,
)
from hypercbt.hyperv import connection
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.faults import (
    TIMED_OUT,
    TIMEOUT,
    Answer,
    Drop,
    Fault,
    Refuse,
    Run,
    Unauthorized,
)
from hypercbt.lab.wire.server import WireServer
from integration.hyperv.wsman.asking import DROPS, ask, change
from integration.hyperv.wsman.test_asking import WEB01
from lab.wire.tiny import Tiny, machines


@pytest.mark.parametrize("drop", DROPS, ids=str)
def test_a_page_that_was_lost_is_not_skipped(
    tiny: Tiny, server: WireServer, session: WsmanSession, drop: Drop
) -> None:
    tiny.things = list(machines(120))
    server.faults.add(Fault("Pull", drop))

    found = list(session.enumerate("Msvm_ComputerSystem"))

    assert len(server.faults.struck) == 1
    assert len({i.properties["Name"] for i in found}) == len(found) == 120


@pytest.mark.parametrize("drop", DROPS, ids=str)
def test_a_question_survives_a_broken_connection_under_sealing(
    server: WireServer, session: WsmanSession, drop: Drop
) -> None:
    for nth in (1, 3, 4):
        server.faults.add(Fault("*", drop, nth=nth))

    for _ in range(4):
        assert session.get(WEB01) is not None
        assert ask(session) == 0
    assert len(server.faults.struck) == 3


@pytest.mark.parametrize("drop", DROPS, ids=str)
def test_a_change_whose_answer_was_lost_is_reported_and_not_repeated(
    tiny: Tiny, server: WireServer, session: WsmanSession, drop: Drop
) -> None:
    server.faults.add(Fault("GetVirtualDiskChanges", drop))

    with pytest.raises(LostReplyError):
        change(session)

    assert len(tiny.calls) == (0 if drop == Drop() else 1)
    assert change(session) == 0


def test_a_connection_that_the_host_dropped_while_idle_costs_nothing(
    tiny: Tiny, server: WireServer, session: WsmanSession
) -> None:
    # WinRM drops idle connections, and a backup reads for hours between two calls.
    for _ in range(3):
        assert change(session) == 0
        server.drop_connections()

    assert change(session) == 0
    assert len(tiny.calls) == 4


def test_a_host_that_lets_go_of_each_connection_at_once_is_unreachable(
    tiny: Tiny,
    server: WireServer,
    session: WsmanSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greet = Transport.build_session

    def greet_and_lose(transport: Transport) -> requests.Session:
        made = greet(transport)
        server.drop_connections()
        return made

    with monkeypatch.context() as patched:
        patched.setattr(Transport, "build_session", greet_and_lose)
        with pytest.raises(HostUnreachableError, match="lets go of each connection"):
            change(session)
    assert change(session) == 0
    assert len(tiny.calls) == 1


@contextmanager
def held(server: WireServer) -> Iterator[None]:
    """Keep the port of a server that is gone, so that no other process listens there meanwhile."""
    with socket.socket() as holder:
        if (
            sys.platform == "linux"
        ):  # elsewhere the server could not come back beside it
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((str(server.address), server.port))
        yield


def test_a_host_that_is_gone_is_unreachable_and_the_change_was_not_sent(
    server: WireServer, session: WsmanSession
) -> None:
    assert change(session) == 0
    server.close()

    with held(server), pytest.raises(HostUnreachableError) as caught:
        change(session)
    assert not isinstance(caught.value, LostReplyError)


def test_an_operation_that_took_too_long_is_asked_again_but_not_done_again(
    server: WireServer, session: WsmanSession
) -> None:
    server.faults.add(Fault("Get", TIMEOUT))
    server.faults.add(Fault("GetVirtualDiskChanges", TIMEOUT))

    assert session.get(WEB01) is not None
    with pytest.raises(LostReplyError):
        change(session)
    assert ask(session) == 0


def test_an_operation_that_always_takes_too_long_says_so(
    server: WireServer, session: WsmanSession
) -> None:
    server.faults.add(Fault("*", TIMEOUT, times=None))

    with pytest.raises(HostFaultError) as caught:
        ask(session)
    assert caught.value.code == TIMED_OUT


def test_a_host_that_forgot_who_asks_is_told_again(
    tiny: Tiny, server: WireServer, session: WsmanSession
) -> None:
    assert change(session) == 0
    server.faults.add(Fault("*", Unauthorized()))

    assert change(session) == 0
    assert len(tiny.calls) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"<!DOCTYPE x><x/>", b"\x00" * 100]
)
def test_an_answer_that_makes_no_sense_does_not_spoil_the_next(
    server: WireServer, session: WsmanSession, body: bytes
) -> None:
    server.faults.add(Fault("*", Answer(body)))

    with pytest.raises(LostReplyError):
        change(session)
    assert change(session) == 0


def test_an_answer_without_end_is_not_read_to_its_end(
    server: WireServer, session: WsmanSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert change(session) == 0
    monkeypatch.setattr(connection, "MAX_REPLY_BYTES", 100_000)
    server.faults.add(Fault("*", Answer(b"x" * 200_000)))

    with pytest.raises(LostReplyError, match="cannot be believed"):
        change(session)
    assert change(session) == 0


def test_faults_have_their_types(server: WireServer, session: WsmanSession) -> None:
    missing = Refuse("a:DestinationUnreachable", 2150858752, provider_code=2150858778)
    server.faults.add(Fault("GetVirtualDiskChanges", Refuse("w:AccessDenied", 5)))
    server.faults.add(Fault("Get", missing))
    server.faults.add(Fault("Enumerate", Refuse("w:SchemaValidationError", 2150858817)))

    with pytest.raises(HostAccessDeniedError):
        change(session)
    with pytest.raises(HyperVMissingError):
        session.get(WEB01)
    with pytest.raises(HostFaultError) as caught:
        list(session.enumerate("Msvm_ComputerSystem"))
    assert (caught.value.subcode, caught.value.code) == (
        "SchemaValidationError",
        2150858817,
    )
    assert change(session) == 0


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [
        (403, HostAccessDeniedError, 1),
        (404, HostUnreachableError, 5),
        (503, HostUnreachableError, 5),
        (502, LostReplyError, 1),
        (307, LostReplyError, 1),
    ],
)
def test_what_is_refused_at_the_door_was_not_done(
    server: WireServer,
    session: WsmanSession,
    status: int,
    kind: type[Exception],
    sent: int,
) -> None:
    assert change(session) == 0
    server.faults.add(Fault("*", Answer(b"no", status=status), times=None))

    with pytest.raises(kind, match=str(status)) as caught:
        change(session)

    assert type(caught.value) is kind
    assert len(server.faults.struck) == sent


def test_a_handshake_that_broke_leaves_no_session_that_would_speak_in_the_clear(
    server: WireServer, session: WsmanSession
) -> None:
    server.close()
    with held(server):
        for _ in range(2):
            with pytest.raises(HostUnreachableError):
                change(session)

        with WireServer(Tiny(), users={"lab": "lab"}, port=server.port) as back:
            assert change(session) == 0
            assert back.counts["*"] == 1


def test_a_host_that_restarts_in_between_is_asked_again(
    tiny: Tiny, server: WireServer, session: WsmanSession
) -> None:
    server.faults.add(Fault("Get", Run(server.drop_connections)))

    assert session.get(WEB01) is not None

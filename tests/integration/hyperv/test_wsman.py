"""The session against a real server, with authentication and sealing that are not ours."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from winrm.transport import Transport

from hypercbt.errors import (
    HostAccessDeniedError,
    HostAuthenticationError,
    HostCertificateError,
    HostFaultError,
    HostUnreachableError,
    HyperVMissingError,
    LostReplyError,
)
from hypercbt.hyperv import connection
from hypercbt.hyperv.classes import CIMV2
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.envelope import Request
from hypercbt.hyperv.values import Instance, Reference
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
from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.server import TlsFiles, WireOptions, WireServer
from integration.hyperv.certificates import Authority
from lab.wire.tiny import IDS, Tiny, machines

LAB = Credentials("lab", "lab")
SERVICE = Reference(
    "Msvm_ImageManagementService", {"CreationClassName": "Msvm_ImageManagementService"}
)
WEB01 = Reference(
    "Msvm_ComputerSystem",
    {"CreationClassName": "Msvm_ComputerSystem", "Name": IDS[0]},
)


DROPS = [Drop(), Drop(halfway=True), Drop(after=True)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercbt.hyperv.conversation._FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture
def server(tiny: Tiny) -> Iterator[WireServer]:
    with WireServer(tiny, users={"lab": "lab"}) as server:
        yield server


@pytest.fixture
def session(server: WireServer) -> Iterator[WsmanSession]:
    with WsmanSession.open(server.url, credentials=LAB) as session:
        yield session


def change(session: WsmanSession) -> int:
    """Call a method that is not to be called twice."""
    return session.invoke(SERVICE, "GetVirtualDiskChanges", {"Path": "x"}).return_value


def ask(session: WsmanSession) -> int:
    return session.invoke(
        SERVICE, "GetVirtualDiskChanges", {"Path": "x"}, repeatable=True
    ).return_value


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


def test_a_host_that_is_gone_is_unreachable_and_the_change_was_not_sent(
    server: WireServer, session: WsmanSession
) -> None:
    assert change(session) == 0
    server.close()

    with pytest.raises(HostUnreachableError) as caught:
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


def test_a_user_without_rights_is_told_so(tiny: Tiny) -> None:
    options = WireOptions(denied_users=frozenset(["lab"]))
    with (
        WireServer(tiny, users={"lab": "lab"}, options=options) as server,
        WsmanSession.open(server.url, credentials=LAB) as session,
        pytest.raises(HostAccessDeniedError),
    ):
        session.get(WEB01)


@pytest.mark.parametrize("user", ["lab", "nobody"])
def test_a_wrong_password_is_refused_once_and_not_tried_again(
    tiny: Tiny, server: WireServer, user: str
) -> None:
    secret = "pass phrase 7"
    with WsmanSession.open(
        server.url, credentials=Credentials(user, secret)
    ) as session:
        for _ in range(2):
            with pytest.raises(HostAuthenticationError, match=user) as caught:
                session.get(WEB01)
            assert secret not in str(caught.value)
    assert server.counts["*"] == 0


def test_basic_over_http_is_refused_before_anything_is_sent(server: WireServer) -> None:
    with pytest.raises(ValueError, match="in the clear"):
        WsmanSession.open(server.url, credentials=LAB, transport="basic")


def test_what_cannot_be_done_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    for credentials, transport, message in (
        (Credentials("lab"), "ntlm", "a user and a password"),
        (Credentials("lab", ""), "basic", "a user and a password"),
        (Credentials(certificate=tmp_path), "certificate", "file and that of its key"),
    ):
        with pytest.raises(HostAuthenticationError, match=message):
            WsmanSession.open(
                "https://hv01",
                credentials=credentials,
                transport=transport,  # type: ignore[arg-type]
            )
    with pytest.raises(ValueError, match="none of"):
        WsmanSession.open("hv01", credentials=LAB, transport="telnet")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seconds"):
        WsmanSession.open("hv01", credentials=LAB, timeout_seconds=0)


@pytest.mark.parametrize(
    ("credentials", "transport", "extra"),
    [
        (Credentials(), "auto", "hypercbt\\[kerberos\\]"),
        (Credentials(), "kerberos", "hypercbt\\[kerberos\\]"),
        (LAB, "credssp", "pywinrm\\[credssp\\]"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
    credentials: Credentials,
    transport: str,
    extra: str,
) -> None:
    monkeypatch.setattr("hypercbt.hyperv.wsman.HAVE_KERBEROS", False)
    monkeypatch.setattr("hypercbt.hyperv.wsman.HAVE_CREDSSP", False)

    with pytest.raises(HostAuthenticationError, match=extra):
        WsmanSession.open("hv01", credentials=credentials, transport=transport)  # type: ignore[arg-type]


class Tls:
    """A server over TLS, and the ways to it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.other = Authority(folder, "other")
        signed = self.authority.sign("server", "127.0.0.1")
        self.files = TlsFiles(signed.certificate, signed.key, self.authority.file)

    def serve(self, tiny: Tiny, auth: str = "negotiate") -> WireServer:
        return WireServer(tiny, users={"lab": "lab"}, tls=self.files, auth=(auth,))


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@pytest.mark.parametrize(
    ("auth", "transport"),
    [("negotiate", "auto"), ("negotiate", "negotiate"), ("basic", "basic")],
)
def test_over_tls_with_an_authority_of_ones_own(
    tiny: Tiny, tls: Tls, auth: str, transport: str
) -> None:
    with (
        tls.serve(tiny, auth) as server,
        WsmanSession.open(
            server.url,
            credentials=LAB,
            transport=transport,  # type: ignore[arg-type]
            ca=tls.authority.file,
        ) as session,
    ):
        assert change(session) == 0
        server.drop_connections()
        assert session.get(WEB01) is not None
        wrong = WsmanSession.open(
            server.url,
            credentials=Credentials("lab", "wrong"),
            transport=transport,  # type: ignore[arg-type]
            ca=tls.authority.file,
        )
        with wrong, pytest.raises(HostAuthenticationError):
            change(wrong)


def test_a_client_certificate_proves_who_asks(tiny: Tiny, tls: Tls) -> None:
    signed = tls.authority.sign("lab")
    credentials = Credentials(certificate=signed.certificate, key=signed.key)
    with (
        tls.serve(tiny, "certificate") as server,
        WsmanSession.open(
            server.url, credentials=credentials, ca=tls.authority.file
        ) as session,
    ):
        assert change(session) == 0
        assert tiny.calls[0].user == "lab"


def test_another_authority_and_none_are_not_believed_and_nothing_is_sent(
    tiny: Tiny, tls: Tls
) -> None:
    with tls.serve(tiny, "basic") as server:
        for ca in (tls.other.file, None):
            with (
                WsmanSession.open(
                    server.url, credentials=LAB, transport="basic", ca=ca
                ) as session,
                pytest.raises(HostCertificateError),
            ):
                change(session)
        assert server.counts["*"] == 0


def test_a_certificate_for_another_name_is_not_believed(
    tiny: Tiny, tls: Tls, tmp_path: Path
) -> None:
    signed = tls.authority.sign("elsewhere", "hv99.example")
    tls.files = TlsFiles(signed.certificate, signed.key)
    with (
        tls.serve(tiny, "basic") as server,
        WsmanSession.open(
            server.url, credentials=LAB, transport="basic", ca=tls.authority.file
        ) as session,
    ):
        with pytest.raises(HostCertificateError):
            change(session)
        assert server.counts["*"] == 0


def test_whoever_says_so_is_not_checked(tiny: Tiny, tls: Tls) -> None:
    with (
        tls.serve(tiny) as server,
        WsmanSession.open(server.url, credentials=LAB, verify=False) as session,
    ):
        assert change(session) == 0


def test_http_where_tls_is_spoken_and_the_reverse_are_unreachable(
    tiny: Tiny, tls: Tls, server: WireServer
) -> None:
    with tls.serve(tiny) as secure:
        for url in (
            secure.url.replace("https", "http"),
            server.url.replace("http", "https"),
        ):
            with (
                WsmanSession.open(url, credentials=LAB) as session,
                pytest.raises(HostUnreachableError) as caught,
            ):
                change(session)
            assert not isinstance(caught.value, LostReplyError)


def test_proxies_certificates_and_netrc_of_the_environment_do_not_leak_in(
    tiny: Tiny,
    tls: Tls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    signed = tls.authority.sign("lab")
    certificate = Credentials(certificate=signed.certificate, key=signed.key)
    with tls.serve(tiny, "certificate") as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.other.file))
        monkeypatch.setenv("CURL_CA_BUNDLE", str(tls.other.file))
        with WsmanSession.open(
            server.url, credentials=certificate, ca=tls.authority.file
        ) as session:
            assert change(session) == 0
        # The authority of the environment is the right one now, and nobody has said that it is to be believed.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.authority.file))
        with (
            WsmanSession.open(server.url, credentials=certificate) as session,
            pytest.raises(HostCertificateError),
        ):
            change(session)
    with (
        WireServer(tiny, users={"lab": "lab"}) as plain,
        WsmanSession.open(plain.url, credentials=LAB) as session,
    ):
        assert change(session) == 0


def serve_raw(
    answer: Callable[[bytes], bytes],
) -> tuple[socket.socket, int, list[bytes]]:
    """A server that is none: gives each request an answer, over one connection after the other."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def run() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                heard.append(peer.recv(1 << 16))
                peer.sendall(answer(heard[-1]))

    threading.Thread(target=run, daemon=True).start()
    return listener, listener.getsockname()[1], heard


@pytest.mark.parametrize(
    "status",
    [
        b"200 OK",
        b"500 Broken",
        b"302 Found\r\nLocation: http://127.0.0.1:1/x",
        b"404 No",
        b"503 Later",
    ],
)
def test_nothing_is_sent_in_the_clear_to_whoever_does_not_ask_who_we_are(
    status: bytes,
) -> None:
    listener, port, heard = serve_raw(
        lambda _: (
            b"HTTP/1.1 "
            + status
            + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    )
    with (
        closing(listener),
        WsmanSession.open(f"http://127.0.0.1:{port}", credentials=LAB) as session,
    ):
        for _ in range(2):
            with pytest.raises(
                (HostUnreachableError, HostAuthenticationError)
            ) as caught:
                change(session)
            assert not isinstance(caught.value, LostReplyError)

    assert heard
    for request in heard:
        assert b"GetVirtualDiskChanges" not in request


def test_an_answer_in_the_clear_is_not_believed_if_the_question_was_sealed(
    server: WireServer, session: WsmanSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Anybody on the way could have written it.
    with monkeypatch.context() as clear:
        clear.setattr(sealing, "seal", lambda plain, context, protocol: plain)
        clear.setattr(sealing, "content_type", lambda _: "application/soap+xml")
        for ask_it in (change, ask, change):
            with pytest.raises(LostReplyError, match="in the clear"):
                ask_it(session)

    assert change(session) == 0


def test_what_cannot_be_sealed_is_not_sent(
    tiny: Tiny,
    server: WireServer,
    session: WsmanSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # pywinrm goes on in the clear where keys could not be had, or with those of a connection that is gone.
    assert change(session) == 0
    server.drop_connections()
    monkeypatch.setattr(Transport, "setup_encryption", lambda self, session: None)

    for _ in range(2):
        with pytest.raises(HostAuthenticationError, match="cannot be sealed"):
            change(session)
    assert len(tiny.calls) == 1


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
    for _ in range(2):
        with pytest.raises(HostUnreachableError):
            change(session)

    with WireServer(Tiny(), users={"lab": "lab"}, port=server.port) as back:
        assert change(session) == 0
        assert back.counts["*"] == 1


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


def test_a_host_that_restarts_in_between_is_asked_again(
    tiny: Tiny, server: WireServer, session: WsmanSession
) -> None:
    server.faults.add(Fault("Get", Run(server.drop_connections)))

    assert session.get(WEB01) is not None

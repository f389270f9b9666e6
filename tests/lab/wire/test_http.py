"""HTTP: who is let in, what is too much, and connections that break."""

import base64
import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import spnego

from hypercbt.lab.faults import Answer, Delay, Drop, Fault, Unauthorized
from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.auth import Authority
from hypercbt.lab.wire.provider import Thing
from hypercbt.lab.wire.server import WireOptions, WireServer
from lab.wire.asking import GET, V2, envelope
from lab.wire.certificates import tls
from lab.wire.test_other_clients import awinrm_envelope, winrm_get
from lab.wire.tiny import Tiny

JOB = envelope(GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"})
BASIC = {"Authorization": "Basic " + base64.b64encode(b"lab:geheim").decode()}


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer(Tiny(), users={"lab": "geheim"}) as server:
        yield server


@pytest.fixture
def in_clear() -> Iterator[WireServer]:
    options = WireOptions(allow_unencrypted=True, max_envelope_bytes=20_000)
    with WireServer(Tiny(), users={"lab": "geheim"}, options=options) as server:
        yield server


def post(
    server: WireServer,
    body: bytes = JOB,
    headers: dict[str, str] | None = None,
    path: str = "/wsman",
    method: str = "POST",
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def raw(server: WireServer, data: bytes) -> bytes:
    """Send bytes and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_who_has_not_said_who_he_is_is_told_how(
    server: WireServer, in_clear: WireServer
) -> None:
    status, headers, body = post(server)
    assert (status, body) == (401, b"")
    assert [text for name, text in headers if name == "WWW-Authenticate"] == [
        "Negotiate"
    ]
    _, headers, _ = post(in_clear)
    offers = [text for name, text in headers if name == "WWW-Authenticate"]
    assert offers == ["Negotiate", 'Basic realm="WSMAN"']
    assert server.counts["*"] == 0


def test_a_password_in_clear_is_taken_only_where_that_is_allowed(
    server: WireServer, in_clear: WireServer
) -> None:
    assert post(server, headers=BASIC)[0] == 401
    assert post(in_clear, headers=BASIC)[0] == 200


@pytest.mark.parametrize(
    "said", ["lab:falsch", "other:geheim", "lab", "", "lab:geheim2", "\xff:\xfe"]
)
def test_a_wrong_password_is_not_taken(in_clear: WireServer, said: str) -> None:
    text = base64.b64encode(said.encode("latin-1")).decode()
    assert post(in_clear, headers={"Authorization": f"Basic {text}"})[0] == 401
    assert in_clear.counts["*"] == 0


@pytest.mark.parametrize(
    "header",
    [
        "Negotiate",
        "Negotiate !!!!",
        "Negotiate " + base64.b64encode(b"NTLMSSP\0\1\0\0\0").decode(),
        "Negotiate " + base64.b64encode(b"NTLMSSP\0\3\0\0\0" + b"\xff" * 80).decode(),
        "Negotiate " + base64.b64encode(b"\x60\x82\xff\xff").decode(),
        "Negotiate " + base64.b64encode(b"\x00" * 100).decode(),
        "Kerberos AAAA",
        "Digest x",
        "Basic \u20ac".encode().decode("latin-1"),
    ],
)
def test_a_handshake_of_nonsense_is_refused(server: WireServer, header: str) -> None:
    assert post(server, headers={"Authorization": header})[0] == 401
    assert server.errors == ()


def test_a_seal_that_nobody_has_made_is_refused(in_clear: WireServer) -> None:
    headers = {**BASIC, "Content-Type": sealing.content_type(sealing.SPNEGO)}
    assert post(in_clear, b"--Encrypted Boundary\r\n", headers)[0] == 400


def test_who_this_is_may_be_asked_by_anybody(server: WireServer) -> None:
    body = (
        b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        b'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">'
        b"<s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>"
    )
    asked = {"WSMANIDENTIFY": "unauthenticated"}
    assert post(server, body)[0] == 401
    assert post(server, body, asked)[0] == 200
    assert post(server, JOB, asked)[0] == 401


@pytest.mark.parametrize("path", ["/", "/wsman/../etc/passwd", "/wsmanx", "/%77sman"])
def test_there_is_one_path(in_clear: WireServer, path: str) -> None:
    assert post(in_clear, headers=BASIC, path=path)[0] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_there_is_one_method(in_clear: WireServer, method: str) -> None:
    assert post(in_clear, headers=BASIC, method=method)[0] == 501


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (b"Content-Length: 99999999999999999999\r\n", b"413"),
        (b"Content-Length: 24097\r\n", b"413"),
        (b"Content-Length: -1\r\n", b"400"),
        (b"Content-Length: \xb2\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n", b"411"),
        (b"", b"411"),
    ],
)
def test_a_body_of_no_size_or_too_great_a_size_is_not_read(
    in_clear: WireServer, length: bytes, status: bytes
) -> None:
    answer = raw(in_clear, b"POST /wsman HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n")
    assert answer.split(b" ", 2)[1] == status
    assert b"Connection: close" in answer


def test_a_body_that_breaks_off_is_not_answered(in_clear: WireServer) -> None:
    with socket.create_connection(
        ("127.0.0.1", in_clear.port), timeout=10
    ) as connection:
        connection.sendall(b"POST /wsman HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""


def test_a_connection_too_many_is_closed() -> None:
    options = WireOptions(max_connections=1)
    with (
        WireServer(Tiny(), users={}, options=options) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as first,
    ):
        first.sendall(b"POST /wsman HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert first.recv(1000).startswith(b"HTTP/1.1 401")
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as second:
            assert second.recv(1000) == b""


def test_a_silent_connection_is_dropped() -> None:
    options = WireOptions(connection_timeout_seconds=0.05)
    with WireServer(Tiny(), users={}, options=options) as server:
        assert raw(server, b"POST /wsman HTTP/1.1\r\n") == b""


def test_a_dropped_request_gets_no_answer(in_clear: WireServer) -> None:
    for after in (False, True):
        in_clear.faults.add(Fault("*", Drop(after=after)))
        with pytest.raises(http.client.RemoteDisconnected):
            post(in_clear, headers=BASIC)
    assert post(in_clear, headers=BASIC)[0] == 200
    assert [record.status for record in in_clear.requests] == [None, None, 200]


def test_an_answer_may_break_off_halfway(in_clear: WireServer) -> None:
    in_clear.faults.add(Fault("*", Drop(halfway=True)))
    with pytest.raises(http.client.IncompleteRead) as caught:
        post(in_clear, headers=BASIC)
    assert caught.value.partial.startswith(b"<s:Envelope")
    assert in_clear.requests[0].status is None
    assert in_clear.counts["Get Msvm_StorageJob"] == 1


def test_a_host_may_want_to_be_told_again(in_clear: WireServer) -> None:
    in_clear.faults.add(Fault("*", Unauthorized()))
    status, headers, _ = post(in_clear, headers=BASIC)
    assert status == 401
    assert ("WWW-Authenticate", "Negotiate") in headers


def test_nonsense_may_come_back(in_clear: WireServer) -> None:
    in_clear.faults.add(Fault("*", Answer(b"<html/>", 503)))
    assert post(in_clear, headers=BASIC)[0::2] == (503, b"<html/>")


class Arriving(Tiny):
    """Says when a request is being done."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()

    def get(self, class_name: str, selectors: Mapping[str, str]) -> Thing | None:
        self.arrived.set()
        return super().get(class_name, selectors)


def test_a_delayed_answer_does_not_outlive_its_host() -> None:
    tiny = Arriving()
    options = WireOptions(allow_unencrypted=True)
    server = WireServer(tiny, users={"lab": "geheim"}, options=options)
    server.faults.add(Fault("*", Delay(3600)))
    ended = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            post(server, headers=BASIC)
        ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert tiny.arrived.wait(10)
    server.close()
    assert serving() == []
    assert ended.wait(10)
    thread.join()


class Conversation:
    """One connection, and a handshake of our own on it."""

    def __init__(self, server: WireServer) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", server.port, timeout=10
        )

    def send(self, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        self._connection.request("POST", "/wsman", body, headers)
        response = self._connection.getresponse()
        offered = response.getheader("WWW-Authenticate") or ""
        return response.status, offered, response.read()

    def shake_hands(self, user: str, password: str) -> spnego.ContextProxy:
        context = spnego.client(user, password, protocol="ntlm")
        token = context.step()
        while True:
            said = "Negotiate " + base64.b64encode(token or b"").decode()
            status, offered, _ = self.send(b"", {"Authorization": said})
            if context.complete:
                assert status == 200
                return context
            token = context.step(base64.b64decode(offered.removeprefix("Negotiate ")))

    def send_sealed(self, sealed: bytes) -> int:
        kind = {"Content-Type": sealing.content_type(sealing.SPNEGO)}
        return self.send(sealed, kind)[0]

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def two_users() -> Iterator[tuple[WireServer, Conversation]]:
    users = {"lab": "geheim", "other": "anders"}
    with WireServer(Tiny(), users=users) as server:
        conversation = Conversation(server)
        yield server, conversation
        conversation.close()


def test_a_connection_may_change_hands(
    two_users: tuple[WireServer, Conversation],
) -> None:
    server, conversation = two_users
    for user, password in (("lab", "geheim"), ("other", "anders")):
        context = conversation.shake_hands(user, password)
        sealed = sealing.seal(JOB, context, sealing.SPNEGO)
        assert conversation.send_sealed(sealed) == 200
    assert [record.asked.user for record in server.requests] == ["lab", "other"]


def test_a_seal_that_does_not_hold_ends_the_conversation(
    two_users: tuple[WireServer, Conversation],
) -> None:
    server, conversation = two_users
    context = conversation.shake_hands("lab", "geheim")
    sealed = bytearray(sealing.seal(JOB, context, sealing.SPNEGO))
    sealed[-30] ^= 1
    assert conversation.send_sealed(bytes(sealed)) == 400
    assert conversation.send(b"", {})[0] == 401
    assert server.counts["*"] == 0


def test_a_seal_of_another_connection_does_not_hold(
    two_users: tuple[WireServer, Conversation],
) -> None:
    server, conversation = two_users
    context = conversation.shake_hands("lab", "geheim")
    other = Conversation(server)
    other.shake_hands("lab", "geheim")
    assert other.send_sealed(sealing.seal(JOB, context, sealing.SPNEGO)) == 400
    other.close()


FRAME = (
    b"--Encrypted Boundary\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n"
    b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n"
    b"--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n%b--Encrypted Boundary--\r\n"
)


def test_a_frame_holds_a_signature_and_what_is_sealed() -> None:
    body = FRAME % (3, b"\x02\0\0\0SSabc")
    assert sealing.unseal(body, lambda header, data: data) == b"abc"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        FRAME % (4, b"\x02\0\0\0SSabc"),
        FRAME % (3, b"\x06\0\0\0SSabc"),
        FRAME % (3, b"\xff\xff\xff\xffSSabc"),
        FRAME % (0, b"\0\0"),
        (FRAME % (3, b"\x02\0\0\0SSabc")).removesuffix(b"--\r\n"),
        b"x" + FRAME % (3, b"\x02\0\0\0SSabc"),
    ],
)
def test_a_frame_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(sealing.BadSealError):
        sealing.unseal(body, lambda header, data: data)


def test_who_speaks_no_tls_to_a_tls_host_is_nobody_s_mistake(tmp_path: Path) -> None:
    with WireServer(Tiny(), users={}, tls=tls(tmp_path)) as server:
        with contextlib.suppress(ConnectionResetError):
            raw(server, b"POST /wsman HTTP/1.1\r\n\r\n")
        server.close()
        assert server.errors == ()


def serving() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("hypercbt-lab")]


def test_a_client_that_never_begins_its_handshake_holds_up_nobody(
    tmp_path: Path,
) -> None:
    with (
        WireServer(Tiny(), users={"lab": "geheim"}, tls=tls(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10),
    ):
        trusted = str(tmp_path / "host.pem")
        assert b"JobState" in winrm_get(server, transport="ntlm", ca_trust_path=trusted)
        server.close()
        assert serving() == []


def test_handshakes_of_two_hosts_never_mix_their_users() -> None:
    seen: list[str] = []
    second_began = threading.Event()

    class First:
        def step(self, token: bytes) -> None:
            before = os.environ["NTLM_USER_FILE"]
            thread.start()
            # It must not begin. Where it did, this would see it long before.
            seen.append(f"mixed: {second_began.wait(0.1)}")
            assert os.environ["NTLM_USER_FILE"] == before

    class Second:
        def step(self, token: bytes) -> None:
            second_began.set()
            seen.append("second")

    with (
        Authority({"a": "b"}, ("negotiate",), "A", "a") as one,
        Authority({"a": "c"}, ("negotiate",), "B", "b") as other,
    ):
        thread = threading.Thread(target=lambda: other.step(cast(Any, Second()), b""))
        one.step(cast(Any, First()), b"")
        thread.join(10)
    assert seen == ["mixed: False", "second"]
    assert "NTLM_USER_FILE" not in os.environ


def sealed_client(server: WireServer) -> tuple[object, str]:
    protocol = pytest.importorskip("winrm.protocol")
    client = protocol.Protocol(
        server.endpoint,
        transport="ntlm",
        username="lab",
        password="geheim",
        proxy=None,
        ca_trust_path=None,
    )
    message = awinrm_envelope(GET, f"{V2}/Msvm_StorageJob", {}, InstanceID="J1")
    return client, message.decode()


def test_sealed_requests_share_a_connection_and_a_lost_one_needs_a_new_handshake(
    server: WireServer,
) -> None:
    client, message = sealed_client(server)
    for _ in range(3):
        assert b"JobState" in client.send_message(message)  # type: ignore[attr-defined]
    server.drop_connections()
    errors = pytest.importorskip("winrm.exceptions")
    with pytest.raises(errors.WinRMTransportError, match="400"):
        client.send_message(message)  # type: ignore[attr-defined]
    # What is known to help: forget the connection and its seal.
    client.transport.close_session()  # type: ignore[attr-defined]
    client.transport.encryption = None  # type: ignore[attr-defined]
    assert b"JobState" in client.send_message(message)  # type: ignore[attr-defined]
    client.transport.close_session()  # type: ignore[attr-defined]


def test_a_handshake_alone_does_not_allow_clear_text(server: WireServer) -> None:
    transport = {"transport": "ntlm", "message_encryption": "never"}
    with pytest.raises(Exception, match="500"):
        winrm_get(server, **transport)
    assert server.counts["*"] == 0


def test_two_hosts_in_one_process_have_each_their_own_users() -> None:
    with (
        WireServer(Tiny(), users={"lab": "geheim"}) as one,
        WireServer(Tiny(), users={"lab": "anders"}) as other,
    ):
        assert b"JobState" in winrm_get(one, transport="ntlm")
        assert b"JobState" in winrm_get(other, transport="ntlm", password="anders")
        errors = pytest.importorskip("winrm.exceptions")
        with pytest.raises(errors.InvalidCredentialsError):
            winrm_get(other, transport="ntlm")


def test_many_clients_at_once(server: WireServer) -> None:
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            client, message = sealed_client(server)
            for _ in range(5):
                client.send_message(message)  # type: ignore[attr-defined]
            client.transport.close_session()  # type: ignore[attr-defined]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert server.counts["Get"] == 40


def test_a_provider_that_fails_is_not_forgotten() -> None:
    tiny = Tiny(raises=RuntimeError("the model"))
    options = WireOptions(allow_unencrypted=True)
    server = WireServer(tiny, users={"lab": "geheim"}, options=options)
    status, _, body = post(server, headers=BASIC)
    assert status == 500
    assert b"w:InternalError" in body
    with pytest.raises(RuntimeError, match="the model"), server:
        pass


def test_a_closed_host_is_gone_and_may_be_closed_again() -> None:
    server = WireServer(Tiny(), users={"lab": "geheim"})
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        post(server)


def test_a_host_comes_back_at_the_same_port() -> None:
    first = WireServer(Tiny(), users={"lab": "geheim"})
    client, message = sealed_client(first)
    client.send_message(message)  # type: ignore[attr-defined]
    first.close()
    with WireServer(Tiny(), users={"lab": "geheim"}, port=first.port) as second:
        assert b"JobState" in winrm_get(second, transport="ntlm")
    client.transport.close_session()  # type: ignore[attr-defined]


@pytest.mark.parametrize("users", [{"a:b": "c"}, {"a": "b:c"}, {"a": "b\n"}])
def test_a_user_that_cannot_be_written_down_is_refused(users: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="colon"):
        WireServer(Tiny(), users=users)


def test_an_unknown_authentication_is_refused() -> None:
    with pytest.raises(ValueError, match="digest"):
        WireServer(Tiny(), users={}, auth=("digest",))


def test_ipv6_is_listened_on_where_it_is_said() -> None:
    try:
        server = WireServer(Tiny(), users={}, address="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert server.url == f"http://[::1]:{server.port}"

"""HTTP: who is let in, what is too much, and connections that break."""

import base64
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping

import pytest

from hypercbt.lab.faults import Answer, Delay, Drop, Fault, Unauthorized
from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.provider import Thing
from hypercbt.lab.wire.server import WireOptions, WireServer
from lab.wire.asking import GET, V2, envelope
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
    assert ended.wait(10)
    thread.join()


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

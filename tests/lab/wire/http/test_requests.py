"""HTTP: who is let in, what is too much, and connections that break."""

import base64
import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping

import pytest

from hypercbt.lab.faults import Answer, Delay, Drop, Fault, Unauthorized
from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.provider import Thing
from hypercbt.lab.wire.server import WireOptions, WireServer
from lab.wire.http.posting import BASIC, JOB, post, raw
from lab.wire.http.test_hosts import serving
from lab.wire.tiny import Tiny


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
        "Negotiate " + base64.b64encode(b"NTLMSSP\0").decode(),
        "Negotiate " + base64.b64encode(b"NTLMSSP\0\1\0\0").decode(),
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
        ("127.0.0.1", in_clear.port), timeout=60
    ) as connection:
        connection.sendall(b"POST /wsman HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""


def test_a_connection_too_many_is_closed() -> None:
    options = WireOptions(max_connections=1)
    with (
        WireServer(Tiny(), users={}, options=options) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as first,
    ):
        first.sendall(b"POST /wsman HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert first.recv(1000).startswith(b"HTTP/1.1 401")
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as second:
            assert second.recv(1000) == b""


def test_a_silent_connection_is_dropped() -> None:
    options = WireOptions(connection_timeout_seconds=0.05)
    with (
        WireServer(Tiny(), users={}, options=options) as server,
        # Half a request. Where this thread is so slow that it comes too late, the host resets the connection.
        contextlib.suppress(ConnectionError),
    ):
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
    assert tiny.arrived.wait(60)
    server.close()
    assert serving() == []
    assert ended.wait(60)
    thread.join()

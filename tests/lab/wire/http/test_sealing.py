"""Sealed requests: a seal holds for its own connection, its own user and its own order."""

import base64
import http.client
from collections.abc import Iterator

import pytest
import spnego

from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.server import WireServer
from lab.wire.asking import GET, V2
from lab.wire.http.posting import JOB
from lab.wire.test_other_clients import awinrm_envelope, winrm_get
from lab.wire.tiny import Tiny


class Conversation:
    """One connection, and a handshake of our own on it."""

    def __init__(self, server: WireServer) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", server.port, timeout=60
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

"""Nothing is sent or believed in the clear where messages are sealed."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from winrm.transport import Transport

from hypercbt.errors import (
    HostAuthenticationError,
    HostUnreachableError,
    LostReplyError,
)
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.server import WireServer
from integration.hyperv.wsman.asking import LAB, ask, change
from lab.wire.tiny import Tiny


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

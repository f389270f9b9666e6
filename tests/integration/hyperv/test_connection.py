"""The HTTP connection alone, against a server that only listens."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from hypercbt.hyperv import connection
from hypercbt.hyperv.connection import (
    BoundedAdapter,
    ReplyTooLargeError,
    StaleKeysError,
    StatusError,
    UnsealedReplyError,
)

CLEAR = b"Content-Type: application/soap+xml\r\n"
SEALED = b'Content-Type: multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted"\r\n'


class Peer:
    """Takes connections, and gives every request the same answer."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/wsman"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            with peer:
                heard = b""
                # All of it: who closes a connection with something unread breaks it for the answer, too.
                while not heard.endswith(b"\r\n\r\nx"):
                    more = peer.recv(1 << 16)
                    if not more:
                        break
                    heard += more
                else:
                    peer.sendall(self.answer)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def adapter() -> Iterator[BoundedAdapter]:
    adapter = BoundedAdapter(read_seconds=30)
    yield adapter
    adapter.close()


def post(adapter: BoundedAdapter, url: str) -> requests.Response:
    with requests.Session() as session:
        session.mount("http://", adapter)
        return session.post(url, data=b"x")


def test_with_keys_no_other_connection_is_opened(
    peer: Peer, adapter: BoundedAdapter
) -> None:
    assert post(adapter, peer.url).status_code == 200
    adapter.sealed = True

    with pytest.raises(StaleKeysError):
        post(adapter, peer.url)

    assert peer.accepted == 1
    assert not adapter.sent


def test_it_knows_whether_anything_was_sent(
    peer: Peer, adapter: BoundedAdapter
) -> None:
    post(adapter, peer.url)
    assert adapter.sent
    peer.close()
    with socket.socket() as unheard:
        # Bound, so that nobody else is there, and it does not listen.
        unheard.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unheard.getsockname()[1]}/"
        with pytest.raises(requests.ConnectionError):
            post(adapter, nobody)
    assert not adapter.sent


@pytest.mark.parametrize("status", [201, 204, 302, 403, 404, 502])
def test_what_no_service_means_as_an_answer_does_not_go_up(
    peer: Peer, adapter: BoundedAdapter, status: int
) -> None:
    peer.answer = (
        b"HTTP/1.1 %d X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n" % status
    )

    with pytest.raises(StatusError) as caught:
        post(adapter, peer.url)

    assert caught.value.status == status
    assert peer.accepted == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [(CLEAR, UnsealedReplyError), (b"", UnsealedReplyError), (SEALED, None)],
)
def test_sealed_or_not_is_told_by_the_type(
    peer: Peer, adapter: BoundedAdapter, kind: bytes, error: type[Exception] | None
) -> None:
    peer.answer = b"HTTP/1.1 500 X\r\n" + kind + b"Content-Length: 0\r\n\r\n"
    assert post(adapter, peer.url).status_code == 500

    # As if the keys had come with the connection that is opened next.
    adapter.begin_connecting = lambda: None  # type: ignore[method-assign]
    adapter.sealed = True
    if error is None:
        assert post(adapter, peer.url).status_code == 500
    else:
        with pytest.raises(error):
            post(adapter, peer.url)


def test_a_host_gets_its_time_and_no_more(
    peer: Peer, adapter: BoundedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    send = HTTPAdapter.send

    def noted(*args: Any, **arguments: Any) -> requests.Response:
        seen.append(arguments["timeout"])
        return send(*args, **arguments)

    monkeypatch.setattr(HTTPAdapter, "send", noted)

    post(adapter, peer.url)

    assert seen == [(15, 30)]


def test_a_body_is_read_up_to_a_size(
    peer: Peer, adapter: BoundedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    assert len(post(adapter, peer.url).content) == 1000
    monkeypatch.setattr(connection, "MAX_REPLY_BYTES", 999)

    with pytest.raises(ReplyTooLargeError):
        post(adapter, peer.url)


def test_a_body_is_read_up_to_a_time(
    peer: Peer, adapter: BoundedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each piece in time, and all of them never: the time-out of a socket does not see it.
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr("hypercbt.hyperv.connection.time.monotonic", lambda: next(now))
    peer.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000

    with pytest.raises(ReplyTooLargeError):
        post(adapter, peer.url)


@pytest.mark.parametrize(
    ("begun", "dripped"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    ],
)
def test_a_head_that_does_not_end_is_waited_for_as_long_as_an_answer(
    begun: bytes, dripped: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            peer, _ = listener.accept()
            tick = threading.Event()
            with peer, suppress(OSError):
                peer.recv(1 << 16)
                peer.sendall(begun)
                while not tick.wait(0.01):
                    peer.sendall(dripped)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        adapter = BoundedAdapter(read_seconds=1)
        with pytest.raises(requests.ConnectionError):
            post(adapter, f"http://127.0.0.1:{listener.getsockname()[1]}/wsman")
        adapter.close()
        thread.join(120)
        assert not thread.is_alive()

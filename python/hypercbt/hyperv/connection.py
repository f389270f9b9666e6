"""The HTTP connection under a session: what may be opened, how much is read, and which answers go up.

It knows nothing of WS-Management, and of pywinrm only that its keys belong to one connection.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_CONNECT_SECONDS = 15
MAX_REPLY_BYTES = 8 << 20
"""Sixteen times what a host is asked not to exceed."""
_SEALED_TYPES = (
    "application/http-spnego-session-encrypted",
    "application/http-credssp-session-encrypted",
)


class StaleKeysError(Exception):
    """There are keys, and their connection is gone: nothing was sent."""


class ReplyTooLargeError(Exception):
    """More comes back than any answer may measure, or it does not come to an end."""


class UnsealedReplyError(Exception):
    """A sealed request got an answer in the clear."""


class StatusError(Exception):
    """An HTTP status that no WS-Management service means as an answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class BoundedAdapter(HTTPAdapter):
    """One connection to one host, without what requests would do beyond that.

    Attributes:
        sealed: There are keys: no new connection, and no answer in the clear.
        sent: A request was handed to an open connection since this was last set to False.
    """

    def __init__(self, *, read_seconds: float) -> None:
        self.sealed = False
        self.sent = False
        self._read_seconds = read_seconds
        self._connection: HTTPConnection | None = None
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **arguments: Any) -> None:
        """Make connections that tell us when they are opened."""
        super().init_poolmanager(*args, **arguments)
        adapter = self

        class Plain(HTTPConnection):
            def connect(self) -> None:
                adapter.begin_connecting()
                super().connect()
                adapter.connected(self)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                adapter.begin_connecting()
                super().connect()
                adapter.connected(self)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {
            "http": PlainPool,
            "https": SecurePool,
        }

    def close(self) -> None:
        """Close the connection at once: urllib3 leaves that to the garbage collector, and hosts count connections."""
        pools = self.poolmanager.pools
        keys = pools.keys()  # it cannot be walked through
        for key in keys:
            pool = pools.get(key)
            if pool is not None:
                pool.close()
        super().close()

    def begin_connecting(self) -> None:
        """Note that a connection is opened, or refuse it.

        Raises:
            StaleKeysError: There are keys, which belong to another one.
        """
        self.sent = False
        if self.sealed:
            raise StaleKeysError

    def connected(self, connection: HTTPConnection) -> None:
        """Note what was opened: from here on a request may be on its way."""
        self.sent = True
        self._connection = connection

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request, and let through what can be an answer."""
        del timeout, proxies  # ours, and none
        self.sent = True
        with self._head_in_time() as cut:
            response = super().send(
                request,
                stream=stream,
                timeout=(_CONNECT_SECONDS, self._read_seconds),
                verify=verify,
                cert=cert,
                proxies=None,
            )
        if cut.is_set():  # what came of the head may look like a whole one
            response.close()
            raise requests.ConnectionError("the head of the answer did not end")
        _bound(response.raw, self._read_seconds)
        status = response.status_code
        kind = response.headers.get("Content-Type", "").lower()
        if status not in (200, 400, 401, 500) or (self.sealed and status == 401):
            response.close()
            raise StatusError(status)
        if self.sealed and not any(sealed in kind for sealed in _SEALED_TYPES):
            response.close()
            raise UnsealedReplyError(f"HTTP {status} in the clear")
        return response

    @contextmanager
    def _head_in_time(self) -> Iterator[threading.Event]:
        """Break the connection where the head of an answer does not come to an end.

        The time-out of a socket begins anew with each byte, and before an answer HTTP allows any number of
        `100 Continue`. What is yielded is set where it was broken.
        """
        cut = threading.Event()
        timer = threading.Timer(
            _CONNECT_SECONDS + self._read_seconds, self._cut, (cut,)
        )
        timer.daemon = True
        timer.start()
        try:
            yield cut
        finally:
            timer.cancel()

    def _cut(self, cut: threading.Event) -> None:
        cut.set()
        opened = getattr(self._connection, "sock", None)
        if opened is not None:
            with suppress(OSError):
                # Not TLS's own, which would change what another thread reads with.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _bound(raw: Any, seconds: float) -> None:
    """Let the body of a response be read up to a size and a time.

    requests reads by `stream`; requests-ntlm looks for urllib3's own class, so nothing else can stand in for it.
    """
    unbounded = raw.stream
    deadline = time.monotonic() + seconds

    def stream(amount: int, decode_content: bool = True) -> Iterator[bytes]:
        left = MAX_REPLY_BYTES
        # Pieces of 64 KiB: requests asks for 10 KiB at a time.
        for piece in unbounded(max(amount, 1 << 16), decode_content):
            left -= len(piece)
            if left < 0 or time.monotonic() > deadline:
                raw.close()
                message = f"more than {MAX_REPLY_BYTES >> 20} MiB, or too slowly"
                raise ReplyTooLargeError(message)
            yield piece

    raw.stream = stream


def is_untrusted(error: BaseException) -> bool:
    """Whether the reason of an error is a certificate that was refused."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, ssl.SSLCertVerificationError):
            return True
        pending += [current.__cause__, current.__context__, *current.args]
        pending.append(getattr(current, "reason", None))
    return False

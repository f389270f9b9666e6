"""HTTP as WinRM speaks it: POST /wsman, one conversation a connection, sealed or in clear."""

import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from hypercbt.lab.wire import sealing
from hypercbt.lab.wire.auth import Conversation, Verdict
from hypercbt.lab.wire.service import Reply

if TYPE_CHECKING:
    from hypercbt.lab.wire.listener import Listener

_SOAP = "application/soap+xml;charset=UTF-8"
_SEAL_ROOM = 4096
"""What the multipart frame and a signature add to an envelope, and more."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection, in a thread of its own."""

    server: "Listener"
    protocol_version = "HTTP/1.1"
    server_version = "Microsoft-HTTPAPI/2.0"
    sys_version = ""
    # Head and body leave in one segment: else each answer waits 40 ms for an acknowledgement.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Do the TLS handshake here: the thread that accepts must wait for nobody."""
        self.request.settimeout(self.server.options.connection_timeout_seconds)
        tls = self.server.tls
        if tls is not None:
            self.request = tls.wrap_socket(
                self.request, server_side=True, do_handshake_on_connect=False
            )
        self.server.opened(self.request)
        try:
            name = None if tls is None else _shown_name(self.request)
        except BaseException:
            self.server.closed(self.request)
            self.request.close()
            raise
        self._conversation = Conversation(
            self.server.authority,
            bindings=self.server.bindings,
            basic=self._clear_allowed,
            certificate_name=name,
        )
        super().setup()

    def finish(self) -> None:
        """Close the connection, also where it broke."""
        with contextlib.suppress(OSError):
            super().finish()
        self.rfile.close()  # left open where the end of an answer could not be sent
        self.server.closed(self.request)
        self.request.close()

    @property
    def _clear_allowed(self) -> bool:
        return self.server.tls is not None or self.server.options.allow_unencrypted

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the server's book has it all."""

    def do_POST(self) -> None:
        """Answer one request."""
        body = self._body()
        if body is None:
            return
        if self.path.partition("?")[0] != "/wsman":
            self._send(HTTPStatus.NOT_FOUND, b"")
            return
        verdict = self._conversation.authorize(self.headers.get("Authorization"))
        if verdict.user is None:
            self._unauthenticated(body, verdict)
        elif not body:
            # The end of a handshake that came alone.
            self._send(HTTPStatus.OK, b"", verdict)
        elif "multipart/" in self.headers.get("Content-Type", ""):
            self._sealed(body, verdict.user, verdict)
        elif self._clear_allowed:
            self._clear(body, verdict.user, verdict)
        else:
            # AllowUnencrypted is false. That a host says 500 here is [M].
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, b"", verdict)

    def _body(self) -> bytes | None:
        """Read what was posted, if it is of a size that is taken; else answer, and give None."""
        text = self.headers.get("Content-Length", "")
        most = self.server.options.max_envelope_bytes + _SEAL_ROOM
        refusal = None
        if "Transfer-Encoding" in self.headers or not text:
            refusal = HTTPStatus.LENGTH_REQUIRED
        elif not (text.isascii() and text.isdigit()):
            refusal = HTTPStatus.BAD_REQUEST
        elif len(text) > 12 or int(text) > most:
            refusal = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if refusal is None:
            body = self.rfile.read(int(text))
            if len(body) == int(text):
                return body
            self.close_connection = True
            return None
        # What follows on this connection cannot be told from the body that was not read.
        self.close_connection = True
        self._send(refusal, b"")
        return None

    def _unauthenticated(self, body: bytes, verdict: Verdict) -> None:
        asks_who = self.headers.get("WSMANIDENTIFY", "").lower() == "unauthenticated"
        if asks_who and self.server.service.is_identify(body):
            self._clear(body, "", verdict)
            return
        self._send(HTTPStatus.UNAUTHORIZED, b"", verdict)

    def _clear(self, body: bytes, user: str, verdict: Verdict) -> None:
        self._reply(self.server.service.answer(body, user), verdict, _SOAP)

    def _sealed(self, body: bytes, user: str, verdict: Verdict) -> None:
        context = self._conversation.context
        said = self.headers.get("Content-Type", "")
        protocol = sealing.KERBEROS if sealing.KERBEROS in said else sealing.SPNEGO
        try:
            if context is None:
                raise sealing.BadSealError("no handshake was done here")
            plain = sealing.unseal(body, context.unwrap_winrm)
        except sealing.BadSealError:
            # A seal that does not hold spoils the keystream: this conversation is over. The status is [I].
            self._conversation.forget()
            self._send(HTTPStatus.BAD_REQUEST, b"")
            return
        reply = self.server.service.answer(plain, user)
        if reply.body is not None and not reply.forget:
            reply = replace(reply, body=sealing.seal(reply.body, context, protocol))
        self._reply(reply, verdict, sealing.content_type(protocol))

    def _reply(self, reply: Reply, verdict: Verdict, kind: str) -> None:
        if reply.body is None:
            self._break()
        elif reply.forget:
            self._conversation.forget()
            self._send(reply.status, b"", self._conversation.authorize(None))
        else:
            half = len(reply.body) // 2 if reply.halfway else None
            self._send(reply.status, reply.body, verdict, kind, half)

    def _break(self) -> None:
        """Break the connection instead of an answer."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)

    def _send(
        self,
        status: int,
        body: bytes,
        verdict: Verdict | None = None,
        kind: str = "",
        half: int | None = None,
    ) -> None:
        """Send an answer, or so many bytes of it."""
        self.send_response(status)
        for challenge in verdict.challenges if verdict else ():
            self.send_header("WWW-Authenticate", challenge)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[:half])
        self.wfile.flush()
        if half is not None:
            self._break()


def _shown_name(connection: ssl.SSLSocket) -> str | None:
    """Do the handshake; return the name in the certificate that the client showed, if its authority vouches for it."""
    connection.do_handshake()
    shown: Mapping[str, Any] = connection.getpeercert() or {}
    pairs = (pair for part in shown.get("subject", ()) for pair in part)
    return next((str(value) for name, value in pairs if name == "commonName"), None)

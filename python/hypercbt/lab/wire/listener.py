"""The socket that a host listens on, and the threads of its connections."""

import contextlib
import hashlib
import os
import socket
import socketserver
import ssl
import sys
import threading
from http.server import HTTPServer

import spnego.channel_bindings
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from hypercbt.lab.wire.auth import Authority
from hypercbt.lab.wire.http import Handler
from hypercbt.lab.wire.options import TlsFiles, WireOptions
from hypercbt.lab.wire.service import Service


class Listener(HTTPServer):
    """Accepts connections, and serves each in a thread of its own.

    Args:
        address: Where to listen.
        service: What answers.
        authority: Who may ask.
        options: How the host behaves.
        tls: Its certificate: HTTPS.
    """

    request_queue_size = 128
    # On Windows it would let two hosts listen at one port.
    allow_reuse_address = os.name == "posix"

    def __init__(
        self,
        address: tuple[str, int],
        service: Service,
        authority: Authority,
        options: WireOptions,
        tls: TlsFiles | None,
    ) -> None:
        self.service = service
        self.authority = authority
        self.options = options
        self.tls = None if tls is None else _tls_context(tls)
        bound = tls is not None and options.channel_bindings
        self.bindings = _bindings(tls) if tls is not None and bound else None
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closing = False
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind, and ask no name server who we are, as HTTPServer would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: object, client_address: object) -> None:
        """Serve a connection in a thread of its own, if there are not too many."""
        with self._lock:
            full = len(self._threads) >= self.options.max_connections
        if full:
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        thread = threading.Thread(
            target=self._serve,
            args=(request, client_address),
            name="hypercbt-lab-connection",
            daemon=True,
        )
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, request: object, client_address: object) -> None:
        try:
            self.finish_request(request, client_address)  # type: ignore[arg-type]
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)  # type: ignore[arg-type]
            with self._lock:
                self._threads.discard(threading.current_thread())

    def handle_error(self, request: object, client_address: object) -> None:
        """Note what should not have happened. A client that goes away, or cannot do TLS, is none of it."""
        del request, client_address
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.service.book.errors.append(error)

    def opened(self, connection: socket.socket) -> None:
        """Know a connection, so that it can be broken; at once where its thread comes only now, and the host is gone."""
        with self._lock:
            self._sockets.add(connection)
            if self._closing:
                _break(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget it."""
        with self._lock:
            self._sockets.discard(connection)

    def drop_connections(self) -> None:
        """Break every connection, as an idle time-out or a power cut does."""
        with self._lock:
            for connection in self._sockets:
                _break(connection)

    def join(self, timeout_seconds: float) -> None:
        """Break every connection for good, and wait for their threads."""
        with self._lock:
            self._closing = True
            threads = list(self._threads)
        self.drop_connections()
        for thread in threads:
            thread.join(timeout_seconds)


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if files.client_authority is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(files.client_authority)
    return context


def _bindings(files: TlsFiles) -> spnego.channel_bindings.GssChannelBindings:
    """Return what a client binds its handshake to: the certificate that it was shown (RFC 5929, 4.1)."""
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    name = "sha256" if algorithm is None else algorithm.name
    name = "sha256" if name in ("md5", "sha1") else name
    digest = hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()
    return spnego.channel_bindings.GssChannelBindings(
        application_data=b"tls-server-end-point:" + digest
    )

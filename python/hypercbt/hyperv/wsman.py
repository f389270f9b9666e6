r"""The one module that speaks to a host: WS-Management through pywinrm's transport.

pywinrm authenticates, seals messages over plain HTTP, and sends. It has traps, all closed here:

* If sealing cannot be set up, its session stays behind and would send the next message in the clear.
* A sealed message belongs to one connection. When that is gone, requests would open another and send the message
  sealed with the old keys, and every later one too. So a new connection is refused while there are keys, and after
  any error session and keys are dropped together.
* It believes an answer in the clear although it had sealed the question.
* It reads answers of any size, follows redirects, and takes proxies, certificates and netrc entries from the
  environment.
* Its `Protocol` parses faults before anybody has looked at them, and drops message ids and the details of a timeout:
  envelopes go to its transport directly.
"""

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn

import requests
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError
from winrm.transport import HAVE_CREDSSP, HAVE_KERBEROS, Transport

from hypercbt.errors import (
    HostAccessDeniedError,
    HostAuthenticationError,
    HostCertificateError,
    HostReplyError,
    HostUnreachableError,
    LostReplyError,
)
from hypercbt.hyperv.address import Address, parse_address
from hypercbt.hyperv.connection import (
    BoundedAdapter,
    ReplyTooLargeError,
    StaleKeysError,
    StatusError,
    UnsealedReplyError,
    is_untrusted,
)
from hypercbt.hyperv.conversation import Channel, Conversation
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.envelope import Request
from hypercbt.hyperv.transcript import Recorder

# What pywinrm's Kerberos has to say comes as an error, too: not on the terminal of whoever has no logging.
logging.getLogger("winrm").addHandler(logging.NullHandler())

Method = Literal[
    "auto", "ntlm", "kerberos", "certificate", "basic", "credssp", "negotiate"
]
_BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
"""Of requests' errors, those of a connection. Those of pywinrm's Kerberos derive from its most general one."""
_READ_MARGIN_SECONDS = 15
"""A host that gives up after the time it was given still has to say so."""


class WsmanSession(Conversation):
    """One authenticated conversation with one host. Implements `hypercbt.hyperv.session.Session`."""

    @classmethod
    def open(
        cls,
        host: str,
        *,
        credentials: Credentials,
        transport: Method = "auto",
        port: int | None = None,
        tls: bool | None = None,
        ca: Path | None = None,
        verify: bool = True,
        timeout_seconds: float = 60,
        record: Path | None = None,
    ) -> "WsmanSession":
        """Return a session. Nothing is sent before the first question.

        Args:
            host: `hv01`, `hv01:5985`, `http://hv01:5985`, `https://hv01`, `[::1]:5985`; https at 5986 unless it says
                something else.
            credentials: Who asks.
            transport: How that is proved. `auto`: by a certificate if there is one, by NTLM if there is a password,
                else by Kerberos. `negotiate`: the same without a certificate.
            port: Instead of one in the text.
            tls: True for https, False for http. Over http, messages are sealed (NTLM, Kerberos, CredSSP); what cannot
                seal is refused.
            ca: A PEM file with the certificates that are trusted. Without it: those that come with certifi.
            verify: Whether the host's certificate is checked.
            timeout_seconds: How long the host may take for one request.
            record: A file that a transcript is written to, with names and secrets removed.

        Raises:
            ValueError: Something contradicts itself, or would send a password in the clear.
            HostAuthenticationError: Something is missing for this kind of proof.
        """
        address = parse_address(host, port=port, tls=tls)
        method = _method(transport, credentials)
        _check(method, credentials, address, timeout_seconds)
        for file in (ca, credentials.certificate, credentials.key):
            if file is not None and not file.exists():
                message = f"there is no file {file}"
                raise ValueError(message)
        channel: Channel = _WinrmChannel(
            address, method, credentials, ca=ca, verify=verify, seconds=timeout_seconds
        )
        if record is not None:
            channel = Recorder(channel, record)
        return cls(host, channel, timeout_seconds=timeout_seconds)


def _method(transport: Method, credentials: Credentials) -> str:
    if transport not in Method.__args__:  # type: ignore[attr-defined]
        message = f"{transport!r} is none of {', '.join(Method.__args__)}"  # type: ignore[attr-defined]
        raise ValueError(message)
    if transport == "auto" and credentials.certificate is not None:
        return "certificate"
    if transport in ("auto", "negotiate"):
        # pywinrm's NTLM goes inside Negotiate, which is what hosts ask for.
        return "kerberos" if credentials.password is None else "ntlm"
    return transport


def _check(
    method: str, credentials: Credentials, address: Address, timeout_seconds: float
) -> None:
    if method in ("basic", "certificate") and not address.tls:
        message = f"{method} would go over plain http in the clear: only over https"
        raise ValueError(message)
    if not 1 <= timeout_seconds <= 3600:
        message = "a host gets between 1 and 3600 seconds for a request"
        raise ValueError(message)
    if method == "certificate":
        if credentials.certificate is None or credentials.key is None:
            message = "a client certificate needs its file and that of its key"
            raise HostAuthenticationError(message)
    elif method != "kerberos" and not (credentials.user and credentials.password):
        message = f"{method} needs a user and a password, and there is none for {address.host}"
        raise HostAuthenticationError(message)
    if method == "kerberos" and not HAVE_KERBEROS:
        why = (
            ""
            if credentials.user
            else "there is no user and no password, so it would have to be Kerberos, and "
        )
        message = f"{why}Kerberos needs more than is installed: pip install 'hypercbt[kerberos]'"
        raise HostAuthenticationError(message)
    if method == "credssp" and not HAVE_CREDSSP:
        message = "CredSSP needs more than is installed: pip install 'pywinrm[credssp]'"
        raise HostAuthenticationError(message)


class _Transport(Transport):
    """pywinrm's transport, with an adapter of ours under it."""

    def __init__(self, adapter: BoundedAdapter, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._adapter = adapter

    def build_session(self) -> requests.Session:
        session = super().build_session()
        self._prepare(session)
        return session

    def setup_encryption(self, session: requests.Session) -> None:
        self._prepare(session)  # called before anything is sent
        super().setup_encryption(session)

    def _prepare(self, session: requests.Session) -> None:
        session.trust_env = False
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)


class _WinrmChannel:
    """Carries envelopes to a host, one at a time."""

    def __init__(
        self,
        address: Address,
        method: str,
        credentials: Credentials,
        *,
        ca: Path | None,
        verify: bool,
        seconds: float,
    ) -> None:
        self._address = address
        self._method = method
        self._user = credentials.user
        self._lock = threading.RLock()
        self._sending = False
        self._adapter = BoundedAdapter(read_seconds=seconds + _READ_MARGIN_SECONDS)
        self._transport = _Transport(
            self._adapter,
            endpoint=address.url,
            username=credentials.user,
            password=credentials.password,
            service="HTTP",
            # None: those of certifi, and nothing out of the environment.
            ca_trust_path=None if ca is None else str(ca),
            cert_pem=None
            if credentials.certificate is None
            else str(credentials.certificate),
            cert_key_pem=None if credentials.key is None else str(credentials.key),
            server_cert_validation="validate" if verify else "ignore",
            auth_method=method,
            message_encryption="auto" if address.tls else "always",
            proxy=None,
        )

    @property
    def url(self) -> str:
        """The endpoint."""
        return self._address.url

    def send(self, request: Request) -> bytes:
        """Return the host's envelope, be it an answer or a fault."""
        with self._lock:
            if self._sending:
                # An enumeration that nobody holds any more is let go of wherever the garbage collector runs.
                message = "another request is under way"
                raise ValueError(message)
            self._sending = True
            try:
                return self._send(request)
            except StaleKeysError:
                # The host let go of an idle connection. Nothing was sent: again, with new keys.
                return self._send_anew(request)
            finally:
                self._sending = False

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._reset()

    def _send(self, request: Request) -> bytes:
        believed = False
        try:
            self._connect()
            answer = self._exchange(request)
            believed = True
        finally:
            if not believed:
                self._reset()
        return answer

    def _send_anew(self, request: Request) -> bytes:
        self._reset()
        try:
            return self._send(request)
        except StaleKeysError as error:
            message = f"{self._address.host} lets go of each connection as soon as it knows who asks"
            raise HostUnreachableError(message) from error

    def _connect(self) -> None:
        """Authenticate, and set up the keys, before anything of ours is sent."""
        try:
            self._transport.build_session()
        except Exception as error:
            # pywinrm, requests, spnego and GSSAPI each have errors of their own, and raise others' too.
            self._refuse(error, sent=False)
        if not self._address.tls and self._transport.encryption is None:
            message = f"messages to {self._address.host} cannot be sealed"
            raise HostAuthenticationError(message)

    def _exchange(self, request: Request) -> bytes:
        self._adapter.sent = False
        self._adapter.sealed = self._transport.encryption is not None
        try:
            return self._transport.send_message(request.text)
        except WinRMTransportError as error:  # HTTP 400 or 500, and with that a fault
            return error.response_text.encode()
        except StaleKeysError:
            raise
        except Exception as error:
            self._refuse(error, sent=self._adapter.sent)

    def _reset(self) -> None:
        """Drop the connection and the keys that belong to it."""
        with suppress(Exception):
            self._transport.close_session()
        self._transport.session = None
        self._transport.encryption = None
        self._adapter.sealed = False

    def _refuse(self, error: Exception, *, sent: bool) -> NoReturn:
        """Raise the error of ours that an error of theirs means."""
        host = self._address.host
        if isinstance(error, InvalidCredentialsError):
            message = f"{host} does not accept the credentials{f' of {self._user}' if self._user else ''}"
            raise HostAuthenticationError(message) from error
        if is_untrusted(error):
            message = f"the certificate of {host} is not to be trusted: {error}"
            raise HostCertificateError(message) from error
        if isinstance(error, StatusError):
            self._refuse_status(error, sent=sent)
        if isinstance(error, WinRMTransportError):
            message = f"{host} answered HTTP {error.code} to a greeting"
            raise HostUnreachableError(message) from error
        broken = isinstance(error, _BROKEN) or (
            isinstance(error, OSError)
            and not isinstance(error, requests.RequestException)
        )
        why = str(error) or type(error).__name__
        if sent:
            what = "broke after a request was sent" if broken else "cannot be believed"
            message = f"the connection to {host} {what}: {why}"
            raise LostReplyError(message) from error
        if isinstance(error, ReplyTooLargeError | UnsealedReplyError):
            message = f"the answer of {host} cannot be believed: {why}"
            raise HostReplyError(message) from error
        if broken:
            message = f"{host} does not answer at {self._address.url}: {why}"
            if self._address.tls:  # many hosts have no listener for it
                message += f"; if it speaks plain HTTP only, write {self._address.plain_text} (messages are sealed)"
            raise HostUnreachableError(message) from error
        if isinstance(
            error, AttributeError | KeyError
        ):  # there are no keys to seal with
            why = "it never asked"
        message = f"cannot prove to {host} who asks, by {self._method}: {why}"
        raise HostAuthenticationError(message) from error

    def _refuse_status(self, error: StatusError, *, sent: bool) -> NoReturn:
        host, status = self._address.host, error.status
        if status == 403:
            message = f"{host} does not let {self._user or 'the caller'} in (HTTP 403)"
            raise HostAccessDeniedError(message) from error
        message = f"{host} answered HTTP {status} at {self._address.url}"
        # What is refused at the door was not done: no service there, or it lost our keys.
        if sent and status not in (401, 404, 405, 411, 413, 503):
            raise LostReplyError(message) from error
        raise HostUnreachableError(message) from error

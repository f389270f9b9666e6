"""Who asks: Negotiate (NTLM, Kerberos), Basic, and client certificates, each for one TCP connection.

The handshakes and the sealing are pyspnego's acceptor, real ones. As with WinRM, it is the connection that is authenticated:
requests after the handshake carry no `Authorization`.
"""

import base64
import binascii
import hmac
import os
import struct
import tempfile
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import spnego
import spnego.channel_bindings
import spnego.exceptions

from hypercbt.closing import Closing
from hypercbt.lab.wire import names

METHODS = frozenset(("negotiate", "kerberos", "basic", "certificate"))
MAX_TOKEN = 64 * 1024

_BAD_TOKEN = (
    spnego.exceptions.SpnegoError,
    ValueError,
    LookupError,
    OverflowError,
    struct.error,
)
"""The parsers of tokens raise plain errors of Python, too."""
_ENVIRONMENT = threading.Lock()
"""pyspnego takes the users of an NTLM acceptor from a variable of the environment: one host at a time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an `Authorization`."""

    user: str | None
    """None: not yet, or no."""
    challenges: tuple[str, ...] = ()
    """What goes into `WWW-Authenticate`."""


class Authority(Closing):
    """The users of one host.

    Args:
        users: Passwords by name. Neither may hold a colon or a line break: pyspnego's file has no way to write them.
        methods: Of `METHODS`. `negotiate` speaks NTLM, and Kerberos too where `kerberos` is among them.
        host_name: The domain that local users may give.
        spn_host: The host of the Kerberos service principal `HTTP/…`; its key comes from `KRB5_KTNAME`.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        methods: Collection[str],
        host_name: str,
        spn_host: str,
    ) -> None:
        if unknown := set(methods) - METHODS:
            raise ValueError(f"unknown authentication: {', '.join(sorted(unknown))}")
        if any(set(text) & set(":\r\n\0") for pair in users.items() for text in pair):
            raise ValueError("a user or password with a colon or a line break")
        self.methods = frozenset(methods)
        self.spn_host = spn_host
        self._users = {name.casefold(): (name, users[name]) for name in users}
        # A local user is the same without a domain, in the host's own, and in `.`.
        lines = [
            f"{domain}:{name}:{password}\n"
            for name, password in users.items()
            for domain in ("", host_name, ".")
        ]
        content = "".join(lines).encode()
        self._folder = tempfile.TemporaryDirectory(prefix="hypercbt-lab-")
        self._file = Path(self._folder.name) / "users"
        self._file.touch(mode=0o600)
        self._file.write_bytes(content)

    def close(self) -> None:
        """Forget the users."""
        self._folder.cleanup()

    def basic(self, token: bytes) -> str | None:
        """Return the user whose name and password these are."""
        try:
            name, _, password = token.decode().partition(":")
        except UnicodeDecodeError:
            return None
        name = name.rpartition("\\")[2]
        known = self._users.get(name.casefold())
        if known is None or not hmac.compare_digest(
            known[1].encode(), password.encode()
        ):
            return None
        return known[0]

    def mapped(self, common_name: str) -> str | None:
        """Return the user whom a client certificate of this name stands for."""
        known = self._users.get(common_name.casefold())
        return None if known is None else known[0]

    def step(self, context: spnego.ContextProxy, token: bytes) -> bytes | None:
        """Take a handshake one step on."""
        with _ENVIRONMENT:
            before = os.environ.get("NTLM_USER_FILE")
            os.environ["NTLM_USER_FILE"] = str(self._file)
            try:
                return context.step(token)
            finally:
                if before is None:
                    del os.environ["NTLM_USER_FILE"]
                else:
                    os.environ["NTLM_USER_FILE"] = before


class Conversation:
    """Who is at the other end of one connection. For the one thread that serves it.

    Args:
        authority: Who may be.
        bindings: What the client must have bound its handshake to: over TLS.
        basic: Whether Basic is taken here.
        certificate_name: The common name of the certificate that the client has shown.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        bindings: spnego.channel_bindings.GssChannelBindings | None,
        basic: bool,
        certificate_name: str | None,
    ) -> None:
        self._authority = authority
        self._bindings = bindings
        self._basic = basic and "basic" in authority.methods
        self._certificate_name = certificate_name
        self._context: spnego.ContextProxy | None = None
        self._user: str | None = None

    @property
    def context(self) -> spnego.ContextProxy | None:
        """What seals and unseals on this connection, once its handshake is done."""
        context = self._context
        return context if context is not None and context.complete else None

    def forget(self) -> None:
        """Want to be told again who it is."""
        self._context = None
        self._user = None

    def authorize(self, header: str | None) -> Verdict:
        """Judge a request by its `Authorization`, or by what the connection has shown before."""
        if header is None:
            if self._user is not None:
                return Verdict(self._user)
            return Verdict(None, self._offers())
        scheme, _, text = header.strip().partition(" ")
        scheme = scheme.lower()
        if scheme in ("negotiate", "kerberos") and scheme in self._schemes():
            return self._handshake(scheme, text)
        if scheme == "basic" and self._basic:
            # No connection is trusted for a password: it comes with each request.
            user = self._authority.basic(_decoded(text) or b"")
            return Verdict(user, () if user else self._offers())
        if header == names.MUTUAL_TLS and "certificate" in self._authority.methods:
            user = self._authority.mapped(self._certificate_name or "")
            return Verdict(user, () if user else self._offers())
        return Verdict(None, self._offers())

    def _schemes(self) -> frozenset[str]:
        return self._authority.methods & {"negotiate", "kerberos"}

    def _offers(self) -> tuple[str, ...]:
        offers = [
            name.capitalize()
            for name in ("negotiate", "kerberos")
            if name in self._schemes()
        ]
        if self._basic:
            offers.append('Basic realm="WSMAN"')
        return tuple(offers)

    def _handshake(self, scheme: str, text: str) -> Verdict:
        token = _decoded(text)
        if not token or len(token) > MAX_TOKEN:
            return Verdict(None, self._offers())
        if self._context is None or self._context.complete:
            self._user = None
            self._context = self._new_context(scheme)
        try:
            answer = self._authority.step(self._context, token)
        except _BAD_TOKEN:
            # Whatever was wrong with it, one who asks learns no more than that.
            self.forget()
            return Verdict(None, self._offers())
        said = base64.b64encode(answer or b"").decode()
        offer = (f"{scheme.capitalize()} {said}".strip(),) if said else ()
        if not self._context.complete:
            return Verdict(None, offer)
        principal = self._context.client_principal or ""
        self._user = principal.rpartition("\\")[2].partition("@")[0]
        return Verdict(self._user, offer)

    def _new_context(self, scheme: str) -> spnego.ContextProxy:
        options = spnego.NegotiateOptions.wrapping_winrm
        if scheme == "negotiate":
            options |= spnego.NegotiateOptions.use_negotiate
            if "kerberos" not in self._authority.methods:
                options |= spnego.NegotiateOptions.use_ntlm
        return spnego.server(
            hostname=self._authority.spn_host,
            service="HTTP",
            protocol=scheme,
            channel_bindings=self._bindings,
            options=options,
        )


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None

"""Where a host listens: `hv01`, `hv01:5985`, `http://hv01:5985`, `https://hv01`, `[::1]:5985`.

Unless something else is said, a host is asked over TLS at port 5986: the certificate tells that it is the right one.
Plain HTTP at 5985, which every host has from the start, needs no certificate; there the messages are sealed with the
keys of NTLM or Kerberos, and what cannot seal is refused (`hypercbt.hyperv.wsman`).
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

HTTP_PORT = 5985
HTTPS_PORT = 5986
_PATH = "/wsman"
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.\-]*[0-9A-Za-z_])?\.?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """One endpoint of WS-Management."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    tls: bool

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{'https' if self.tls else 'http'}://{self._named}:{self.port}{_PATH}"

    @property
    def plain_text(self) -> str:
        """What people write who mean the same host over plain HTTP."""
        port = "" if self.port in (HTTP_PORT, HTTPS_PORT) else f":{self.port}"
        return f"http://{self._named}{port}"

    @property
    def _named(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_address(
    text: str, *, port: int | None = None, tls: bool | None = None
) -> Address:
    """Return the endpoint that is meant.

    Args:
        text: The host, maybe with a port, maybe with a scheme.
        port: Instead of one in the text.
        tls: True for https, False for http; None: as the text or the port say, else https.

    Raises:
        ValueError: It is no such text, or two things contradict each other. The text is not repeated in the message
            where it may hold a password.
    """
    scheme, said_port, host = _split(text)
    if port is not None and said_port is not None and port != said_port:
        message = f"two ports for one host: {said_port} and {port}"
        raise ValueError(message)
    port = said_port if port is None else port
    if scheme is not None and tls is not None and tls != (scheme == "https"):
        message = f"the host is given as {scheme}://, and TLS as {'wanted' if tls else 'not wanted'}"
        raise ValueError(message)
    if tls is None:
        tls = scheme == "https" if scheme else port != HTTP_PORT
    if port is None:
        port = HTTPS_PORT if tls else HTTP_PORT
    if not 0 < port < 65536:
        message = f"{port} is no port"
        raise ValueError(message)
    return Address(host, port, tls)


def _split(text: str) -> tuple[str | None, int | None, str]:
    if "@" in text:
        message = "a host is given without a user: credentials have ways of their own"
        raise ValueError(message)
    scheme, marker, _ = text.partition("://")
    if marker and scheme.lower() not in ("http", "https"):
        message = f"a host is asked by http or https, not by {scheme}"
        raise ValueError(message)
    try:
        parts = urlsplit(text if marker else f"//{text}")
        port, host = parts.port, parts.hostname
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    literal = host is not None and ":" in host
    if (
        not host
        or parts.path.rstrip("/") not in ("", _PATH)
        or parts.query
        or parts.fragment
        or not (literal or _HOST.fullmatch(host))
    ):
        message = f"{text!r} is no host: expected NAME, NAME:PORT, http://NAME:PORT or [IPv6]:PORT"
        raise ValueError(message)
    return (scheme.lower() if marker else None), port, host

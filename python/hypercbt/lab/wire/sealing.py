"""Message encryption as WinRM does it (MS-WSMV 2.2.9.1): a multipart body around a sealed envelope.

```text
--Encrypted Boundary
    Content-Type: application/HTTP-SPNEGO-session-encrypted
    OriginalContent: type=application/soap+xml;charset=UTF-8;Length=<of what is sealed>
--Encrypted Boundary
    Content-Type: application/octet-stream
<int32 length of the signature><signature><sealed bytes>--Encrypted Boundary--
```
"""

import re
import struct
from collections.abc import Callable

import spnego
import spnego.exceptions

SPNEGO = "application/HTTP-SPNEGO-session-encrypted"
KERBEROS = "application/HTTP-Kerberos-session-encrypted"

_BOUNDARY = b"--Encrypted Boundary"
_HEAD = re.compile(
    rb"--\s*Encrypted Boundary\r\n\t?Content-Type:\s*(?P<protocol>[^\r\n]+)\r\n"
    rb"\t?OriginalContent:[^\r\n]*;\s*Length=(?P<length>\d{1,10})\r\n"
    rb"--\s*Encrypted Boundary\r\n\t?Content-Type:\s*application/octet-stream\r\n",
    re.IGNORECASE,
)
_TAIL = re.compile(rb"--\s*Encrypted Boundary--(?:\r\n)?\Z")


class BadSealError(ValueError):
    """What was sent is not sealed, or not by the one who authenticated on this connection."""


def unseal(body: bytes, unwrap: Callable[[bytes, bytes], bytes]) -> bytes:
    """Return the envelope.

    Args:
        body: The multipart body.
        unwrap: Takes the signature and the sealed bytes.

    Raises:
        BadSealError: It does not hold, for example because the connection was made anew and its seal was not.
    """
    head = _HEAD.match(body)
    tail = _TAIL.search(body, max(0, len(body) - 64))
    if not head or not tail or tail.start() < head.end() + 4:
        raise BadSealError("not a sealed message")
    stream = body[head.end() : tail.start()]
    (length,) = struct.unpack_from("<i", stream)
    if not 0 <= length <= len(stream) - 4:
        raise BadSealError("a signature that is longer than the message")
    try:
        plain = unwrap(stream[4 : 4 + length], stream[4 + length :])
    except spnego.exceptions.SpnegoError as error:
        raise BadSealError(str(error)) from error
    if len(plain) != int(head["length"]):
        raise BadSealError("another length than was announced")
    return plain


def seal(plain: bytes, context: spnego.ContextProxy, protocol: str) -> bytes:
    """Return an envelope as a multipart body."""
    header, data, padding = context.wrap_winrm(plain)
    said = (
        f"\r\n\tContent-Type: {protocol}\r\n"
        f"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={len(plain) + padding}\r\n"
    ).encode()
    return b"".join(
        (
            _BOUNDARY,
            said,
            _BOUNDARY,
            b"\r\n\tContent-Type: application/octet-stream\r\n",
            struct.pack("<i", len(header)),
            header,
            data,
            _BOUNDARY,
            b"--\r\n",
        )
    )


def content_type(protocol: str) -> str:
    """Return the `Content-Type` of a sealed message."""
    return f'multipart/encrypted;protocol="{protocol}";boundary="Encrypted Boundary"'

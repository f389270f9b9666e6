"""XML as text, both ways: what clients send is hostile, what we send is built by hand.

Answers are joined from strings: the prefixes are those that a Windows host uses, and a list of a million changed
ranges costs little more than its bytes.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.sax.saxutils import escape

MAX_DEPTH = 64
"""Deeper than any request; shallow enough for what walks a tree by recursion."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BREAKS = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


class BadXmlError(ValueError):
    """What was sent is not XML, or not of the kind that is read here."""


def parse(data: bytes | str) -> ElementTree.Element:
    """Parse a document.

    There is no document type, so no entity of the sender's: SOAP forbids it (SOAP 1.2 part 1, 5).

    Raises:
        BadXmlError: It does not parse, has a document type, or is nested too deeply.
    """
    text = data if isinstance(data, str) else _decode(data)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadXmlError("a document type is not allowed")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise BadXmlError(str(error)) from error
    if any(depth > MAX_DEPTH for depth in _depths(root)):
        raise BadXmlError("nested too deeply")
    return root


def _decode(data: bytes) -> str:
    """WS-Management allows UTF-8 and UTF-16, and nothing else."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadXmlError(f"not {encoding}") from error
    # A declaration speaks of bytes: it would contradict what was just decoded.
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1)


def _depths(root: ElementTree.Element) -> Iterator[int]:
    pending = [(root, 1)]
    while pending:
        element, depth = pending.pop()
        yield depth
        pending.extend((child, depth + 1) for child in element)


def local_name(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition("}")[2]


def content(text: str) -> str:
    """Return text as it stands between two tags. What XML cannot hold becomes U+FFFD."""
    return escape(_FORBIDDEN.sub("\ufffd", text), {"\r": "&#13;"})


def attribute(text: str) -> str:
    """Return text as it stands between the quotes of an attribute."""
    return escape(_FORBIDDEN.sub("\ufffd", text), _BREAKS)

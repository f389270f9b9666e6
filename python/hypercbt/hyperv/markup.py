"""XML, as far as WS-Management needs it: text that goes out, and untrusted text that comes in.

What comes in is parsed without a document type (so there are no entities to expand) and only as UTF-8, which is what
we send and what hosts answer with.
"""

import re
from typing import NoReturn
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from hypercbt.errors import HostReplyError

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
MICROSOFT = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
CIM = "http://schemas.dmtf.org/wbem/wscim/1/common"
SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
ANONYMOUS = f"{ADDRESSING}/role/anonymous"

NIL = f"{{{SCHEMA_INSTANCE}}}nil"
TYPE = f"{{{SCHEMA_INSTANCE}}}type"

# Attribute values and line ends would be normalised away, hence the references (XML 1.0, 2.11 and 3.3.3).
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\r": "&#13;",
    "\n": "&#10;",
    "\t": "&#9;",
}
_SPECIAL = re.compile('[&<>"\r\n\t]')
IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document can hold, not even as a reference (XML 1.0, 2.2)."""


def escape(text: str) -> str:
    """Return text as it stands in an element or in an attribute.

    Raises:
        ValueError: It has a character that XML cannot hold.
    """
    if IMPOSSIBLE.search(text):
        message = "a text for a host has a character that XML cannot hold"
        raise ValueError(message)
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


class _Tree(ElementTree.TreeBuilder):
    """Builds elements, and refuses a document type."""

    def doctype(self, *_: str | None) -> NoReturn:
        message = "the host's answer has a document type, which no such answer has"
        raise HostReplyError(message)


def parse(text: str | bytes, *, what: str = "the host's answer") -> Element:
    """Return the root of untrusted XML.

    Raises:
        HostReplyError: It is not well formed, or has a document type.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    parser = ElementTree.XMLParser(target=_Tree(), encoding="utf-8")
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ElementTree.ParseError as error:
        message = f"{what} is not well-formed XML: {error}"
        raise HostReplyError(message) from error
    return root


def local(name: str) -> str:
    """Return an element's name without its namespace."""
    return name.rpartition("}")[2]


def is_nil(element: Element) -> bool:
    """Whether the element stands for null."""
    return element.get(NIL, "").strip() in ("true", "1")


def child(element: Element, name: str) -> Element | None:
    """Return the first child of this local name, or None."""
    for candidate in element:
        if local(candidate.tag) == name:
            return candidate
    return None


def text_of(element: Element | None) -> str:
    """Return the text directly in an element, without the white space around it."""
    return "" if element is None or element.text is None else element.text.strip()

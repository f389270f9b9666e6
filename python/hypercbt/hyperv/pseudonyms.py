r"""Names and secrets out of envelopes, with the form of everything kept.

What stays is what a fixture needs: elements, attributes' names, numbers, moments, return values, codes, and the words
that Hyper-V, CIM and WS-Management use themselves. Every other word, in whatever language, becomes `word1`,
`word2` and so on, the same one each time and whatever its case, because nobody can list what is a name: machines',
hosts', users', folders', messages' words. Identifiers become others of the same form, and so do IP addresses.

```text
\\HV01\root\virtualization\v2:Msvm_X.InstanceID="Microsoft:4FE3…\\web"
\\word1\root\virtualization\v2:Msvm_X.InstanceID="Microsoft:0000…\\word2"
```
"""

import html
import re
from collections.abc import Callable
from itertools import pairwise

from hypercbt.hyperv.classes import CLASSES
from hypercbt.hyperv.markup import IMPOSSIBLE, escape

# Hyphens, and colons as in an RCT id. May stand right behind a word: `web01_<GUID>.avhdx`.
_GUID = re.compile(
    r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}([-:])[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{12}(?![0-9A-Fa-f])"
)
_LETTER = r"[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]"
"""All but ASCII's spaces and punctuation: what is a letter in some script need not be one to Python."""
_TOKEN = re.compile(
    r"(?P<uri>https?://(?:schemas\.(?:xmlsoap\.org|dmtf\.org|microsoft\.com)|www\.w3\.org)/[\w./\-#*]*)"
    r"|(?<!\w)(?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
    r"|\d{14}\.\d{6}[+\-:]\d{3}|-?P(?=\d|T\d)(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?)(?!\w)"
    r"|(?<![\w.])(?P<ipv4>\d{1,3}(?:\.\d{1,3}){3})(?![\w.])"
    r"|(?<![\w:])(?P<ipv6>(?:[0-9A-Fa-f]{1,4}:|:){2,7}[0-9A-Fa-f]{0,4})(?![\w:])"
    rf"|(?P<word>{_LETTER}(?:(?:{_LETTER}|[_\-$])*{_LETTER})?)"
)
_NUMBER = re.compile(r"0x[0-9A-Fa-f]{1,16}|[0-9]{1,20}", re.ASCII)

_MARKUP = re.compile(
    r"(?P<comment><!--.*?-->)|(?P<cdata><!\[CDATA\[.*?\]\]>)|(?P<tag><[^>]*>)|(?P<text>[^<]+)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([\w:.\-]+)\s*=\s*("[^"]*"|'[^']*')""", re.DOTALL)
_KEPT_ATTRIBUTES = re.compile(
    r"xmlns(?::.*)?|(?:\w+:)?(?:type|nil|mustUnderstand|lang)|Name|NAME|TYPE|CLASSNAME|CLASSORIGIN|PROPAGATED"
    r"|REFERENCECLASS|Code|Dialect|EmbeddedObject|EMBEDDEDOBJECT|version|encoding"
)
_TAG_NAME = re.compile(r"</?(?:[\w\-]+:)?([\w.\-]+)")
_NAMED = re.compile(r"""\s(?:Name|NAME)\s*=\s*["']([^"']*)""")
_NAMES = frozenset(
    [
        "ElementName",
        "Notes",
        "Caption",
        "Description",
        "CSName",
        "DNSHostName",
        "Domain",
        "Label",
        "Owner",
        "Name",
        "SystemName",
    ]
)
"""Properties that hold what people chose: there, numbers and words of our own may be names, too."""
_CONDITION = re.compile(r"(\w+)(\s*(?:=|LIKE)\s*)'((?:[^'\\]|\\.)*)'", re.DOTALL)

_KEPT_WORDS = frozenset(
    word.lower()
    for word in (
        *CLASSES,
        *(name for known in CLASSES.values() for name in known.properties),
        *(name for known in CLASSES.values() for name in known.methods),
        *(
            [
                "uuid",
                "http",
                "https",
                "wsman",
                "rctX",
                "Microsoft",
                "Hyper-V",
                "Hyper",
                "V",
                "System",
                "Snapshot",
                "SubType",
                "Realized",
                "Planned",
                "Recovery",
                "Missing",
                "Replica",
                "Standard",
                "Synthetic",
                "Physical",
                "Virtual",
                "Hard",
                "Disk",
                "Drive",
                "SCSI",
                "IDE",
                "Controller",
                "Emulated",
                "DVD",
                "CD",
                "Logical",
                "Settings",
                "DeviceSpecificData",
                "Definition",
                "D",
                "L",
                "C",
                "E",
                "F",
                "root",
                "virtualization",
                "v2",
                "cimv2",
                "interop",
                "ClusterStorage",
                "Volume",
                "Microsoft",
                "Corporation",
                "OS",
                "SP",
                "Stack",
                "SELECT",
                "FROM",
                "WHERE",
                "AND",
                "LIKE",
                "ASSOCIATORS",
                "OF",
                "AssocClass",
                "ResultClass",
                "TRUE",
                "FALSE",
                "true",
                "false",
                "OK",
                "vhdx",
                "avhdx",
                "vhd",
                "avhd",
                "vhds",
                "vmcx",
                "vmrs",
                "vmgs",
                "rct",
                "mrt",
                "iso",
                "bin",
                "xml",
                "s",
                "w",
                "a",
                "n",
                "p",
                "f",
                "x",
                "wxf",
                "wsen",
                "wsa",
                "wsman",
                "env",
                "SOAP",
                "Sender",
                "Receiver",
                "MustUnderstand",
                "AccessDenied",
                "TimedOut",
                "InternalError",
                "EncodingLimit",
                "QuotaLimit",
                "SchemaValidationError",
                "InvalidSelectors",
                "DestinationUnreachable",
                "CannotProcessFilter",
                "InvalidEnumerationContext",
                "Concurrency",
                "UnsupportedFeature",
                "ActionNotSupported",
                "InvalidParameter",
                "InvalidOptions",
                "AlreadyExists",
                "NoAck",
                "InvalidResourceURI",
                "FilteringNotSupported",
                "FilterDialectRequestedUnavailable",
                "InvalidMessageInformationHeader",
            ]
        ),
    )
)


class Pseudonyms:
    """Replaces names consistently. One of these per transcript; what stood for what is not kept anywhere."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._identifiers: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    def envelope(self, xml: str) -> str:
        """Return an envelope, or any XML, with the names in it replaced and its markup as it was."""
        parts: list[str] = []
        element = ""
        for found in _MARKUP.finditer(xml):
            if found["cdata"]:
                inner = self._content(found["cdata"][9:-3], element)
                parts.append(f"<![CDATA[{inner.replace(']]>', ']]]]><![CDATA[>')}]]>")
            elif found["tag"]:
                element = _property(found["tag"], element)
                parts.append(_ATTRIBUTE.sub(self._attribute, found["tag"]))
            elif found["text"] and found["text"].isspace():
                parts.append(found["text"])
            elif found["text"]:
                text = html.unescape(found["text"])
                parts.append(_escape(self._content(text, element)))
        return "".join(parts)

    def text(self, text: str, *, names: bool = False) -> str:
        """Return a text with the names in it replaced.

        Args:
            text: Not XML.
            names: It is one that people chose: numbers and words of our own are replaced, too.
        """
        parts: list[str] = []
        at = 0
        for guid in _GUID.finditer(text):
            parts.append(self._words_of(text[at : guid.start()], names=names))
            parts.append(self._identifier(guid[0], guid[1]))
            at = guid.end()
        parts.append(self._words_of(text[at:], names=names))
        return "".join(parts)

    def _content(self, text: str, element: str) -> str:
        if text.lstrip().startswith("<"):
            return self.envelope(text)  # an instance as CIM-XML text
        if element == "Filter":
            return self._query(text)
        return self.text(text, names=element in _NAMES)

    def _query(self, text: str) -> str:
        """Replace in each condition what would be replaced in the property that it is about."""
        parts: list[str] = []
        at = 0
        for found in _CONDITION.finditer(text):
            parts.append(self.text(text[at : found.start()]))
            value = self.text(found[3], names=found[1] in _NAMES)
            parts.append(f"{found[1]}{found[2]}'{value}'")
            at = found.end()
        parts.append(self.text(text[at:]))
        return "".join(parts)

    def _attribute(self, found: re.Match[str]) -> str:
        name, quoted = found[1], found[2]
        if _KEPT_ATTRIBUTES.fullmatch(name):
            return found[0]
        text = self.text(html.unescape(quoted[1:-1]), names=True)
        return f'{name}="{_escape(text)}"'

    def _words_of(self, text: str, *, names: bool) -> str:
        return _TOKEN.sub(lambda found: self._token(found, names=names), text)

    def _token(self, found: re.Match[str], *, names: bool) -> str:
        token = found[0]
        if found.lastgroup in ("ipv4", "ipv6"):
            return _known(self._addresses, token.lower(), _address)
        if found.lastgroup == "word" and (
            names or not (token.lower() in _KEPT_WORDS or _NUMBER.fullmatch(token))
        ):
            return _known(self._words, token.casefold(), lambda n: f"word{n}")
        return token

    def _identifier(self, token: str, mark: str) -> str:
        digits = token.replace(mark, "")
        other = _known(self._identifiers, digits.lower(), lambda n: f"{n:032x}")
        other = other.upper() if digits.upper() == digits else other
        cuts = (0, 8, 12, 16, 20, 32)
        return mark.join(other[a:b] for a, b in pairwise(cuts))


def _property(tag: str, before: str) -> str:
    """Return the property that the text after a tag is of."""
    found = _TAG_NAME.match(tag)
    name = found[1] if found else ""
    if name.startswith("VALUE"):
        return before  # of the PROPERTY around it
    named = _NAMED.search(tag)
    return named[1] if named else name


def _escape(text: str) -> str:
    return escape(IMPOSSIBLE.sub("?", text))


def _known(known: dict[str, str], token: str, make: Callable[[int], str]) -> str:
    if token not in known:
        known[token] = make(len(known) + 1)
    return known[token]


def _address(number: int) -> str:
    # TEST-NET-1 and its neighbours for documents (RFC 5737); a transcript has few.
    return f"192.0.2.{number}" if number < 255 else f"198.51.100.{number % 255}"

"""Requests written by hand in the forms that working clients send, and what comes back, looked at by name."""

from dataclasses import dataclass
from xml.etree import ElementTree

from hypercbt.lab.faults import FaultPlan
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.service import Service
from lab.wire.tiny import Tiny

S = "http://www.w3.org/2003/05/soap-envelope"
A = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
W = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
N = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
CIM = "http://schemas.dmtf.org/wbem/wscim/1/common"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
WMI_ERROR = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
V2 = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2"
GET = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"
ENUMERATE = f"{N}/Enumerate"
PULL = f"{N}/Pull"
RELEASE = f"{N}/Release"
PREFIXES = {"s": S, "a": A, "w": W, "n": N, "f": FAULT, "e": WMI_ERROR, "cim": CIM}


def envelope(
    action: str,
    uri: str,
    body: str = "",
    *,
    selectors: dict[str, str] | None = None,
    size: int | None = 512_000,
    header: str = "",
) -> bytes:
    chosen = "".join(
        f'<w:Selector Name="{name}">{value}</w:Selector>'
        for name, value in (selectors or {}).items()
    )
    return (
        f'<s:Envelope xmlns:s="{S}" xmlns:a="{A}" xmlns:w="{W}" xmlns:n="{N}" xmlns:xsi="{XSI}"><s:Header>'
        "<a:To>http://lab/wsman</a:To>"
        f'<w:ResourceURI s:mustUnderstand="true">{uri}</w:ResourceURI>'
        f'<a:Action s:mustUnderstand="true">{action}</a:Action>'
        + (f"<w:MaxEnvelopeSize>{size}</w:MaxEnvelopeSize>" if size else "")
        + "<a:MessageID>uuid:1</a:MessageID><w:OperationTimeout>PT60S</w:OperationTimeout>"
        + (f"<w:SelectorSet>{chosen}</w:SelectorSet>" if selectors else "")
        + f"{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def enumerate_body(inside: str = "") -> str:
    return f"<n:Enumerate>{inside}</n:Enumerate>"


def filtered(query: str, dialect: str = WQL) -> str:
    text = query.replace("&", "&amp;").replace("<", "&lt;")
    return f'<w:Filter Dialect="{dialect}">{text}</w:Filter>'


OPTIMIZED = "<w:OptimizeEnumeration/><w:MaxElements>100</w:MaxElements>"


@dataclass(frozen=True)
class Said:
    status: int
    text: str

    @property
    def root(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.text)

    def find(self, path: str) -> ElementTree.Element | None:
        return self.root.find(f".//{path}", PREFIXES)

    def told(self, path: str) -> str | None:
        return self.root.findtext(f".//{path}", None, PREFIXES)

    @property
    def items(self) -> list[ElementTree.Element]:
        for prefix in ("n", "w"):
            found = self.find(f"{prefix}:Items")
            if found is not None:
                return list(found)
        return []

    @property
    def context(self) -> str | None:
        return self.told("n:EnumerationContext") or None

    @property
    def ended(self) -> bool:
        return any(
            self.find(f"{prefix}:EndOfSequence") is not None for prefix in ("n", "w")
        )

    @property
    def fault(self) -> tuple[str | None, int]:
        detail = self.find("f:WSManFault")
        assert self.status == 500
        assert detail is not None
        return self.told("s:Subcode/s:Value"), int(detail.attrib["Code"])

    def named(self, name: str) -> list[ElementTree.Element]:
        """Everything of a local name, in order."""
        return [one for one in self.root.iter() if local(one.tag) == name]


def local(tag: str) -> str:
    return tag.rpartition("}")[2]


def values(item: ElementTree.Element) -> dict[str, str | None]:
    return {local(one.tag): one.text for one in item}


class Asker:
    """A host without a network."""

    def __init__(
        self,
        provider: Tiny | None = None,
        options: WireOptions | None = None,
        plan: FaultPlan | None = None,
    ) -> None:
        self.tiny = provider or Tiny()
        self.plan = plan or FaultPlan()
        self.service = Service(self.tiny, options or WireOptions(), self.plan)

    def send(self, data: bytes, user: str = "lab") -> Said:
        reply = self.service.answer(data, user)
        assert reply.body is not None
        assert not self.service.book.errors, self.service.book.errors
        return Said(reply.status, reply.body.decode())

    def get(self, class_name: str, **selectors: str) -> Said:
        return self.send(envelope(GET, f"{V2}/{class_name}", selectors=selectors))

    def enumerate(
        self, class_name: str, inside: str = OPTIMIZED, size: int | None = 512_000
    ) -> Said:
        body = enumerate_body(inside)
        return self.send(envelope(ENUMERATE, f"{V2}/{class_name}", body, size=size))

    def query(self, query: str, more: str = OPTIMIZED) -> Said:
        return self.enumerate("*", more + filtered(query))

    def names(self, query: str) -> list[str]:
        """The labels of the machines that a query finds, sorted."""
        said = self.query(query)
        assert said.status == 200, said.text
        return sorted(values(item)["ElementName"] or "" for item in said.items)

    def pull(
        self,
        context: str,
        most: int | None = None,
        *,
        user: str = "lab",
        size: int = 512_000,
    ) -> Said:
        limit = f"<n:MaxElements>{most}</n:MaxElements>" if most else ""
        body = f"<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext>{limit}</n:Pull>"
        return self.send(envelope(PULL, f"{V2}/*", body, size=size), user)

    def invoke(
        self,
        method: str,
        inside: str = "",
        class_name: str = "Msvm_ImageManagementService",
        selectors: dict[str, str] | None = None,
        size: int | None = 512_000,
    ) -> Said:
        uri = f"{V2}/{class_name}"
        body = f'<p:{method}_INPUT xmlns:p="{uri}">{inside}</p:{method}_INPUT>'
        chosen = {"CreationClassName": class_name} if selectors is None else selectors
        return self.send(
            envelope(f"{uri}/{method}", uri, body, selectors=chosen, size=size)
        )

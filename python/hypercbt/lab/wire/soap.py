"""Envelopes: what a request says, and how an answer or a fault is put."""

import re
import uuid
from dataclasses import dataclass, field
from xml.etree import ElementTree

from hypercbt.lab.wire import names
from hypercbt.lab.wire.decode import selectors
from hypercbt.lab.wire.options import LEAST_ENVELOPE_BYTES, WireOptions
from hypercbt.lab.wire.provider import ProviderError
from hypercbt.lab.wire.refusals import Refused, RefusedError
from hypercbt.lab.wire.text import BadXmlError, attribute, content, local_name, parse

_MUST_UNDERSTAND = f"{{{names.SOAP}}}mustUnderstand"
_UNDERSTOOD = (
    {
        f"{{{names.ADDRESSING}}}{name}"
        for name in (
            "To",
            "Action",
            "MessageID",
            "ReplyTo",
            "From",
            "FaultTo",
            "RelatesTo",
        )
    }
    | {
        f"{{{names.WSMAN}}}{name}"
        for name in (
            "ResourceURI",
            "SelectorSet",
            "MaxEnvelopeSize",
            "OperationTimeout",
            "Locale",
            "OptionSet",
            "RequestTotalItemsCountEstimate",
        )
    }
    | {
        f"{{{names.WSMAN_MICROSOFT}}}{name}"
        for name in (
            "DataLocale",
            "SessionId",
            "OperationID",
            "SequenceId",
            "ActivityId",
        )
    }
    | {f"{{{names.BINDING}}}{name}" for name in ("PolymorphismMode",)}
)
_MOST_URI = 2048
"""Characters of an address that are taken (DSP0226 lets a service refuse more)."""
_RECEIVER = frozenset(
    ("w:InternalError", "w:TimedOut", "n:InvalidEnumerationContext", "w:QuotaLimit")
)
"""Faults that are the host's; all others are the sender's (wsmerror.h [V])."""


@dataclass(slots=True)
class Request:
    """What a client asks for."""

    action: str
    resource_uri: str = ""
    selectors: dict[str, str] = field(default_factory=dict)
    message_id: str = ""
    asked_envelope_bytes: int | None = None
    body: ElementTree.Element | None = None
    """The first child of `s:Body`."""


def read(data: bytes) -> ElementTree.Element:
    """Parse an envelope.

    Raises:
        ProviderError: It is none.
    """
    try:
        root = parse(data)
    except BadXmlError as error:
        raise Refused.XML.error(str(error)) from error
    if root.tag != f"{{{names.SOAP}}}Envelope":
        raise Refused.XML.error("not a SOAP 1.2 envelope")
    return root


def message_id(root: ElementTree.Element) -> str:
    """Return what an answer relates to. Of a request that is refused, too."""
    found = root.findtext(f"{{{names.SOAP}}}Header/{{{names.ADDRESSING}}}MessageID")
    return (found or "").strip()


def request(root: ElementTree.Element) -> Request:
    """Return what an envelope asks for.

    Raises:
        ProviderError: Something required is missing, or not understood.
    """
    body = root.find(f"{{{names.SOAP}}}Body")
    first = next(iter(body), None) if body is not None else None
    if first is not None and first.tag == f"{{{names.IDENTITY}}}Identify":
        return Request("Identify", message_id=message_id(root), body=first)
    header = root.find(f"{{{names.SOAP}}}Header")
    if header is None or body is None:
        raise Refused.HEADER.error("s:Header")
    for element in header:
        required = element.get(_MUST_UNDERSTAND) in ("true", "1")
        if required and element.tag not in _UNDERSTOOD:
            raise Refused.MUST_UNDERSTAND.error(local_name(element.tag))
    action = _header(header, names.ADDRESSING, "Action")
    if not action:
        raise Refused.HEADER.error("a:Action")
    uri = _header(header, names.WSMAN, "ResourceURI")
    if max(len(action), len(uri)) > _MOST_URI:
        raise Refused.URI.error()
    return Request(
        action,
        uri,
        selectors(header.find(f"{{{names.WSMAN}}}SelectorSet")),
        message_id(root),
        _envelope_bytes(_header(header, names.WSMAN, "MaxEnvelopeSize")),
        first,
    )


def _header(header: ElementTree.Element, namespace: str, name: str) -> str:
    return (header.findtext(f"{{{namespace}}}{name}") or "").strip()


def _envelope_bytes(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise Refused.SCHEMA.error("w:MaxEnvelopeSize")
    size = int(text)
    if size < LEAST_ENVELOPE_BYTES:
        raise Refused.ENVELOPE_ASKED.error(f"{size} < {LEAST_ENVELOPE_BYTES}")
    return size


def envelope(action: str, relates_to: str, body: str, language: str) -> bytes:
    """Return an answer, in the form that was recorded [V*]."""
    return (
        f'<s:Envelope xml:lang="{attribute(language)}" xmlns:s="{names.SOAP}"'
        f' xmlns:a="{names.ADDRESSING}" xmlns:n="{names.ENUMERATION}" xmlns:w="{names.WSMAN}">'
        f"<s:Header><a:Action>{content(action)}</a:Action>"
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"<a:To>{names.ANONYMOUS}</a:To>"
        f"<a:RelatesTo>{content(relates_to)}</a:RelatesTo></s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def identity(options: WireOptions) -> bytes:
    """Return the answer to Identify: it has no header to speak of."""
    return (
        f'<s:Envelope xml:lang="{attribute(options.language)}" xmlns:s="{names.SOAP}"><s:Header/><s:Body>'
        f'<wsmid:IdentifyResponse xmlns:wsmid="{names.IDENTITY}">'
        f"<wsmid:ProtocolVersion>{names.WSMAN}</wsmid:ProtocolVersion>"
        f"<wsmid:ProductVendor>{content(options.product_vendor)}</wsmid:ProductVendor>"
        f"<wsmid:ProductVersion>{content(options.product_version)}</wsmid:ProductVersion>"
        f"</wsmid:IdentifyResponse></s:Body></s:Envelope>"
    ).encode()


def fault(error: ProviderError, relates_to: str, options: WireOptions) -> bytes:
    """Return a fault (Q6): it goes out with HTTP 500."""
    said = (
        error.text(options.language) if isinstance(error, RefusedError) else str(error)
    )
    code = "s:Receiver" if error.subcode in _RECEIVER else "s:Sender"
    language = attribute(options.language)
    body = (
        f"<s:Fault><s:Code><s:Value>{code}</s:Value>"
        f"<s:Subcode><s:Value>{content(error.subcode)}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="{language}">{content(said)}</s:Text></s:Reason>'
        f"<s:Detail>{_detail(error, said, options)}</s:Detail></s:Fault>"
    )
    return envelope(names.FAULT_ACTION, relates_to, body, options.language)


def _detail(error: ProviderError, said: str, options: WireOptions) -> str:
    machine = attribute(options.host_name)
    wsman = (
        f'<f:WSManFault xmlns:f="{names.FAULT}" Code="{error.code}" Machine="{machine}">'
        f"<f:Message>{content(said)}</f:Message></f:WSManFault>"
    )
    if error.provider_code is None:
        return wsman
    wmi = (
        f'<p:MSFT_WmiError b:IsCIM_Error="true" xmlns:xsi="{names.SCHEMA_INSTANCE}"'
        f' xmlns:b="{names.BINDING}" xmlns:p="{names.WMI_ERROR}" xmlns:cim="{names.CIM}"'
        ' xsi:type="p:MSFT_WmiError_Type">'
        f'<p:Message xsi:type="cim:cimString">{content(said)}</p:Message>'
        f'<p:MessageID xsi:type="cim:cimString">HRESULT 0x{error.provider_code:08x}</p:MessageID>'
        f'<p:error_Code xsi:type="cim:cimUnsignedInt">{error.provider_code}</p:error_Code>'
        '<p:error_Type xsi:type="cim:cimString">HRESULT</p:error_Type>'
        f'<p:error_WindowsErrorMessage xsi:type="cim:cimString">{content(said)}</p:error_WindowsErrorMessage>'
        "</p:MSFT_WmiError>"
    )
    return wmi if options.wmi_error_alone else wsman + wmi

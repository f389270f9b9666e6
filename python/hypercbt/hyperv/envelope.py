"""Requests and answers of WS-Management as text (DSP0226, MS-WSMV).

Nothing here sends anything. A request knows its message id, and an answer must name it.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import cim, references
from hypercbt.hyperv.classes import Method
from hypercbt.hyperv.markup import (
    ADDRESSING,
    ANONYMOUS,
    CIM,
    ENUMERATION,
    MICROSOFT,
    SCHEMA_INSTANCE,
    SOAP,
    TRANSFER,
    WSMAN,
    child,
    escape,
    local,
    parse,
    text_of,
)
from hypercbt.hyperv.values import Reference, Value
from hypercbt.hyperv.wql import DIALECT

MAX_ENVELOPE_BYTES = 512_000
"""What an answer may measure. Current hosts allow 500 KiB; the smaller of both sides counts (MS-WSMV)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    text: str
    message_id: str
    what: str
    """For people, and for finding it in a transcript: `CreateSnapshot`, `Enumerate Msvm_ComputerSystem`."""


@dataclass(frozen=True, slots=True)
class Page:
    """What an enumeration gave at once."""

    items: list[Element]
    context: str | None
    """What the next Pull must name; None at the end."""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Makes requests to one endpoint."""

    url: str
    timeout_seconds: float
    """How long the host may take for one of them."""

    def get(self, reference: Reference) -> Request:
        """Ask for one instance."""
        uri = references.class_uri(reference.class_name, reference.namespace)
        what = f"Get {reference.class_name}"
        return self._request(what, f"{TRANSFER}/Get", uri, "", reference)

    def enumerate(
        self,
        class_name: str,
        namespace: str,
        *,
        query: str | None = None,
        page: int,
    ) -> Request:
        """Begin an enumeration of a class, or of what a query asks for.

        A query goes to the `*` of the namespace: with a class beside it, hosts refuse it.
        """
        uri = references.class_uri("*" if query else class_name, namespace)
        limits = f"<w:OptimizeEnumeration/><w:MaxElements>{page}</w:MaxElements>"
        if query:
            limits += f'<w:Filter Dialect="{DIALECT}">{escape(query)}</w:Filter>'
        return self._request(
            f"Enumerate {class_name}",
            f"{ENUMERATION}/Enumerate",
            uri,
            f"<n:Enumerate>{limits}</n:Enumerate>",
        )

    def pull(
        self, class_name: str, namespace: str, context: str, *, query: bool, page: int
    ) -> Request:
        """Ask for the next items. Without a number of elements a host gives one."""
        body = (
            f"<n:Pull><n:EnumerationContext>{escape(context)}</n:EnumerationContext>"
            f"<n:MaxElements>{page}</n:MaxElements></n:Pull>"
        )
        uri = references.class_uri("*" if query else class_name, namespace)
        return self._request(f"Pull {class_name}", f"{ENUMERATION}/Pull", uri, body)

    def release(
        self, class_name: str, namespace: str, context: str, *, query: bool
    ) -> Request:
        """Let go of an enumeration before its end."""
        body = f"<n:Release><n:EnumerationContext>{escape(context)}</n:EnumerationContext></n:Release>"
        uri = references.class_uri("*" if query else class_name, namespace)
        return self._request(
            f"Release {class_name}", f"{ENUMERATION}/Release", uri, body
        )

    def invoke(
        self,
        target: Reference,
        name: str,
        method: Method,
        arguments: Mapping[str, Value],
    ) -> Request:
        """Call a method.

        Raises:
            ValueError: There is no such parameter, or a value is out of range.
            TypeError: A value is not of its parameter's type.
        """
        unknown = arguments.keys() - method.inputs.keys()
        if unknown:
            message = f"{name} has no parameter {', '.join(sorted(unknown))}"
            raise ValueError(message)
        uri = references.class_uri(target.class_name, target.namespace)
        parameters = "".join(
            cim.encode_parameter(parameter, arguments[parameter], kind)
            for parameter, kind in method.inputs.items()
            if parameter in arguments
        )
        body = f'<p:{name}_INPUT xmlns:p="{uri}">{parameters}</p:{name}_INPUT>'
        return self._request(name, f"{uri}/{name}", uri, body, target)

    def _request(
        self,
        what: str,
        action: str,
        uri: str,
        body: str,
        target: Reference | None = None,
    ) -> Request:
        message_id = f"uuid:{uuid.uuid4()}"
        selectors = references.selector_set(target) if target else ""
        text = (
            f'<s:Envelope xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:w="{WSMAN}" xmlns:n="{ENUMERATION}"'
            f' xmlns:m="{MICROSOFT}" xmlns:cim="{CIM}" xmlns:xsi="{SCHEMA_INSTANCE}"><s:Header>'
            f"<a:To>{escape(self.url)}</a:To>"
            f'<w:ResourceURI s:mustUnderstand="true">{escape(uri)}</w:ResourceURI>'
            f'<a:ReplyTo><a:Address s:mustUnderstand="true">{ANONYMOUS}</a:Address></a:ReplyTo>'
            f'<a:Action s:mustUnderstand="true">{escape(action)}</a:Action>'
            f'<w:MaxEnvelopeSize s:mustUnderstand="true">{MAX_ENVELOPE_BYTES}</w:MaxEnvelopeSize>'
            f"<a:MessageID>{message_id}</a:MessageID>"
            # Texts for people, in English where the host can. Nothing depends on it.
            '<w:Locale xml:lang="en-US" s:mustUnderstand="false"/>'
            '<m:DataLocale xml:lang="en-US" s:mustUnderstand="false"/>'
            f"<w:OperationTimeout>PT{self.timeout_seconds:.3f}S</w:OperationTimeout>"
            f"{selectors}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        return Request(text, message_id, what)


def body_of(request: Request, answer: str | bytes) -> Element:
    """Return the body of the answer to a request: its one element, which may be a fault.

    Raises:
        HostReplyError: It is no envelope, or answers another request.
    """
    root = parse(answer, what=f"the answer to {request.what}")
    header, body = child(root, "Header"), child(root, "Body")
    if local(root.tag) != "Envelope" or body is None:
        message = f"the answer to {request.what} is no SOAP envelope"
        raise HostReplyError(message)
    answers = child(header, "RelatesTo") if header is not None else None
    # A fault about a request that the host could not even read may name none (WS-Addressing, 3.4).
    nameless = answers is None and child(body, "Fault") is not None
    same = text_of(answers).lower() == request.message_id
    if not same and not nameless:
        message = f"the host answered something else than {request.what}"
        raise HostReplyError(message)
    return body


def first(body: Element, name: str, what: str) -> Element:
    """Return the one element that a body must hold.

    Raises:
        HostReplyError: It holds something else.
    """
    found = child(body, name)
    if found is None:
        message = f"the answer to {what} has no {name}"
        raise HostReplyError(message)
    return found


def page_of(body: Element, what: str) -> Page:
    """Return the items in an answer to Enumerate or Pull, both of which may hold some, and may end.

    Raises:
        HostReplyError: It is no such answer, or neither ends nor says how to go on.
    """
    response = child(body, "PullResponse")
    if response is None:
        response = first(body, "EnumerateResponse", what)
    items = child(response, "Items")
    context = text_of(child(response, "EnumerationContext"))
    ended = child(response, "EndOfSequence") is not None
    if not ended and not context:
        message = f"the answer to {what} neither ends the enumeration nor continues it"
        raise HostReplyError(message)
    return Page(list(items) if items is not None else [], None if ended else context)

"""A channel that answers what a test has put into it, and what answers look like on the wire.

The forms are those recorded of real hosts: a foreign language, properties in alphabetical order, `xsi:nil`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from hypercbt.hyperv.conversation import Conversation
from hypercbt.hyperv.envelope import Request

V2 = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2"
ANONYMOUS = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"

Said = str | Exception | Callable[[Request], bytes]


@dataclass
class ScriptedChannel:
    """Gives the answers in order, and keeps the requests."""

    answers: list[Said]
    requests: list[Request] = field(default_factory=list)
    closed: bool = False
    url: str = "http://hv01:5985/wsman"

    def send(self, request: Request) -> bytes:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return enveloped(answer, request.message_id)

    def close(self) -> None:
        self.closed = True


def conversation(*answers: Said) -> tuple[Conversation, ScriptedChannel]:
    channel = ScriptedChannel(list(answers))
    return Conversation("hv01", channel, sleep=lambda _: None), channel


def enveloped(body: str, relates_to: str) -> bytes:
    return (
        '<s:Envelope xml:lang="ja-JP" xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
        ' xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
        ' xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"'
        ' xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common">'
        f"<s:Header><a:Action>x</a:Action><a:MessageID>uuid:0</a:MessageID><a:To>{ANONYMOUS}</a:To>"
        f"<a:RelatesTo>{relates_to}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def instance(class_name: str, properties: str) -> str:
    return (
        f'<p:{class_name} xmlns:p="{V2}/{class_name}" xsi:type="p:{class_name}_Type">'
        f"{properties}</p:{class_name}>"
    )


def machine(name: str) -> str:
    return instance("Msvm_ComputerSystem", f"<p:Name>{escape(name)}</p:Name>")


def page(
    *items: str, context: str | None = None, kind: str = "Pull", end: bool | None = None
) -> str:
    """The answer to a Pull or an Enumerate. Without a context it is the last one."""
    goes_on = (
        f"<n:EnumerationContext>{context}</n:EnumerationContext>" if context else ""
    )
    ended = "<n:EndOfSequence/>" if (context is None if end is None else end) else ""
    prefix = "n" if kind == "Pull" else "w"
    found = f"<{prefix}:Items>{''.join(items)}</{prefix}:Items>" if items else ""
    return f"<n:{kind}Response>{goes_on}{found}{ended}</n:{kind}Response>"


def output(method: str, inside: str = "", value: int = 0) -> str:
    return (
        f'<p:{method}_OUTPUT xmlns:p="{V2}/X">{inside}'
        f"<p:ReturnValue>{value}</p:ReturnValue></p:{method}_OUTPUT>"
    )


def fault(
    subcode: str = "", code: int | None = None, provider_code: int | None = None
) -> str:
    host = (
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}" Machine="HV01">'
        "<f:Message>Das geht nicht.</f:Message></f:WSManFault>"
        if code is not None
        else ""
    )
    provider = (
        '<e:MSFT_WmiError xmlns:e="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError">'
        f"<e:error_Code>{provider_code}</e:error_Code></e:MSFT_WmiError>"
        if provider_code is not None
        else ""
    )
    inner = f"<s:Subcode><s:Value>{subcode}</s:Value></s:Subcode>" if subcode else ""
    return (
        f"<s:Fault><s:Code><s:Value>s:Sender</s:Value>{inner}</s:Code>"
        '<s:Reason><s:Text xml:lang="de-DE">Das geht nicht.</s:Text></s:Reason>'
        f"<s:Detail>{host}{provider}</s:Detail></s:Fault>"
    )


def wire_names(element_text: str) -> str:
    """An element with the prefixes that answers use, for what is parsed alone."""
    return (
        f'<x xmlns:p="{V2}/C" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common"'
        ' xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
        ' xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd">'
        f"{element_text}</x>"
    )

"""Faults: what a host says instead of an answer, as typed errors.

Only codes and subcodes are looked at: the texts are in the host's language. A method's return value is never a fault.
"""

from dataclasses import dataclass
from xml.etree.ElementTree import Element

from hypercbt.errors import (
    HostAccessDeniedError,
    HostFaultError,
    HyperVError,
    HyperVMissingError,
)
from hypercbt.hyperv.markup import child, local, text_of

TIMED_OUT = 2150858793
"""0x80338029: the host gave up on an operation. It may go on with what it was doing."""
_ACCESS_DENIED = (5, 0x80070005, 0x80041003)
# 0x8033801A: virt-who meets it in an MSFT_WmiError where the namespace is missing; by name it is about filters.
_NO_NAMESPACE = (2150858778, 0x8004100E)
_NOT_FOUND = (0x80338000, 0x80041002)
_FILTER_CODES = (2150858778, 2150859042)
_FILTER_SUBCODES = (
    "CannotProcessFilter",
    "FilteringNotSupported",
    "FilterDialectRequestedUnavailable",
)
# Of the codes of winerror.h: the envelope, the encoding, the answer for the client, the answer for the host's limit.
_TOO_LARGE_CODES = (0x80338026, 0x80338035, 0x80338048, 0x80338049)
_CONTEXT_CODES = (0x80338007, 0x8033801B, 0x8033801C, 0x80338084)


@dataclass(frozen=True, slots=True)
class Fault:
    """What a host said instead of an answer."""

    subcode: str
    """Without its prefix, such as `CannotProcessFilter`; empty where there is none."""
    code: int | None
    """The WS-Management code."""
    provider_code: int | None
    """The code of the WMI provider, where it was one that failed."""
    reason: str
    """For people, in the host's language."""

    @property
    def codes(self) -> tuple[int | None, int | None]:
        """Both codes."""
        return self.code, self.provider_code

    @property
    def timed_out(self) -> bool:
        """Whether the host gave up on an operation, which may still go on."""
        return self.code == TIMED_OUT or self.subcode == "TimedOut"

    @property
    def too_large(self) -> bool:
        """Whether the answer did not fit into an envelope."""
        return self.subcode == "EncodingLimit" or _any(self.codes, _TOO_LARGE_CODES)

    @property
    def busy(self) -> bool:
        """Whether the host refused because it has too much to do: surely nothing was done."""
        return self.subcode in ("QuotaLimit", "Concurrency")

    @property
    def not_found(self) -> bool:
        """Whether there is no such instance (any more)."""
        return (
            self.subcode == "DestinationUnreachable" or _any(self.codes, _NOT_FOUND)
        ) and not self.no_namespace

    @property
    def filter_refused(self) -> bool:
        """Whether it may be the filter that the host does not want. Asking without one tells."""
        return self.subcode in _FILTER_SUBCODES or _any(self.codes, _FILTER_CODES)

    @property
    def context_gone(self) -> bool:
        """Whether the enumeration is no longer known: it waited too long."""
        return self.subcode == "InvalidEnumerationContext" or _any(
            self.codes, _CONTEXT_CODES
        )

    @property
    def no_namespace(self) -> bool:
        """Whether there is no such namespace."""
        return _any(self.codes, _NO_NAMESPACE) and self.subcode not in _FILTER_SUBCODES

    @property
    def access_denied(self) -> bool:
        """Whether whoever asks may not."""
        return self.subcode == "AccessDenied" or _any(self.codes, _ACCESS_DENIED)


def read_fault(body: Element) -> Fault | None:
    """Return the fault in a body, or None if it holds an answer."""
    fault = child(body, "Fault")
    if fault is None:
        return None
    code = child(fault, "Code")
    subcode = child(code, "Subcode") if code is not None else None
    value = text_of(child(subcode, "Value")) if subcode is not None else ""
    reason = child(fault, "Reason")
    detail = child(fault, "Detail")
    details = list(detail.iter()) if detail is not None else []
    host = next((e for e in details if local(e.tag) == "WSManFault"), None)
    provider = next((e for e in details if local(e.tag) == "error_Code"), None)
    text = text_of(child(reason, "Text")) if reason is not None else ""
    message = next((text_of(e) for e in details if local(e.tag) == "Message"), "")
    return Fault(
        subcode=value.rpartition(":")[2],
        code=_number(host.get("Code", "") if host is not None else ""),
        provider_code=_number(text_of(provider)),
        reason=(text or message)[:2000],
    )


def error_of(fault: Fault, what: str) -> HyperVError:
    """Return a fault as the error that is raised where nothing can be done about it."""
    said = fault.reason or "it gave no reason"
    signs = ", ".join(
        [fault.subcode] * bool(fault.subcode)
        + [f"0x{code & 0xFFFFFFFF:08X}" for code in fault.codes if code is not None]
    )
    message = f"the host refused {what}{f' ({signs})' if signs else ''}: {said}"
    if fault.access_denied:
        return HostAccessDeniedError(message)
    if fault.no_namespace:
        return HyperVMissingError(f"the host has no Hyper-V: {message}")
    return HostFaultError(
        message,
        code=fault.code,
        subcode="EncodingLimit" if fault.too_large else fault.subcode or None,
        provider_code=fault.provider_code,
    )


def _any(codes: tuple[int | None, int | None], wanted: tuple[int, ...]) -> bool:
    return any(code is not None and (code & 0xFFFFFFFF) in wanted for code in codes)


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None

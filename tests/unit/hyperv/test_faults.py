import pytest

from hypercbt.errors import (
    HostAccessDeniedError,
    HostFaultError,
    HyperVError,
    HyperVMissingError,
)
from hypercbt.hyperv.faults import Fault, error_of, read_fault
from hypercbt.hyperv.markup import parse
from unit.hyperv.channel import enveloped, fault, output


def read(text: str) -> Fault | None:
    return read_fault(parse(enveloped(text, "x"))[1])


def known(text: str) -> Fault:
    found = read(text)
    assert found is not None
    return found


def test_codes_and_subcodes_are_read_and_the_text_is_kept_in_its_language() -> None:
    assert known(fault("w:InternalError", 2150858755, 2147749890)) == Fault(
        "InternalError", 2150858755, 2147749890, "Das geht nicht."
    )


def test_an_answer_is_no_fault() -> None:
    assert read(output("CreateSnapshot", value=32775)) is None


def test_a_fault_without_anything_in_it_is_still_one() -> None:
    assert known("<s:Fault/>") == Fault("", None, None, "")


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        (fault("w:TimedOut", 2150858793), {"timed_out"}),
        (fault("", 2150858793), {"timed_out"}),
        (fault("w:EncodingLimit", 2150858805), {"too_large"}),
        (fault("w:InternalError", 0x80338048), {"too_large"}),
        (fault("", 0x80338049), {"too_large"}),
        (fault("w:QuotaLimit", 2150858815), {"busy"}),
        (fault("a:DestinationUnreachable", 2150858752), {"not_found"}),
        (fault("", 0x80338000), {"not_found"}),
        (fault("w:InternalError", 1, 0x80041002), {"not_found"}),
        (fault("w:InvalidSelectors", 0x8033805B), set()),
        (fault("w:CannotProcessFilter", 2150859042), {"filter_refused"}),
        (fault("n:FilterDialectRequestedUnavailable", 1), {"filter_refused"}),
        (fault("w:CannotProcessFilter", 2150858778), {"filter_refused"}),
        # By its code alone, it may be the filter or the namespace: asking without a filter tells.
        (fault("", None, 2150858778), {"filter_refused", "no_namespace"}),
        (
            fault("a:DestinationUnreachable", 2150858778),
            {"filter_refused", "no_namespace"},
        ),
        (fault("", 5, 0x8004100E), {"no_namespace", "access_denied"}),
        (fault("n:InvalidEnumerationContext", 1), {"context_gone"}),
        (fault("", 2150858779), {"context_gone"}),
        (fault("w:AccessDenied", 5), {"access_denied"}),
        (fault("w:InternalError", 1, 0x80041003), {"access_denied"}),
        (fault("w:InternalError", 1, -2147217405), {"access_denied"}),
        (fault("w:SchemaValidationError", 2), set()),
    ],
)
def test_a_fault_is_told_by_its_codes(text: str, signs: set[str]) -> None:
    found = known(text)
    said = {
        name
        for name in dir(found)
        if isinstance(getattr(type(found), name, None), property)
        and getattr(found, name) is True
    }

    assert said == signs


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (fault("w:AccessDenied", 5), HostAccessDeniedError),
        (fault("", None, 2150858778), HyperVMissingError),
        (fault("w:SchemaValidationError", 2), HostFaultError),
    ],
)
def test_a_fault_becomes_a_typed_error(text: str, kind: type[HyperVError]) -> None:
    error = error_of(known(text), "Get X")

    assert type(error) is kind
    assert "Das geht nicht." in str(error)
    assert "Get X" in str(error)


def test_an_error_has_the_codes_that_a_caller_acts_on() -> None:
    error = error_of(known(fault("w:InternalError", 7, 8)), "X")

    assert isinstance(error, HostFaultError)
    assert (error.subcode, error.code, error.provider_code) == ("InternalError", 7, 8)
    assert "InternalError, 0x00000007, 0x00000008" in str(error)


def test_whatever_says_too_large_is_an_encoding_limit() -> None:
    error = error_of(known(fault("w:InternalError", 0x80338049)), "X")

    assert isinstance(error, HostFaultError)
    assert error.subcode == "EncodingLimit"

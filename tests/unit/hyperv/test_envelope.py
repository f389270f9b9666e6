from xml.etree.ElementTree import Element

import pytest

from hypercbt.errors import HostReplyError
from hypercbt.hyperv.classes import CLASSES
from hypercbt.hyperv.envelope import Envelopes, Request, body_of, page_of
from hypercbt.hyperv.markup import ADDRESSING, ENUMERATION, SOAP, WSMAN, parse
from hypercbt.hyperv.values import VIRTUALIZATION, Instance, Reference, Value
from unit.hyperv.channel import V2, enveloped, fault, machine, output, page

ENVELOPES = Envelopes("http://hv01:5985/wsman", 60)
SERVICE = "Msvm_VirtualSystemSnapshotService"


def header(request: Request, name: str, namespace: str = WSMAN) -> str | None:
    return parse(request.text).findtext(f"{{{SOAP}}}Header/{{{namespace}}}{name}")


def body(request: Request) -> Element:
    found = parse(request.text).find(f"{{{SOAP}}}Body")
    assert found is not None
    return found


def invoke(method: str, **arguments: Value) -> Request:
    return ENVELOPES.invoke(
        Reference(SERVICE, {"CreationClassName": SERVICE}),
        method,
        CLASSES[SERVICE].methods[method],
        arguments,
    )


def test_the_header_says_where_to_what_and_how_much() -> None:
    request = ENVELOPES.get(Reference("Msvm_ComputerSystem", {"Name": "A<&>'\"B"}))

    assert header(request, "To", ADDRESSING) == "http://hv01:5985/wsman"
    assert header(request, "ResourceURI") == f"{V2}/Msvm_ComputerSystem"
    assert header(request, "MaxEnvelopeSize") == "512000"
    assert header(request, "OperationTimeout") == "PT60.000S"
    assert header(request, "MessageID", ADDRESSING) == request.message_id
    assert header(request, "Action", ADDRESSING) == (
        "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"
    )
    selector = parse(request.text).find(f".//{{{WSMAN}}}Selector")
    assert selector is not None
    assert (selector.get("Name"), selector.text) == ("Name", "A<&>'\"B")


def test_every_request_has_a_message_id_of_its_own() -> None:
    reference = Reference("Msvm_ComputerSystem", {"Name": "A"})

    assert len({ENVELOPES.get(reference).message_id for _ in range(10)}) == 10


def test_a_query_goes_to_the_star_of_the_namespace_and_a_plain_one_to_the_class() -> (
    None
):
    query = "SELECT * FROM Msvm_X WHERE A = 'a<b\\\\'"

    asked = ENVELOPES.enumerate("Msvm_X", VIRTUALIZATION, query=query, page=50)
    plain = ENVELOPES.enumerate("Msvm_X", VIRTUALIZATION, page=50)

    assert header(asked, "ResourceURI") == f"{V2}/*"
    assert header(plain, "ResourceURI") == f"{V2}/Msvm_X"
    found = body(asked).find(f".//{{{WSMAN}}}Filter")
    assert found is not None
    assert found.text == query
    assert found.get("Dialect") == "http://schemas.microsoft.com/wbem/wsman/1/WQL"
    assert body(plain).find(f".//{{{WSMAN}}}Filter") is None
    for request in (asked, plain):
        assert body(request).find(f".//{{{WSMAN}}}OptimizeEnumeration") is not None
        assert body(request).findtext(f".//{{{WSMAN}}}MaxElements") == "50"


def test_a_pull_always_says_how_many_items_it_takes() -> None:
    request = ENVELOPES.pull("Msvm_X", VIRTUALIZATION, "uuid:1&2", query=True, page=7)

    assert header(request, "ResourceURI") == f"{V2}/*"
    assert body(request).findtext(f".//{{{ENUMERATION}}}MaxElements") == "7"
    assert (
        body(request).findtext(f".//{{{ENUMERATION}}}EnumerationContext") == "uuid:1&2"
    )


def test_a_method_is_called_in_the_form_that_working_clients_send() -> None:
    # hyperv-rct.md 6.7, the CDATA as escaped text.
    settings = Instance(
        "Msvm_VirtualSystemSnapshotSettingData", {"ConsistencyLevel": 1}
    )

    request = invoke(
        "CreateSnapshot",
        SnapshotType=32768,
        AffectedSystem=Reference(
            "Msvm_ComputerSystem",
            {"CreationClassName": "Msvm_ComputerSystem", "Name": "GUID"},
        ),
        SnapshotSettings=settings,
        ResultingSnapshot=None,
    )

    assert header(request, "Action", ADDRESSING) == f"{V2}/{SERVICE}/CreateSnapshot"
    called = body(request)[0]
    space = f"{{{V2}/{SERVICE}}}"
    assert called.tag == f"{space}CreateSnapshot_INPUT"
    assert [child.tag.removeprefix(space) for child in called] == [
        "AffectedSystem",
        "SnapshotSettings",
        "SnapshotType",
    ]
    assert called[1].text == (
        '<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData">'
        '<PROPERTY NAME="ConsistencyLevel" TYPE="uint8"><VALUE>1</VALUE></PROPERTY></INSTANCE>'
    )
    assert called[2].text == "32768"
    assert [child.tag for child in called[0]] == [
        f"{{{ADDRESSING}}}Address",
        f"{{{ADDRESSING}}}ReferenceParameters",
    ]


def test_a_parameter_that_the_method_does_not_have_is_not_sent() -> None:
    with pytest.raises(ValueError, match="no parameter Nonsense"):
        invoke("DestroySnapshot", Nonsense=1)


REQUEST = ENVELOPES.get(Reference("Msvm_ComputerSystem", {"Name": "A"}))


def test_an_answer_must_be_to_this_request() -> None:
    good = enveloped(machine("A"), REQUEST.message_id.upper().replace("UUID", "uuid"))

    assert len(body_of(REQUEST, good)) == 1
    for other in ("uuid:other", "", " "):
        with pytest.raises(HostReplyError, match="something else"):
            body_of(REQUEST, enveloped(machine("A"), other))


def test_only_a_fault_may_name_no_request() -> None:
    nameless = enveloped(fault("s:x", 1), "x").replace(
        b"<a:RelatesTo>x</a:RelatesTo>", b""
    )
    answer = enveloped(machine("A"), "x").replace(b"<a:RelatesTo>x</a:RelatesTo>", b"")

    assert len(body_of(REQUEST, nameless)) == 1
    with pytest.raises(HostReplyError, match="something else"):
        body_of(REQUEST, answer)
    with pytest.raises(HostReplyError, match="something else"):
        body_of(REQUEST, enveloped(fault("s:x", 1), "uuid:other"))


@pytest.mark.parametrize("text", [b"", b"<html/>", b"<Envelope/>", b"\xff\xfe", b"<a"])
def test_what_is_no_envelope_is_refused(text: bytes) -> None:
    with pytest.raises(HostReplyError):
        body_of(REQUEST, text)


def read_page(text: str) -> tuple[int, str | None]:
    found = page_of(parse(enveloped(text, "x"))[1], "Pull X")
    return len(found.items), found.context


def test_a_page_ends_with_or_without_items_and_goes_on_with_or_without() -> None:
    assert read_page(page(machine("A"))) == (1, None)
    assert read_page(page()) == (0, None)
    assert read_page(page(machine("A"), machine("B"), context="c")) == (2, "c")
    assert read_page(page(context="c", kind="Enumerate")) == (0, "c")
    assert read_page(page(machine("A"), kind="Enumerate")) == (1, None)
    assert read_page(page(machine("A"), context="c", end=True)) == (1, None)


def test_a_page_that_neither_ends_nor_goes_on_is_refused() -> None:
    with pytest.raises(HostReplyError, match="neither"):
        read_page(page(machine("A"), end=False))
    with pytest.raises(HostReplyError, match="EnumerateResponse"):
        read_page(output("CreateSnapshot"))

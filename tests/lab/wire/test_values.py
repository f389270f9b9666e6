"""Get, Identify and the values of properties, in the form that was recorded of a real host."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.lab.wire import cimxml, moments
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.provider import Cim, Thing
from hypercbt.lab.wire.text import MAX_DEPTH
from lab.wire.asking import CIM, GET, V2, XSI, Asker, envelope, local, values
from lab.wire.tiny import HOST, IDS, SETTINGS, Tiny, machine

CIM_NIL = f"{{{XSI}}}nil"


def test_an_instance_has_all_its_properties_in_alphabetical_order() -> None:
    said = Asker().get("Msvm_ComputerSystem", Name=IDS[0])
    (machine,) = said.named("Msvm_ComputerSystem")
    names = [local(one.tag) for one in machine]
    assert names == sorted(names)
    assert set(names) == set(Tiny().classes()["Msvm_ComputerSystem"].properties)
    assert machine.get(f"{{{XSI}}}type") == "p:Msvm_ComputerSystem_Type"
    assert machine.tag == f"{{{V2}/Msvm_ComputerSystem}}Msvm_ComputerSystem"


def test_null_is_a_nil_element_and_an_empty_text_is_empty() -> None:
    said = Asker().get("Msvm_ComputerSystem", Name=HOST)
    assert [one.get(CIM_NIL) for one in said.named("InstallDate")] == ["true"]
    assert [one.get(CIM_NIL) for one in said.named("StatusDescriptions")] == ["true"]
    assert "<p:ErrorDescription></p:ErrorDescription>" in said.text


def test_an_array_of_one_looks_like_a_scalar() -> None:
    said = Asker().get("Msvm_ComputerSystem", Name=IDS[0])
    assert "<p:OperationalStatus>2</p:OperationalStatus>" in said.text
    said = Asker().get("Msvm_ComputerSystem", Name=IDS[1])
    assert [one.text for one in said.named("OperationalStatus")] == ["2", "32772"]


def test_moments_and_intervals_have_an_element_of_their_own() -> None:
    said = Asker().get("Msvm_ComputerSystem", Name=IDS[0])
    assert said.told("cim:Datetime") == "2026-10-08T15:15:36.68424Z"
    said = Asker().get("Msvm_StorageJob", InstanceID="J1")
    assert said.told("cim:Interval") == "P0DT0H5M0S"
    assert CIM in said.text


def test_texts_are_escaped() -> None:
    said = Asker().get("Msvm_ComputerSystem", Name=IDS[1])
    assert said.named("ElementName")[0].text == "web<02> & \\ 'b'"


def test_what_xml_cannot_hold_is_replaced() -> None:
    tiny = Tiny([machine("X", "a\x00b\x1b\ud800")])
    said = Asker(tiny).get("Msvm_ComputerSystem", Name="X")
    assert said.named("ElementName")[0].text == "a\ufffdb\ufffd\ufffd"


def test_the_envelope_speaks_the_host_s_language() -> None:
    said = Asker(options=WireOptions(language="ja-JP")).get(
        "Msvm_StorageJob", InstanceID="J1"
    )
    assert said.root.get("{http://www.w3.org/XML/1998/namespace}lang") == "ja-JP"


def test_an_object_that_is_gone_is_unreachable_and_the_host_says_so_in_its_language() -> (
    None
):
    said = Asker().get("Msvm_StorageJob", InstanceID="J2")
    assert said.fault == ("a:DestinationUnreachable", 2150858752)
    assert said.told("s:Text") == "Das Objekt ist nicht vorhanden."
    detail = said.find("f:WSManFault")
    assert detail is not None
    assert detail.get("Machine") == "LAB1"


def test_an_object_is_not_found_in_another_namespace_than_its_class_s() -> None:
    said = Asker().get("Win32_OperatingSystem", Name="Lab")
    assert said.told("e:error_Code") == "2147749904"


def test_a_get_without_keys_is_refused() -> None:
    said = Asker().get("Msvm_StorageJob")
    assert said.told("e:error_Code") == "2150859002"


def test_a_get_by_something_that_is_no_key_is_refused() -> None:
    said = Asker().get("Msvm_StorageJob", JobState="4")
    assert said.fault == ("w:InvalidSelectors", 2150858843)


@pytest.mark.parametrize("action", ["Put", "Create", "Delete"])
def test_objects_are_not_changed_by_transfer(action: str) -> None:
    uri = f"{GET.removesuffix('Get')}{action}"
    said = Asker().send(
        envelope(uri, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"})
    )
    assert said.fault[0] == "a:ActionNotSupported"


def test_identify_needs_no_header() -> None:
    body = (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">'
        "<s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>"
    )
    asker = Asker()
    said = asker.send(body.encode())
    assert (
        said.named("ProtocolVersion")[0].text
        == "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
    )
    assert asker.service.book.counts["Identify"] == 1


def test_a_user_without_rights_is_refused() -> None:
    asker = Asker(options=WireOptions(denied_users=frozenset(("lab",))))
    assert asker.get("Msvm_StorageJob", InstanceID="J1").fault == ("w:AccessDenied", 5)


def test_a_header_that_must_be_understood_and_is_not_is_refused() -> None:
    header = '<x:Odd xmlns:x="urn:x" s:mustUnderstand="true"/>'
    data = envelope(
        GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"}, header=header
    )
    assert Asker().send(data).fault[0] == "s:MustUnderstand"
    assert (
        Asker()
        .send(
            data.replace(
                b'<x:Odd xmlns:x="urn:x" s:must', b'<x:Odd xmlns:x="urn:x" s:may'
            )
        )
        .status
        == 200
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not xml",
        b"<a/>",
        b"\xff\xfe<",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        b"<!DOCTYPE s:Envelope []>"
        + envelope(GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"}),
        b"<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'/>",
        envelope("", f"{V2}/Msvm_StorageJob"),
        envelope(
            GET,
            f"{V2}/Msvm_StorageJob",
            size=None,
            header="<w:MaxEnvelopeSize>x</w:MaxEnvelopeSize>",
        ),
        envelope(GET, f"{V2}/Msvm_StorageJob", "<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH),
    ],
)
def test_what_is_no_request_is_a_fault(data: bytes) -> None:
    asker = Asker()
    assert asker.send(data).status == 500
    assert asker.service.book.counts["Invalid"] == 1


def test_a_request_may_be_utf_16() -> None:
    text = envelope(
        GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"}
    ).decode()
    data = ("<?xml version='1.0' encoding='utf-16'?>" + text).encode("utf-16")
    assert Asker().send(data).status == 200


def test_a_number_where_the_class_has_a_text_is_the_model_s_mistake() -> None:
    tiny = Tiny([machine("X", "x", EnabledState="two")])
    asker = Asker(tiny)
    with pytest.raises(AssertionError, match="uint16"):
        asker.get("Msvm_ComputerSystem", Name="X")


@given(
    st.one_of(
        st.datetimes(
            datetime(1601, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)
        ),
        st.timedeltas(timedelta(0), timedelta(days=99_999_999)),
    )
)
def test_moments_and_intervals_survive_both_forms(value: datetime | timedelta) -> None:
    assert moments.from_cim(moments.cim_text(value)) == value
    text = (
        moments.xml_moment(value)
        if isinstance(value, datetime)
        else moments.xml_interval(value)
    )
    assert moments.from_xml(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(1601, 1, 1, tzinfo=UTC), "1601-01-01T00:00:00Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 100_000, UTC), "2026-01-02T03:04:05.1Z"),
    ],
)
def test_moments_are_written_as_recorded(value: datetime, text: str) -> None:
    assert moments.xml_moment(value) == text


def test_an_interval_with_a_fraction_is_written_as_recorded() -> None:
    assert moments.xml_interval(timedelta(microseconds=14947)) == "P0DT0H0M0.014947S"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "x",
        "2026",
        "20260101",
        "20261301000000.000000+000",
        "P999999999999D",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(moments.BadMomentError):
        moments.from_xml(text)


SAFE = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    max_size=20,
)


@given(
    st.fixed_dictionaries(
        {
            "InstanceID": st.none() | SAFE,
            "ConsistencyLevel": st.none() | st.integers(0, 255),
            "IgnoreNonSnapshottableDisks": st.none() | st.booleans(),
            "Notes": st.none() | st.lists(st.none() | SAFE, max_size=4).map(tuple),
            "Delay": st.none() | st.timedeltas(timedelta(0), timedelta(days=1000)),
        }
    )
)
def test_an_instance_survives_as_text(given_values: dict[str, Cim]) -> None:
    thing = Thing(SETTINGS.name, given_values)
    decoder = cimxml.Decoder(Tiny().classes())
    assert (
        decoder.decode(cimxml.encode(thing, Tiny().classes()), SETTINGS.name) == thing
    )
    assert decoder.misfits == []


def test_values_of_an_item_are_read_by_name() -> None:
    (job,) = Asker().enumerate("Msvm_StorageJob").items
    assert values(job)["JobState"] == "4"

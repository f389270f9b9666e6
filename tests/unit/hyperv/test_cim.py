from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import cim
from hypercbt.hyperv.classes import Declared, Type
from hypercbt.hyperv.markup import parse
from hypercbt.hyperv.values import Instance, Reference, Value
from unit.hyperv.channel import ANONYMOUS, V2, wire_names

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
INTEGERS = [kind for kind in Type if kind.range is not None]


def decoded(inside: str, **kinds: Declared) -> dict[str, Value]:
    return cim.decode_parameters(parse(wire_names(inside)), kinds)


def sent_and_read(value: Value, kind: Declared) -> Value:
    inside = cim.encode_parameter("P", value, kind)
    return decoded(inside, P=kind).get("P")


NUMBERS = Declared(Type.UINT64, array=True)
STRINGS = Declared(Type.STRING, array=True)


@given(st.data())
def test_a_number_survives_in_every_type_and_array(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(INTEGERS))
    bounds = kind.range
    assert bounds is not None
    numbers = st.integers(bounds[0], bounds[-1])
    one, several = data.draw(numbers), tuple(data.draw(st.lists(numbers, min_size=2)))

    assert sent_and_read(one, Declared(kind)) == one
    assert sent_and_read(several, Declared(kind, array=True)) == several


@given(TEXTS, st.lists(st.none() | TEXTS, min_size=2))
def test_a_text_survives_alone_and_among_nulls(
    text: str, several: list[str | None]
) -> None:
    assert sent_and_read(text, Declared(Type.STRING)) == text
    assert sent_and_read(tuple(several), STRINGS) == tuple(several)


@given(st.booleans(), st.timedeltas(timedelta(0), timedelta(days=1000)))
def test_a_boolean_and_an_interval_survive(flag: bool, interval: timedelta) -> None:
    assert sent_and_read(flag, Declared(Type.BOOLEAN)) is flag
    assert sent_and_read(interval, Declared(Type.DATETIME)) == interval


def test_line_ends_tabs_and_quotes_survive() -> None:
    text = "a\r\nb\tc\"d'e&f<g>h]]>i"

    assert sent_and_read(text, Declared(Type.STRING)) == text


def test_an_array_of_one_is_an_array_because_the_class_says_so() -> None:
    assert decoded("<p:A>7</p:A><p:S>7</p:S>", A=NUMBERS, S=Declared(Type.UINT64)) == {
        "A": (7,),
        "S": 7,
    }


def test_null_is_none_and_keeps_its_place_in_an_array() -> None:
    inside = (
        '<p:A>1</p:A><p:A xsi:nil="true"/><p:A>3</p:A>'
        '<p:B xsi:nil="true"/><p:V xsi:nil="true"/><p:S xsi:nil="1"/><p:T>a</p:T><p:T xsi:nil="true"/>'
    )

    found = decoded(
        inside,
        A=NUMBERS,
        B=NUMBERS,
        S=Declared(Type.STRING),
        T=STRINGS,
        U=NUMBERS,
        V=STRINGS,
    )

    assert found == {
        "A": (1, None, 3),
        "B": None,
        "S": None,
        "T": ("a", None),
        "V": None,
    }


def test_an_array_of_numbers_that_is_one_empty_element_is_null() -> None:
    assert decoded("<p:A></p:A><p:T></p:T>", A=NUMBERS, T=STRINGS) == {
        "A": None,
        "T": ("",),
    }


def test_an_empty_text_is_no_null() -> None:
    assert decoded("<p:S></p:S>", S=Declared(Type.STRING)) == {"S": ""}


def test_what_is_not_declared_is_not_read() -> None:
    assert decoded("<p:Caption>仮想マシン</p:Caption>") == {}


@pytest.mark.parametrize(
    ("inside", "kind"),
    [
        ("<p:P>-1</p:P>", Declared(Type.UINT8)),
        ("<p:P>256</p:P>", Declared(Type.UINT8)),
        ("<p:P>128</p:P>", Declared(Type.SINT8)),
        ("<p:P>1.0</p:P>", Declared(Type.UINT8)),
        ("<p:P>0x10</p:P>", Declared(Type.UINT8)),
        ("<p:P>1_0</p:P>", Declared(Type.UINT8)),
        ("<p:P>٣</p:P>", Declared(Type.UINT8)),
        ("<p:P></p:P>", Declared(Type.UINT8)),
        (f"<p:P>{'9' * 5000}</p:P>", Declared(Type.UINT64)),
        ("<p:P>yes</p:P>", Declared(Type.BOOLEAN)),
        ("<p:P>soon</p:P>", Declared(Type.DATETIME)),
        ("<p:P>1</p:P><p:P>2</p:P>", Declared(Type.UINT8)),
        ("<p:P>1</p:P><p:P>18446744073709551616</p:P>", NUMBERS),
        ("<p:P>1</p:P><p:P></p:P>", NUMBERS),
        ("<p:P>1</p:P><p:P>x</p:P>", NUMBERS),
        ("<p:P><p:Q>1</p:Q></p:P>", Declared(Type.STRING)),
        ("<p:P>nothing</p:P>", Declared(Type.STRING, embedded="Msvm_Error")),
        ("<p:P><INSTANCE></p:P>", Declared(Type.STRING, embedded="Msvm_Error")),
    ],
)
def test_a_value_that_is_not_what_its_type_says_is_refused(
    inside: str, kind: Declared
) -> None:
    with pytest.raises(HostReplyError):
        decoded(inside, P=kind)


def test_an_instance_is_read_as_a_host_was_recorded_to_send_it() -> None:
    text = wire_names(
        '<p:Msvm_StorageJob xsi:type="p:Msvm_StorageJob_Type">'
        "<p:Cancellable>true</p:Cancellable><p:ErrorCode>0</p:ErrorCode>"
        "<p:ErrorDescription></p:ErrorDescription>"
        "<p:InstallDate><cim:Datetime>1601-01-01T00:00:00Z</cim:Datetime></p:InstallDate>"
        "<p:JobState>4</p:JobState><p:OperationalStatus>2</p:OperationalStatus>"
        '<p:StartTime><cim:Datetime>2026-10-08T15:15:36.68424Z</cim:Datetime></p:StartTime><p:Owner xsi:nil="true"/>'
        "<p:TimeBeforeRemoval><cim:Interval>P0DT0H5M0S</cim:Interval></p:TimeBeforeRemoval>"
        "</p:Msvm_StorageJob>"
    )

    found = cim.decode_instance(parse(text)[0], "CIM_ConcreteJob")

    assert found == Instance(
        "Msvm_StorageJob",
        {
            "Cancellable": True,
            "ErrorCode": 0,
            "ErrorDescription": "",
            "InstallDate": None,
            "JobState": 4,
            "OperationalStatus": (2,),
            "StartTime": datetime(2026, 10, 8, 15, 15, 36, 684240, UTC),
            "Owner": None,
            "TimeBeforeRemoval": timedelta(minutes=5),
        },
    )


def test_a_fragment_is_of_the_class_that_was_asked_for() -> None:
    text = wire_names(
        "<w:XmlFragment><p:Name>A</p:Name><p:EnabledState>2</p:EnabledState></w:XmlFragment>"
    )

    found = cim.decode_instance(parse(text)[0], "Msvm_ComputerSystem")

    assert found == Instance("Msvm_ComputerSystem", {"Name": "A", "EnabledState": 2})


def test_an_instance_of_a_class_nobody_declared_is_read_as_what_was_asked_for() -> None:
    text = wire_names(
        "<p:Msvm_MigrationJob><p:JobState>7</p:JobState></p:Msvm_MigrationJob>"
    )

    found = cim.decode_instance(parse(text)[0], "Msvm_ConcreteJob")

    assert found == Instance("Msvm_MigrationJob", {"JobState": 7})


def test_an_element_tree_is_an_instance_of_its_type() -> None:
    inside = (
        '<p:P xsi:type="p:Msvm_ComputerSystem_Type"><p:Name>A</p:Name>'
        "<p:OperationalStatus>2</p:OperationalStatus></p:P>"
    )

    assert decoded(inside, P=Declared(Type.OBJECT)) == {
        "P": Instance("Msvm_ComputerSystem", {"Name": "A", "OperationalStatus": (2,)})
    }


def test_a_reference_stands_directly_in_its_parameter() -> None:
    value = Reference("Msvm_ComputerSystem", {"Name": "A"})

    text = cim.encode_parameter("P", value, Declared(Type.REFERENCE))

    assert text == (
        f"<p:P><a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{V2}/Msvm_ComputerSystem</w:ResourceURI><w:SelectorSet>"
        '<w:Selector Name="Name">A</w:Selector></w:SelectorSet></a:ReferenceParameters></p:P>'
    )
    assert decoded(text, P=Declared(Type.REFERENCE)) == {"P": value}


def test_an_empty_reference_is_null() -> None:
    assert decoded("<p:P></p:P>", P=Declared(Type.REFERENCE)) == {"P": None}


def test_an_embedded_instance_goes_as_escaped_text_and_comes_back() -> None:
    kind = Declared(Type.STRING, embedded="Msvm_VirtualSystemSettingData")
    value = Instance(
        "Msvm_VirtualSystemSettingData",
        {"InstanceID": "Microsoft:A", "ElementName": "a<b>&]]>\"'\n", "Notes": ("x",)},
    )

    text = cim.encode_parameter("P", value, kind)

    assert text.startswith("<p:P>&lt;INSTANCE CLASSNAME=&quot;Msvm_")
    assert decoded(text, P=kind) == {"P": value}


def test_what_is_none_is_left_out() -> None:
    assert cim.encode_parameter("P", None, Declared(Type.STRING)) == ""
    assert cim.encode_parameter("P", (), STRINGS) == ""


@pytest.mark.parametrize(
    ("value", "kind", "error"),
    [
        (True, Declared(Type.UINT8), TypeError),
        (1, Declared(Type.BOOLEAN), TypeError),
        ("1", Declared(Type.UINT8), TypeError),
        (1, Declared(Type.STRING), TypeError),
        (256, Declared(Type.UINT8), ValueError),
        (-1, Declared(Type.UINT64), ValueError),
        (1, NUMBERS, TypeError),
        ("ab", STRINGS, TypeError),
        ("a\x00", Declared(Type.STRING), ValueError),
        ("\ud800", Declared(Type.STRING), ValueError),
        (Reference("C", {}), Declared(Type.STRING), TypeError),
        ("C.A=1", Declared(Type.REFERENCE), TypeError),
        (
            Instance("Msvm_Error"),
            Declared(Type.STRING, embedded="Msvm_ComputerSystem"),
            TypeError,
        ),
    ],
)
def test_a_value_of_another_type_is_not_sent(
    value: Value, kind: Declared, error: type[Exception]
) -> None:
    with pytest.raises(error):
        cim.encode_parameter("P", value, kind)


def test_a_tree_of_an_unknown_type_has_nothing_that_is_read() -> None:
    deep = "<p:P>" * 5000 + "</p:P>" * 5000

    assert decoded(deep, P=Declared(Type.OBJECT)) == {"P": Instance("")}


def test_keys_tell_instances_apart_and_references_count() -> None:
    def row(name: str) -> Instance:
        job = Reference("Msvm_ConcreteJob", {"InstanceID": name})
        return Instance(
            "Msvm_AffectedJobElement",
            {"AffectedElement": job, "AffectingElement": job, "ElementEffects": (0,)},
        )

    assert cim.keys_of(row("A")) == cim.keys_of(row("A"))
    assert cim.keys_of(row("A")) != cim.keys_of(row("B"))
    assert cim.keys_of(Instance("X", {"A": (1, None)})) != cim.keys_of(
        Instance("X", {"A": (1, 2)})
    )

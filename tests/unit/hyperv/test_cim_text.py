from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import cim_text
from hypercbt.hyperv.classes import CLASSES, Type
from hypercbt.hyperv.values import VIRTUALIZATION, Instance, Reference, Value

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]).filter(
        lambda c: c in "\t\r\n" or (c >= " " and c not in "\ufffe\uffff")
    ),
    max_size=20,
)
VALUES: dict[Type, st.SearchStrategy[Value]] = {
    Type.STRING: TEXTS,
    Type.BOOLEAN: st.booleans(),
    Type.DATETIME: st.datetimes(
        datetime(1602, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)
    )
    | st.timedeltas(timedelta(0), timedelta(days=1000)),
    **{
        kind: st.integers(kind.range[0], kind.range[-1])
        for kind in Type
        if kind.range is not None
    },
}


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    known = draw(st.sampled_from(list(CLASSES.values())))
    properties: dict[str, Value] = {}
    for name, kind in known.properties.items():
        values = VALUES.get(kind.type)
        if values is not None and draw(st.booleans()):
            several = st.lists(st.none() | values, max_size=3).map(tuple)
            properties[name] = draw(several if kind.array else values)
    return Instance(known.name, properties)


@given(instances())
def test_an_instance_of_every_class_survives_as_text(instance: Instance) -> None:
    assert cim_text.decode(cim_text.encode(instance)) == instance


def test_the_type_is_that_of_the_class_and_a_moment_is_in_the_form_of_cim() -> None:
    # hyperv-rct.md 6.2: a datetime sent as a string fails the job.
    instance = Instance(
        "Msvm_VirtualSystemSettingData",
        {
            "CreationTime": datetime(2026, 10, 8, tzinfo=UTC),
            "UserSnapshotType": 3,
            "Notes": ("a", None),
            "Version": None,
        },
    )

    assert cim_text.encode(instance) == (
        '<INSTANCE CLASSNAME="Msvm_VirtualSystemSettingData">'
        '<PROPERTY NAME="CreationTime" TYPE="datetime"><VALUE>20261008000000.000000+000</VALUE></PROPERTY>'
        '<PROPERTY NAME="UserSnapshotType" TYPE="uint16"><VALUE>3</VALUE></PROPERTY>'
        '<PROPERTY.ARRAY NAME="Notes" TYPE="string"><VALUE.ARRAY><VALUE>a</VALUE><VALUE.NULL/></VALUE.ARRAY>'
        "</PROPERTY.ARRAY></INSTANCE>"
    )


def test_the_settings_of_a_checkpoint_are_as_microsoft_has_them() -> None:
    instance = Instance(
        "Msvm_VirtualSystemSnapshotSettingData",
        {"ConsistencyLevel": 1, "IgnoreNonSnapshottableDisks": True},
    )

    assert cim_text.encode(instance) == (
        '<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData"><PROPERTY NAME="ConsistencyLevel" TYPE="uint8">'
        '<VALUE>1</VALUE></PROPERTY><PROPERTY NAME="IgnoreNonSnapshottableDisks" TYPE="boolean">'
        "<VALUE>true</VALUE></PROPERTY></INSTANCE>"
    )


def test_text_of_a_host_is_read_with_all_that_may_stand_in_it() -> None:
    text = (
        '<INSTANCE CLASSNAME="C"><QUALIFIER NAME="dynamic" TYPE="boolean"><VALUE>TRUE</VALUE></QUALIFIER>'
        '<PROPERTY NAME="A" CLASSORIGIN="B" PROPAGATED="true" TYPE="uint64"><VALUE>7</VALUE></PROPERTY>'
        '<PROPERTY NAME="N" TYPE="string"></PROPERTY><PROPERTY NAME="E" TYPE="string"><VALUE></VALUE></PROPERTY>'
        '<PROPERTY NAME="F" TYPE="real64"><VALUE>1.5</VALUE></PROPERTY>'
        '<PROPERTY NAME="T" TYPE="datetime"><VALUE>00000000000500.000000:000</VALUE></PROPERTY>'
        '<PROPERTY.ARRAY NAME="Z" TYPE="uint8"></PROPERTY.ARRAY>'
        '<PROPERTY.ARRAY NAME="X" TYPE="uint8"><VALUE.ARRAY><VALUE>1</VALUE><VALUE.NULL/></VALUE.ARRAY></PROPERTY.ARRAY>'
        '<PROPERTY.REFERENCE NAME="R" REFERENCECLASS="D"><VALUE.REFERENCE><INSTANCEPATH><NAMESPACEPATH><HOST>H</HOST>'
        '<LOCALNAMESPACEPATH><NAMESPACE NAME="root"/><NAMESPACE NAME="virtualization"/><NAMESPACE NAME="v2"/>'
        '</LOCALNAMESPACEPATH></NAMESPACEPATH><INSTANCENAME CLASSNAME="D"><KEYBINDING NAME="K"><KEYVALUE>v</KEYVALUE>'
        "</KEYBINDING></INSTANCENAME></INSTANCEPATH></VALUE.REFERENCE></PROPERTY.REFERENCE></INSTANCE>"
    )

    assert cim_text.decode(text) == Instance(
        "C",
        {
            "A": 7,
            "N": None,
            "E": "",
            "F": "1.5",
            "T": timedelta(minutes=5),
            "Z": None,
            "X": (1, None),
            "R": Reference("D", {"K": "v"}, VIRTUALIZATION),
        },
    )


def test_an_instance_may_stand_in_a_declaration() -> None:
    text = '<?xml version="1.0"?><CIM><DECLARATION><INSTANCE CLASSNAME="C"/></DECLARATION></CIM>'

    assert cim_text.decode(text) == Instance("C", {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "<x/>",
        '<!DOCTYPE CIM><INSTANCE CLASSNAME="C"/>',
        '<INSTANCE CLASSNAME="C"><PROPERTY NAME="A" TYPE="uint8"><VALUE>300</VALUE></PROPERTY></INSTANCE>',
        '<INSTANCE CLASSNAME="C"><PROPERTY NAME="A" TYPE="boolean"><VALUE>7</VALUE></PROPERTY></INSTANCE>',
    ],
)
def test_a_text_without_an_instance_is_refused(text: str) -> None:
    with pytest.raises(HostReplyError):
        cim_text.decode(text)


def nested(depth: int) -> str:
    text = "<x/>"
    for _ in range(depth):
        inner = text.replace("&", "&amp;").replace("<", "&lt;")
        text = (
            '<INSTANCE CLASSNAME="C"><PROPERTY NAME="A" TYPE="string" EmbeddedObject="instance">'
            f"<VALUE>{inner}</VALUE></PROPERTY></INSTANCE>"
        )
    return text


def test_instances_in_instances_come_to_an_end() -> None:
    with pytest.raises(HostReplyError, match="instances in instances"):
        cim_text.decode(nested(10))


@pytest.mark.parametrize(
    ("instance", "error"),
    [
        (Instance("Msvm_Unheard", {}), ValueError),
        (Instance("Msvm_Error", {"Unheard": 1}), ValueError),
        (Instance("Msvm_Error", {"ErrorType": "1"}), TypeError),
        (Instance("Msvm_Error", {"ErrorType": 1 << 16}), ValueError),
        (Instance("Msvm_VirtualSystemSettingData", {"CreationTime": "now"}), TypeError),
        (
            Instance(
                "Msvm_AffectedJobElement", {"AffectedElement": Reference("C", {})}
            ),
            TypeError,
        ),
    ],
)
def test_what_the_class_does_not_say_is_not_sent(
    instance: Instance, error: type[Exception]
) -> None:
    with pytest.raises(error):
        cim_text.encode(instance)

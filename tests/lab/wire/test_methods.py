"""Methods: how their parameters are read, what real hosts refuse, and the form of what they give back."""

from datetime import UTC, datetime, timedelta

import pytest

from hypercbt.lab.faults import FailJob, Fault, FaultPlan, Return
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.provider import Ref, Thing
from lab.wire.asking import V2, A, Asker, Said, W, envelope, local
from lab.wire.tiny import IDS

SETTINGS = "Msvm_VirtualSystemSnapshotSettingData"
ANONYMOUS = f"{A}/role/anonymous"


def reference(inside: str = "") -> str:
    return (
        f"<a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{V2}/Msvm_ComputerSystem</w:ResourceURI><w:SelectorSet>"
        f'<w:Selector Name="Name">{IDS[0]}</w:Selector>{inside}</w:SelectorSet></a:ReferenceParameters>'
    )


def embedded(properties: str, class_name: str = SETTINGS) -> str:
    text = f'<INSTANCE CLASSNAME="{class_name}">{properties}</INSTANCE>'
    return f"<p:SnapshotSettings><![CDATA[{text}]]></p:SnapshotSettings>"


def uint8(value: str, kind: str = "uint8") -> str:
    return f'<PROPERTY NAME="ConsistencyLevel" TYPE="{kind}"><VALUE>{value}</VALUE></PROPERTY>'


def snapshot(inside: str, asker: Asker | None = None) -> tuple[Asker, Said]:
    asker = asker or Asker()
    return asker, asker.invoke("CreateSnapshot", inside)


def test_numbers_texts_and_arrays_arrive_typed() -> None:
    asker, said = snapshot(
        "<p:SnapshotType>32768</p:SnapshotType><p:Requested>0</p:Requested><p:Requested>7</p:Requested>"
    )
    assert said.status == 200
    (call,) = asker.tiny.calls
    assert call.arguments == {"SnapshotType": 32768, "Requested": (0, 7)}
    assert (call.method, call.user) == ("CreateSnapshot", "lab")
    assert call.selectors == {"CreationClassName": "Msvm_ImageManagementService"}


def test_an_array_of_one_is_an_array() -> None:
    asker, _ = snapshot("<p:Requested>7</p:Requested>")
    assert asker.tiny.calls[0].arguments == {"Requested": (7,)}


def test_nulls_arrive_as_none_and_keep_their_place_in_an_array() -> None:
    nil = 'xsi:nil="true"'
    asker, _ = snapshot(
        f"<p:SnapshotType {nil}/><p:Requested {nil}/><p:Requested>7</p:Requested>"
    )
    assert asker.tiny.calls[0].arguments == {
        "SnapshotType": None,
        "Requested": (None, 7),
    }


def test_a_null_array_is_one_nil_element() -> None:
    asker, _ = snapshot('<p:Requested xsi:nil="true"/>')
    assert asker.tiny.calls[0].arguments == {"Requested": None}


def test_a_reference_holds_its_address_directly() -> None:
    asker, said = snapshot(f"<p:AffectedSystem>{reference()}</p:AffectedSystem>")
    assert said.status == 200
    expected = Ref("Msvm_ComputerSystem", {"Name": IDS[0]})
    assert asker.tiny.calls[0].arguments == {"AffectedSystem": expected}


def test_a_reference_may_repeat_its_namespace() -> None:
    extra = '<w:Selector Name="__cimnamespace">root/virtualization/v2</w:Selector>'
    asker, _ = snapshot(f"<p:AffectedSystem>{reference(extra)}</p:AffectedSystem>")
    expected = Ref("Msvm_ComputerSystem", {"Name": IDS[0]})
    assert asker.tiny.calls[0].arguments == {"AffectedSystem": expected}


def test_a_reference_in_a_wrapper_is_refused() -> None:
    wrapped = f"<a:EndpointReference>{reference()}</a:EndpointReference>"
    _, said = snapshot(f"<p:AffectedSystem>{wrapped}</p:AffectedSystem>")
    assert said.fault == ("w:SchemaValidationError", 2150858817)
    assert "wrapped" in (said.told("s:Text") or "")


def test_an_embedded_instance_arrives_as_a_thing() -> None:
    asker, said = snapshot(
        embedded(
            uint8("1")
            + '<PROPERTY NAME="IgnoreNonSnapshottableDisks" TYPE="boolean"><VALUE>true</VALUE></PROPERTY>'
            '<PROPERTY NAME="InstanceID" TYPE="string"/>'
            '<PROPERTY.ARRAY NAME="Notes" TYPE="string"><VALUE.ARRAY><VALUE>a</VALUE><VALUE.NULL/></VALUE.ARRAY></PROPERTY.ARRAY>'
            '<PROPERTY NAME="Delay" TYPE="datetime"><VALUE>00000000000500.000000:000</VALUE></PROPERTY>'
        )
    )
    assert said.status == 200
    (call,) = asker.tiny.calls
    assert call.misfits == ()
    assert call.arguments["SnapshotSettings"] == Thing(
        SETTINGS,
        {
            "ConsistencyLevel": 1,
            "IgnoreNonSnapshottableDisks": True,
            "InstanceID": None,
            "Notes": ("a", None),
            "Delay": timedelta(minutes=5),
        },
    )


def test_escaped_text_is_the_same_as_cdata() -> None:
    text = embedded(uint8("2")).partition("[CDATA[")[2].partition("]]>")[0]
    escaped = text.replace("<", "&lt;").replace(">", "&gt;")
    asker, _ = snapshot(f"<p:SnapshotSettings>{escaped}</p:SnapshotSettings>")
    settings = asker.tiny.calls[0].arguments["SnapshotSettings"]
    assert settings == Thing(SETTINGS, {"ConsistencyLevel": 2})


@pytest.mark.parametrize(
    "properties",
    [
        uint8("1", "uint16"),
        uint8("1", "string"),
        uint8("300"),
        '<PROPERTY NAME="Delay" TYPE="string"><VALUE>00000000000500.000000:000</VALUE></PROPERTY>',
        '<PROPERTY NAME="Delay" TYPE="datetime"><VALUE>P0DT0H5M0S</VALUE></PROPERTY>',
        '<PROPERTY NAME="Notes" TYPE="string"><VALUE>a</VALUE></PROPERTY>',
    ],
)
def test_a_property_of_the_wrong_type_reaches_the_host_as_a_misfit(
    properties: str,
) -> None:
    asker, said = snapshot(embedded(properties))
    assert said.status == 200
    (call,) = asker.tiny.calls
    assert len(call.misfits) == 1
    assert call.arguments["SnapshotSettings"] == Thing(SETTINGS, {})


def test_an_instance_as_an_element_tree_is_refused() -> None:
    tree = f'<q:ConsistencyLevel xmlns:q="{V2}/{SETTINGS}">1</q:ConsistencyLevel>'
    asker, said = snapshot(f"<p:SnapshotSettings>{tree}</p:SnapshotSettings>")
    assert said.fault == ("w:SchemaValidationError", 2150858817)
    assert asker.tiny.calls == []


@pytest.mark.parametrize(
    "settings",
    [
        embedded("", "Msvm_ComputerSystem"),
        embedded(uint8("1"), "Msvm_Nothing"),
        embedded('<PROPERTY NAME="Nothing" TYPE="uint8"><VALUE>1</VALUE></PROPERTY>'),
        "<p:SnapshotSettings>no xml</p:SnapshotSettings>",
        "<p:SnapshotSettings>&lt;OTHER/&gt;</p:SnapshotSettings>",
        "<p:SnapshotSettings>&lt;!DOCTYPE x []&gt;&lt;INSTANCE/&gt;</p:SnapshotSettings>",
    ],
)
def test_a_text_that_is_no_instance_of_the_class_is_an_invalid_parameter(
    settings: str,
) -> None:
    asker, said = snapshot(settings)
    assert said.told("e:error_Code") == "2147749935"
    assert asker.tiny.calls == []


def test_empty_settings_are_none() -> None:
    asker, _ = snapshot("<p:SnapshotSettings></p:SnapshotSettings>")
    assert asker.tiny.calls[0].arguments == {"SnapshotSettings": None}


@pytest.mark.parametrize(
    "inside",
    [
        "<p:SnapshotType>x</p:SnapshotType>",
        "<p:SnapshotType>65536</p:SnapshotType>",
        "<p:SnapshotType>-1</p:SnapshotType>",
        "<p:SnapshotType>1</p:SnapshotType><p:SnapshotType>1</p:SnapshotType>",
        "<p:SnapshotType><p:Deeper>1</p:Deeper></p:SnapshotType>",
        "<p:Nothing>1</p:Nothing>",
        "<p:AffectedSystem>no reference</p:AffectedSystem>",
    ],
)
def test_a_parameter_that_does_not_fit_is_a_schema_error(inside: str) -> None:
    asker, said = snapshot(inside)
    assert said.fault == ("w:SchemaValidationError", 2150858817)
    assert asker.tiny.calls == []


def test_what_a_call_without_a_selector_means_is_the_host_s_to_say() -> None:
    asker = Asker()
    asker.invoke("CreateSnapshot", selectors={})
    assert asker.tiny.calls[0].selectors == {}


def test_a_selector_that_the_class_does_not_have_is_refused() -> None:
    said = Asker().invoke("CreateSnapshot", selectors={"Nothing": "x"})
    assert said.fault == ("w:InvalidSelectors", 2150858843)


@pytest.mark.parametrize(
    "extra",
    [
        '<w:Selector Name="Name">again</w:Selector>',
        "<w:Selector>unnamed</w:Selector>",
        '<w:Selector Name="Other"><a:EndpointReference/></w:Selector>',
    ],
)
def test_selectors_that_are_none_are_refused(extra: str) -> None:
    _, said = snapshot(f"<p:AffectedSystem>{reference(extra)}</p:AffectedSystem>")
    assert said.fault == ("w:InvalidSelectors", 2150858843)


def test_a_method_is_called_on_its_own_class() -> None:
    asker = Asker()
    uri = f"{V2}/Msvm_ImageManagementService"
    body = f'<p:CreateSnapshot_INPUT xmlns:p="{uri}"/>'
    action = f"{V2}/Msvm_ComputerSystem/CreateSnapshot"
    said = asker.send(envelope(action, uri, body, selectors={"Name": "x"}))
    assert said.fault[0] == "a:ActionNotSupported"
    assert asker.tiny.calls == []


def test_a_method_that_the_class_does_not_have_is_refused() -> None:
    assert Asker().invoke("Destroy").fault[0] == "a:ActionNotSupported"


def test_a_fault_of_the_provider_has_both_codes() -> None:
    said = Asker().invoke("CreateSnapshot", selectors={"Name": "gone"})
    assert said.fault == ("a:DestinationUnreachable", 2150858752)
    assert said.told("e:MSFT_WmiError/e:error_Code") == "2147749890"


def test_or_only_the_provider_s() -> None:
    asker = Asker(options=WireOptions(wmi_error_alone=True))
    said = asker.invoke("CreateSnapshot", selectors={"Name": "gone"})
    assert said.find("f:WSManFault") is None
    assert said.told("e:MSFT_WmiError/e:error_Code") == "2147749890"


def test_another_return_value_than_zero_is_no_fault() -> None:
    asker = Asker()
    asker.tiny.answer = {"ReturnValue": 32775}
    said = asker.invoke("CreateSnapshot")
    assert said.status == 200
    assert said.told(f"{{{V2}/Msvm_ImageManagementService}}ReturnValue") == "32775"


def test_outputs_are_all_there_in_alphabetical_order_and_null_is_nil() -> None:
    _, said = snapshot("")
    (output,) = said.named("CreateSnapshot_OUTPUT")
    assert [local(one.tag) for one in output] == [
        "Job",
        "ReturnValue",
        "SettingData",
        "Tree",
    ]
    assert [bool(one.attrib) for one in output] == [True, False, True, True]


def test_a_job_comes_as_a_reference_without_a_wrapper() -> None:
    asker = Asker()
    asker.tiny.answer = {
        "Job": Ref("Msvm_StorageJob", {"InstanceID": "J1"}),
        "ReturnValue": 4096,
    }
    said = asker.invoke("CreateSnapshot")
    path = "a:ReferenceParameters/w:SelectorSet/w:Selector[@Name='InstanceID']"
    (job,) = said.named("Job")
    assert [local(one.tag) for one in job] == ["Address", "ReferenceParameters"]
    assert said.told(path) == "J1"
    assert said.told("a:ReferenceParameters/w:ResourceURI") == f"{V2}/Msvm_StorageJob"


def test_references_may_carry_their_namespace() -> None:
    asker = Asker(options=WireOptions(namespace_selector=True))
    asker.tiny.answer = {
        "Job": Ref("Msvm_StorageJob", {"InstanceID": "J1"}),
        "ReturnValue": 4096,
    }
    said = asker.invoke("CreateSnapshot")
    assert [one.get("Name") for one in said.named("Selector")] == [
        "__cimnamespace",
        "InstanceID",
    ]


def test_an_instance_comes_back_as_text_and_a_tree_as_elements() -> None:
    asker = Asker()
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    asker.tiny.answer = {
        "SettingData": Thing(
            SETTINGS, {"ConsistencyLevel": 1, "Notes": ("<a>",), "Delay": moment}
        ),
        "Tree": Thing(SETTINGS, {"ConsistencyLevel": 2, "Notes": ("b", "c")}),
        "ReturnValue": 0,
    }
    said = asker.invoke("CreateSnapshot")
    (text,) = said.named("SettingData")
    assert text.text == (
        f'<INSTANCE CLASSNAME="{SETTINGS}"><PROPERTY NAME="InstanceID" TYPE="string"></PROPERTY>'
        '<PROPERTY NAME="ConsistencyLevel" TYPE="uint8"><VALUE>1</VALUE></PROPERTY>'
        '<PROPERTY NAME="IgnoreNonSnapshottableDisks" TYPE="boolean"></PROPERTY>'
        '<PROPERTY.ARRAY NAME="Notes" TYPE="string"><VALUE.ARRAY><VALUE>&lt;a&gt;</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>'
        '<PROPERTY NAME="Delay" TYPE="datetime"><VALUE>20260102030405.000000+000</VALUE></PROPERTY></INSTANCE>'
    )
    (tree,) = said.named("Tree")
    assert [(local(one.tag), one.text) for one in tree if one.text] == [
        ("ConsistencyLevel", "2"),
        ("Notes", "b"),
        ("Notes", "c"),
    ]


def changes(count: int) -> dict[str, object]:
    return {
        "ChangedByteOffsets": tuple(number << 16 for number in range(count)),
        "ChangedByteLengths": (65536,) * count,
        "ProcessedByteLength": 1 << 40,
        "ReturnValue": 0,
    }


def test_arrays_of_numbers_come_one_element_a_value() -> None:
    asker = Asker()
    asker.tiny.answer = changes(3)  # type: ignore[assignment]
    said = asker.invoke("GetVirtualDiskChanges", "<p:Path>C:\\VMs\\a.vhdx</p:Path>")
    assert [one.text for one in said.named("ChangedByteOffsets")] == [
        "0",
        "65536",
        "131072",
    ]
    assert asker.tiny.calls[0].arguments == {"Path": "C:\\VMs\\a.vhdx"}


@pytest.mark.parametrize("nil", [False, True])
def test_an_array_of_nothing_is_absent_or_nil(nil: bool) -> None:
    asker = Asker(options=WireOptions(empty_array_is_nil=nil))
    asker.tiny.answer = changes(0)  # type: ignore[assignment]
    said = asker.invoke("GetVirtualDiskChanges")
    assert len(said.named("ChangedByteOffsets")) == nil


def test_an_answer_that_is_too_big_is_a_fault_and_the_provider_was_told_how_big_it_may_be() -> (
    None
):
    asker = Asker()
    asker.tiny.answer = changes(10_000)  # type: ignore[assignment]
    said = asker.invoke("GetVirtualDiskChanges", size=153_600)
    assert said.fault == ("w:EncodingLimit", 2150858790)
    assert asker.tiny.calls[0].max_envelope_bytes == 153_600


def test_where_a_client_names_no_size_the_host_s_holds() -> None:
    asker = Asker()
    asker.invoke("GetVirtualDiskChanges", size=None)
    assert asker.tiny.calls[0].max_envelope_bytes == 512_000


def test_a_planned_return_value_comes_without_the_provider() -> None:
    plan = FaultPlan()
    plan.add(Fault("CreateSnapshot", Return(32775)))
    asker, said = snapshot("", Asker(plan=plan))
    assert said.told(f"{{{V2}/Msvm_ImageManagementService}}ReturnValue") == "32775"
    assert asker.tiny.calls == []


def test_a_planned_failure_of_a_job_is_passed_on() -> None:
    plan = FaultPlan()
    plan.add(Fault("CreateSnapshot", FailJob(32768, "kaputt")))
    asker, _ = snapshot("", Asker(plan=plan))
    assert asker.tiny.calls[0].fail_job == (32768, "kaputt")
    snapshot("", asker)
    assert asker.tiny.calls[1].fail_job is None


def test_selectors_and_headers_are_namespaced_as_the_standard_has_it() -> None:
    said = Asker().invoke("CreateSnapshot")
    assert said.told(f"{{{A}}}RelatesTo") == "uuid:1"
    assert W in said.text

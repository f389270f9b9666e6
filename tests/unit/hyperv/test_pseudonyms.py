import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from hypercbt.hyperv.pseudonyms import Pseudonyms
from unit.hyperv.channel import enveloped, fault, instance, output

GUID = "4FE342F3-0A6E-4C8E-9C0B-6B2C7E5D8F10"


def hidden(text: str) -> str:
    return Pseudonyms().text(text)


def test_a_path_keeps_its_form_and_loses_its_names() -> None:
    assert hidden(r"C:\VMs\web-01\web-01 (alt).vhdx") == (
        r"C:\word1\word2\word2 (word3).vhdx"
    )
    assert hidden(r"\\HV01\root\virtualization\v2:Msvm_X.InstanceID=") == (
        r"\\word1\root\virtualization\v2:word2.InstanceID="
    )


def test_a_name_is_the_same_each_time_whatever_its_case() -> None:
    names = Pseudonyms()

    assert names.text("Web01 Mail WEB01") == "word1 word2 word1"
    assert names.text("web01") == "word1"


def test_identifiers_become_others_of_the_same_form() -> None:
    names = Pseudonyms()
    colons = GUID.lower().replace("-", ":")

    assert names.text(f"Microsoft:{GUID}\\83F8\\0\\0\\L") == (
        "Microsoft:00000000-0000-0000-0000-000000000001\\word1\\0\\0\\L"
    )
    assert names.text(f"rctX:{colons}:00000007") == (
        "rctX:00000000:0000:0000:0000:000000000001:00000007"
    )
    assert names.text(f"web01_{GUID}.avhdx") == (
        "word2_00000000-0000-0000-0000-000000000001.avhdx"
    )
    other = "A" * 8 + GUID[8:]
    assert names.text(other) == "00000000-0000-0000-0000-000000000002"


def test_an_identifier_of_letters_keeps_its_case() -> None:
    names = Pseudonyms()
    for _ in range(9):
        names.text(f"{_}" * 8 + GUID[8:])

    upper, lower = (
        names.text("F" * 8 + GUID[8:]),
        names.text("f" * 8 + GUID.lower()[8:]),
    )

    assert upper.endswith("A")
    assert lower.endswith("a")
    assert upper.lower() == lower


def test_numbers_moments_and_the_words_of_hyper_v_stay() -> None:
    for text in (
        "Microsoft:Hyper-V:System:Realized",
        "4096 32775 0x80070005",
        "2026-10-08T15:15:36.68424Z",
        "P0DT0H5M0S",
        "20261008151536.684240+000",
        "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_Anything",
        "true false",
    ):
        assert hidden(text) == text


def test_addresses_and_letters_of_every_script_go() -> None:
    assert hidden("10.1.2.3, fe80::1:2 und 仮想マシン ม้า ναός") == (
        "192.0.2.1, 192.0.2.2 word1 word2 word3 word4"
    )


def test_what_people_chose_goes_even_if_it_is_a_number_or_a_word_of_ours() -> None:
    answer = instance(
        "Msvm_ComputerSystem",
        "<p:ElementName>2024</p:ElementName><p:EnabledState>2</p:EnabledState>"
        "<p:Notes>System</p:Notes><p:VirtualSystemType>System</p:VirtualSystemType>",
    )

    found = Pseudonyms().envelope(answer)

    assert "<p:ElementName>word1</p:ElementName><p:EnabledState>2<" in found
    assert "<p:Notes>word2</p:Notes><p:VirtualSystemType>System<" in found


def test_a_query_loses_what_its_answer_loses() -> None:
    names = Pseudonyms()
    query = (
        '<w:Filter Dialect="http://schemas.microsoft.com/wbem/wsman/1/WQL">SELECT * FROM Msvm_ComputerSystem WHERE '
        "ElementName = '2024' AND Status = 'OK' AND Name LIKE 'x[_]1%'</w:Filter>"
    )

    found = names.envelope(query)

    assert (
        "WHERE ElementName = 'word1' AND Status = 'OK' AND Name LIKE 'word2[_]word3%'"
        in found
    )
    assert names.envelope("<p:ElementName>2024</p:ElementName>") == (
        "<p:ElementName>word1</p:ElementName>"
    )


def test_instances_inside_texts_are_gone_through_escaped_or_not() -> None:
    inside = (
        '<INSTANCE CLASSNAME="Msvm_X"><PROPERTY NAME="ElementName" TYPE="string">'
        "<VALUE>7</VALUE></PROPERTY></INSTANCE>"
    )
    changed = inside.replace(">7<", ">word1<")
    escaped, wanted = (
        text.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
        for text in (inside, changed)
    )

    assert Pseudonyms().envelope(f"<x>{escaped}</x>") == f"<x>{wanted}</x>"
    assert Pseudonyms().envelope(f"<x><![CDATA[{inside}]]></x>") == (
        f"<x><![CDATA[{changed}]]></x>"
    )


def test_a_fault_keeps_its_codes_and_loses_the_machine_and_the_text() -> None:
    found = Pseudonyms().envelope(
        enveloped(fault("w:CannotProcessFilter", 2150859042), "uuid:x").decode()
    )

    assert "w:CannotProcessFilter" in found
    assert 'Code="2150859042"' in found
    for gone in ("HV01", "Das", "geht"):
        assert gone not in found


def test_comments_go() -> None:
    assert Pseudonyms().envelope("<x><!-- by admin on HV01 -->1</x>") == "<x>1</x>"


@given(st.from_regex(r"[a-zäöü]{4,8}[0-9]{2}", fullmatch=True))
def test_no_name_survives_wherever_it_stands(name: str) -> None:
    answer = (
        f'<a Machine="{name}" x:y="{name.upper()}">C:\\{name}\\x <b>{name}</b> {name}_{GUID}'
        f"<![CDATA[<INSTANCE><VALUE>{name}</VALUE></INSTANCE>]]>&lt;VALUE&gt;{name}&lt;/VALUE&gt; user@{name}.{name}</a>"
    )

    found = Pseudonyms().envelope(answer)

    assert name not in found.lower()
    assert GUID not in found


def test_what_is_well_formed_stays_so() -> None:
    text = enveloped(
        output(
            "X", "<p:A>a &amp; b &lt;c&gt;</p:A><p:B a='x y'/><p:C xsi:nil='true'/>"
        ),
        "uuid:x",
    ).decode()

    found = ElementTree.fromstring(Pseudonyms().envelope(text))

    assert [e.tag for e in found.iter()] == [
        e.tag for e in ElementTree.fromstring(text).iter()
    ]
    assert re.search("nil='true'", text)

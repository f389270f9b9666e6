from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import references
from hypercbt.hyperv.classes import CIMV2
from hypercbt.hyperv.markup import parse
from hypercbt.hyperv.values import VIRTUALIZATION, Reference
from unit.hyperv.channel import ANONYMOUS, V2, wire_names

NAMES = st.from_regex(r"[A-Z][A-Za-z0-9_]{0,10}", fullmatch=True)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20
)
REFERENCES = st.builds(
    Reference,
    NAMES,
    st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3),
    st.sampled_from([VIRTUALIZATION, CIMV2]),
)


@given(REFERENCES)
def test_a_reference_survives_as_an_endpoint_reference(reference: Reference) -> None:
    sent = wire_names(references.encode(reference))

    assert references.decode(parse(sent)) == reference


@given(REFERENCES)
def test_a_reference_survives_as_a_path(reference: Reference) -> None:
    path = references.format_path(reference, host="HV01")

    assert references.parse_path(path) == reference


def test_backslashes_are_doubled_in_the_path_of_a_parent_and_single_in_its_keys() -> (
    None
):
    # As recorded of a host: hyperv-rct.md, "Parent form".
    path = (
        r"\\HV01\root\virtualization\v2:Msvm_ResourceAllocationSettingData"
        r'.InstanceID="Microsoft:4FE3\\83F8\\0"'
    )

    found = references.parse_path(path)

    assert found == Reference(
        "Msvm_ResourceAllocationSettingData", {"InstanceID": r"Microsoft:4FE3\83F8\0"}
    )
    assert references.format_path(found, host="HV01") == path


@pytest.mark.parametrize("deep", [5, 5000])
def test_references_are_keys_of_references_only_so_deep(deep: int) -> None:
    """Each level doubles the backslashes of its path: forty would be a tebibyte."""
    one = '<ReferenceParameters><ResourceURI>{}</ResourceURI><SelectorSet><Selector Name="K">'
    uri = references.class_uri("C", VIRTUALIZATION)
    begin = one.format(uri) + "<EndpointReference>"
    end = "</EndpointReference></Selector></SelectorSet></ReferenceParameters>"
    inner = f"{one.format(uri)}x</Selector></SelectorSet></ReferenceParameters>"

    def nested(levels: int) -> Element:
        return parse(f"<R>{begin * levels}{inner}{end * levels}</R>")

    assert references.decode(nested(1)).selectors == {"K": 'C.K="x"'}
    with pytest.raises(HostReplyError, match="references in references"):
        references.decode(nested(deep))


def test_a_path_may_have_several_keys_numbers_and_quotes() -> None:
    found = references.parse_path(r'C.A="x,\"y\"=z",B=5,D="",E="a\\"')

    assert found.selectors == {"A": 'x,"y"=z', "B": "5", "D": "", "E": "a\\"}


def test_an_endpoint_reference_is_read_with_or_without_its_wrapper() -> None:
    inside = (
        f"<a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{V2}/Msvm_ConcreteJob</w:ResourceURI><w:SelectorSet>"
        '<w:Selector Name="__cimnamespace">root\\virtualization\\v2</w:Selector>'
        '<w:Selector Name="InstanceID">A-1</w:Selector></w:SelectorSet></a:ReferenceParameters>'
    )
    wrapped = f"<a:EndpointReference>{inside}</a:EndpointReference>"

    for form in (inside, wrapped):
        found = references.decode(parse(wire_names(form)))
        assert found == Reference("Msvm_ConcreteJob", {"InstanceID": "A-1"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C",
        "C.",
        'C.A="',
        'C.A="x',
        'C.A="x" B="y"',
        r'C.A="x\"',
        "Msvm_X:not a path",
        'C.A="x",,B="y"',
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(HostReplyError):
        references.parse_path(text)


def test_a_reference_to_no_class_is_refused() -> None:
    form = (
        "<a:ReferenceParameters><w:ResourceURI>http://elsewhere/x</w:ResourceURI>"
        "</a:ReferenceParameters>"
    )

    with pytest.raises(HostReplyError):
        references.decode(parse(wire_names(form)))

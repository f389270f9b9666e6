"""Enumerate, Pull and Release, with the habits that were recorded of a real host."""

import pytest

from hypercbt.lab.wire.options import WireOptions
from lab.wire.asking import (
    ENUMERATE,
    OPTIMIZED,
    RELEASE,
    V2,
    Asker,
    enumerate_body,
    envelope,
    filtered,
    local,
    values,
)
from lab.wire.tiny import HOST, IDS, Tiny, machines

EVERY = "SELECT * FROM Msvm_ComputerSystem"


def all_pulled(
    asker: Asker, context: str | None, most: int | None = None
) -> list[list[str]]:
    """The labels that each pull gave, until the end."""
    pages = []
    while context:
        said = asker.pull(context, most)
        pages.append([values(item)["ElementName"] or "" for item in said.items])
        assert (said.context is None) == said.ended
        context = said.context
    return pages


def test_an_enumerate_that_is_not_optimized_gives_a_context_and_no_items() -> None:
    said = Asker().enumerate("Msvm_ComputerSystem", "")
    assert said.context is not None
    assert said.items == []
    assert not said.ended


def test_a_pull_that_names_no_limit_gives_one_item_and_the_last_one_says_that_it_was() -> (
    None
):
    asker = Asker()
    pages = all_pulled(asker, asker.enumerate("Msvm_ComputerSystem", "").context)
    assert [len(page) for page in pages] == [1, 1, 1]


def test_a_pull_gives_as_many_as_it_names() -> None:
    asker = Asker()
    pages = all_pulled(asker, asker.enumerate("Msvm_ComputerSystem", "").context, 2)
    assert [len(page) for page in pages] == [2, 1]


def test_a_pull_gives_no_more_than_the_host_s_limit() -> None:
    asker = Asker(options=WireOptions(max_batch_items=2))
    pages = all_pulled(asker, asker.enumerate("Msvm_ComputerSystem", "").context, 99)
    assert [len(page) for page in pages] == [2, 1]


def test_where_the_switch_is_off_a_pull_without_a_limit_gives_all() -> None:
    asker = Asker(options=WireOptions(one_item_pulls=False))
    pages = all_pulled(asker, asker.enumerate("Msvm_ComputerSystem", "").context)
    assert [len(page) for page in pages] == [3]


def test_a_last_pull_may_be_empty() -> None:
    asker = Asker(options=WireOptions(last_pull_empty=True))
    pages = all_pulled(asker, asker.enumerate("Msvm_ComputerSystem", "").context, 2)
    assert [len(page) for page in pages] == [2, 1, 0]


def test_an_optimized_enumerate_carries_items_and_ends_where_they_are_all() -> None:
    said = Asker().enumerate("Msvm_ComputerSystem", OPTIMIZED)
    assert len(said.items) == 3
    assert said.ended
    assert said.context is None


def test_an_optimized_enumerate_goes_on_by_pulls() -> None:
    asker = Asker()
    first = asker.enumerate(
        "Msvm_ComputerSystem",
        "<w:OptimizeEnumeration/><w:MaxElements>2</w:MaxElements>",
    )
    assert len(first.items) == 2
    assert [len(page) for page in all_pulled(asker, first.context)] == [1]


def test_items_come_in_another_order_than_the_model_has_them() -> None:
    labels = [f"vm{number}" for number in range(20)]
    asker = Asker(Tiny(list(machines(20))))
    shown = [values(item)["ElementName"] for item in asker.query(EVERY).items]
    assert shown != labels
    assert sorted(map(str, shown)) == sorted(labels)


def test_the_model_s_order_can_be_had() -> None:
    asker = Asker(Tiny(list(machines(20))), WireOptions(shuffle_seed=None))
    shown = [values(item)["ElementName"] for item in asker.query(EVERY).items]
    assert shown == [f"vm{number}" for number in range(20)]


def test_a_context_that_rests_for_too_long_is_gone() -> None:
    now = [0.0]
    asker = Asker(options=WireOptions(clock=lambda: now[0]))
    context = asker.enumerate("Msvm_ComputerSystem", "").context
    assert context is not None
    now[0] = 60.0
    assert asker.pull(context).context == context  # and begins to rest anew
    now[0] = 120.1
    gone = asker.pull(context)
    assert gone.fault == ("n:InvalidEnumerationContext", 2150858779)
    assert gone.told("s:Code/s:Value") == "s:Receiver"


def test_a_context_ends_with_its_last_item() -> None:
    asker = Asker()
    context = asker.enumerate("Msvm_ComputerSystem", "").context
    assert context is not None
    all_pulled(asker, context, 100)
    assert asker.pull(context).fault == ("n:InvalidEnumerationContext", 2150858779)


def test_a_context_is_its_user_s_own() -> None:
    asker = Asker()
    context = asker.enumerate("Msvm_ComputerSystem", "").context
    assert context is not None
    assert asker.pull(context, user="mallory").fault[0] == "n:InvalidEnumerationContext"
    assert asker.pull(context).status == 200


def test_a_released_context_is_gone() -> None:
    asker = Asker()
    context = asker.enumerate("Msvm_ComputerSystem", "").context
    assert context is not None
    body = (
        f"<n:Release><n:EnumerationContext>{context}</n:EnumerationContext></n:Release>"
    )
    assert asker.send(envelope(RELEASE, f"{V2}/*", body)).status == 200
    assert asker.pull(context).fault[0] == "n:InvalidEnumerationContext"


def test_a_user_who_begins_too_many_enumerations_is_refused() -> None:
    asker = Asker(options=WireOptions(max_enumerations=2))
    for _ in range(2):
        assert asker.enumerate("Msvm_ComputerSystem", "").status == 200
    assert asker.enumerate("Msvm_ComputerSystem", "").fault[0] == "w:QuotaLimit"


def test_a_page_is_as_long_as_the_smaller_envelope_allows() -> None:
    asker = Asker(Tiny(list(machines(100))))
    first = asker.enumerate("Msvm_ComputerSystem", OPTIMIZED, size=16_384)
    assert len(first.text.encode()) <= 16_384
    assert 5 < len(first.items) < 100
    pages = [[values(item)["ElementName"] for item in first.items]]
    context = first.context
    while context:
        said = asker.pull(context, 1000, size=16_384)
        assert len(said.text.encode()) <= 16_384
        pages.append([values(item)["ElementName"] for item in said.items])
        context = said.context
    found = [str(name) for page in pages for name in page]
    assert sorted(found) == sorted(f"vm{number}" for number in range(100))


def test_the_host_s_limit_holds_where_the_client_would_take_more() -> None:
    asker = Asker(Tiny(list(machines(100))), WireOptions(max_envelope_bytes=16_384))
    said = asker.enumerate("Msvm_ComputerSystem", OPTIMIZED, size=10_000_000)
    assert len(said.text.encode()) <= 16_384


def test_one_item_that_fits_no_envelope_is_a_fault_and_the_enumeration_stays() -> None:
    tiny = Tiny()
    tiny.things = [machines(1)[0]]
    tiny.things[0] = type(tiny.things[0])(
        "Msvm_ComputerSystem", {**tiny.things[0].values, "Description": "x" * 20_000}
    )
    asker = Asker(tiny)
    context = asker.enumerate("Msvm_ComputerSystem", "").context
    assert context is not None
    assert asker.pull(context, size=8192).fault[0] == "w:EncodingLimit"
    assert len(asker.pull(context).items) == 1


def test_asking_for_less_than_eight_kilobytes_is_refused() -> None:
    asker = Asker()
    assert (
        asker.enumerate("Msvm_ComputerSystem", size=8191).fault[0] == "w:EncodingLimit"
    )
    assert asker.enumerate("Msvm_ComputerSystem", size=8192).status == 200


def test_references_can_be_had_instead_of_objects() -> None:
    mode = "<w:EnumerationMode>EnumerateEPR</w:EnumerationMode>"
    said = Asker().enumerate("Msvm_ComputerSystem", OPTIMIZED + mode)
    assert [local(item.tag) for item in said.items] == ["EndpointReference"] * 3
    names = {one.text for one in said.named("Selector") if one.get("Name") == "Name"}
    assert names == {HOST, *IDS}


def test_or_beside_them() -> None:
    mode = "<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>"
    said = Asker().enumerate("Msvm_ComputerSystem", OPTIMIZED + mode)
    for item in said.items:
        machine, reference = item
        assert local(machine.tag) == "Msvm_ComputerSystem"
        chosen = [one.text for one in reference.iter() if one.get("Name") == "Name"]
        assert chosen == [values(machine)["Name"]]


def test_a_class_that_only_others_derive_from_gives_those() -> None:
    said = Asker().enumerate("CIM_ConcreteJob")
    assert [local(item.tag) for item in said.items] == ["Msvm_StorageJob"]


def test_class_names_are_found_whatever_their_case() -> None:
    assert len(Asker().enumerate("MSVM_computersystem").items) == 3


@pytest.mark.parametrize(
    ("uri", "subcode"),
    [
        (f"{V2}/Msvm_Nothing", "a:DestinationUnreachable"),
        (f"{V2}/Win32_OperatingSystem", "a:DestinationUnreachable"),
        ("http://schemas.dmtf.org/other", "w:InvalidResourceURI"),
        (V2.removesuffix("v2"), "w:InvalidResourceURI"),
    ],
)
def test_what_is_not_there_is_a_fault(uri: str, subcode: str) -> None:
    said = Asker().send(envelope(ENUMERATE, uri, enumerate_body(OPTIMIZED)))
    assert said.fault[0] == subcode
    assert said.told("s:Code/s:Value") == "s:Sender"


def test_a_namespace_that_is_missing_is_told_by_its_wmi_error() -> None:
    uri = f"{V2.removesuffix('/virtualization/v2')}/other/Msvm_ComputerSystem"
    said = Asker().send(envelope(ENUMERATE, uri, enumerate_body(OPTIMIZED)))
    assert said.status == 500
    assert said.told("e:MSFT_WmiError/e:error_Code") == "2150858778"


def test_a_query_to_a_class_s_own_address_is_refused() -> None:
    said = Asker().enumerate("Msvm_ComputerSystem", OPTIMIZED + filtered(EVERY))
    assert said.fault == ("w:CannotProcessFilter", 2150859003)


def test_a_host_may_refuse_all_queries() -> None:
    asker = Asker(options=WireOptions(refuse_filters=True))
    assert asker.query(EVERY).fault == ("w:CannotProcessFilter", 2150859042)
    assert asker.enumerate("Msvm_ComputerSystem").status == 200


def test_another_language_of_queries_is_refused() -> None:
    said = Asker().enumerate("*", OPTIMIZED + filtered(EVERY, "urn:other"))
    assert said.fault[0] == "n:FilterDialectRequestedUnavailable"


def test_named_properties_come_as_a_fragment() -> None:
    query = (
        "SELECT name, ElementName FROM Msvm_ComputerSystem WHERE ElementName = 'WEB01'"
    )
    (item,) = Asker().query(query).items
    assert local(item.tag) == "XmlFragment"
    assert values(item) == {"ElementName": "web01", "Name": IDS[0]}


def test_or_as_an_instance_that_has_only_these() -> None:
    asker = Asker(options=WireOptions(projected_fragments=False))
    query = "SELECT Name FROM Msvm_ComputerSystem WHERE ElementName = 'web01'"
    (item,) = asker.query(query).items
    assert local(item.tag) == "Msvm_ComputerSystem"
    assert values(item) == {"Name": IDS[0]}


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "1" * 11, "\u0663"])
def test_a_limit_that_is_no_number_is_refused(limit: str) -> None:
    inside = f"<w:OptimizeEnumeration/><w:MaxElements>{limit}</w:MaxElements>"
    said = Asker().enumerate("Msvm_ComputerSystem", inside)
    assert said.fault[0] == "w:SchemaValidationError"

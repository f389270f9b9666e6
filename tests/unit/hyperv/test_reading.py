"""A host's answers are not believed."""

from datetime import UTC, datetime

import pytest

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import reading
from hypercbt.hyperv.values import Instance, Value

GUID = "a1b2c3d4-0000-4000-8000-000000000001"


def of(value: Value) -> Instance:
    return Instance("Msvm_X", {"P": value})


@pytest.mark.parametrize("value", [None, 5, True, ("a",)])
def test_what_is_no_text_is_refused(value: Value) -> None:
    with pytest.raises(HostReplyError, match=r"Msvm_X\.P is a text"):
        reading.text(of(value), "P")


@pytest.mark.parametrize("value", [None, "5", True, (5,)])
def test_what_is_no_number_is_refused(value: Value) -> None:
    with pytest.raises(HostReplyError, match=r"Msvm_X\.P is a number"):
        reading.number(of(value), "P")


def test_what_is_missing_is_nothing_where_it_may_be() -> None:
    empty = Instance("Msvm_X")

    assert reading.optional_text(empty, "P") is None
    assert reading.optional_text(of(""), "P") is None
    assert reading.optional_number(empty, "P") is None
    assert reading.moment(empty, "P") is None
    assert reading.texts(empty, "P") == ()


def test_nulls_keep_their_place_in_an_array() -> None:
    assert reading.texts(of(("a", None, "", "b")), "P") == ("a", None, None, "b")
    with pytest.raises(HostReplyError):
        reading.texts(of(("a", 5)), "P")


def test_the_year_1601_is_never() -> None:
    assert reading.moment(of(datetime(1601, 1, 1, tzinfo=UTC)), "P") is None
    assert reading.moment(of(datetime(2026, 1, 1)), "P") == datetime(
        2026, 1, 1, tzinfo=UTC
    )


@pytest.mark.parametrize("text", [GUID, GUID.upper(), "{" + GUID.upper() + "}"])
def test_a_guid_has_one_spelling_here(text: str) -> None:
    assert reading.guid(text) == GUID


@pytest.mark.parametrize("text", ["HV01", "", GUID[:-1], GUID + "0", "x" + GUID[1:]])
def test_other_names_are_no_guid(text: str) -> None:
    assert reading.guid(text) is None
    with pytest.raises(HostReplyError):
        reading.required_guid(of(text), "P")


def test_a_device_has_one_name_in_every_checkpoint() -> None:
    live = f"Microsoft:{GUID.upper()}\\83F8638B\\0\\0\\L"
    frozen = "Microsoft:5AA95407-0000-4000-8000-00000000000A\\83f8638b\\0\\0\\L"

    assert reading.device_of(live) == reading.device_of(frozen) == r"83f8638b\0\0\l"
    assert reading.device_of("Else\\0") == "else\\0"

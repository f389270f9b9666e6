import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.hyperv.values import Instance
from hypercbt.hyperv.wql import matches, select


def test_texts_stand_in_single_quotes_with_backslashes_doubled() -> None:
    query = select(
        "Msvm_X", {"InstanceID": "Microsoft:A\\B\\0", "Type": 31, "On": True}, {}
    )

    assert query == (
        r"SELECT * FROM Msvm_X WHERE InstanceID = 'Microsoft:A\\B\\0' AND Type = 31 AND On = TRUE"
    )


def test_without_a_condition_all_is_asked_for() -> None:
    assert select("Msvm_X", {}, {}) == "SELECT * FROM Msvm_X"


def test_the_wildcards_of_like_are_taken_as_what_they_are() -> None:
    query = select("Msvm_X", {}, {"InstanceID": "a_b%c[d\\'"})

    assert query == r"SELECT * FROM Msvm_X WHERE InstanceID LIKE 'a[_]b[%]c[[]d\\\'%'"


@given(st.text(max_size=20))
def test_no_text_leaves_its_quotes(text: str) -> None:
    query = select("C", {"A": text}, {"B": text})

    literals = re.findall(r"'((?:[^'\\]|\\.)*)'", query, re.DOTALL)
    left = re.sub(r"'(?:[^'\\]|\\.)*'", "?", query, flags=re.DOTALL)
    assert left == "SELECT * FROM C WHERE A = ? AND B LIKE ?"
    assert re.sub(r"\\(.)", r"\1", literals[0], flags=re.DOTALL) == text


@pytest.mark.parametrize("name", ["", "a b", "a'", "1a", "ä"])
def test_what_is_no_name_gets_into_no_query(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        select("C", {name: "x"}, {})
    with pytest.raises(ValueError, match="no name"):
        select(name, {}, {})


def test_here_texts_are_matched_without_regard_to_case_and_types_are_kept() -> None:
    thing = Instance("C", {"Name": "Web01", "State": 1, "On": True, "Nil": None})

    assert matches(thing, {"Name": "WEB01", "State": 1, "On": True}, {"Name": "wEB"})
    assert not matches(thing, {"Name": "web02"}, {})
    assert not matches(thing, {}, {"Name": "b"})
    assert not matches(thing, {"State": True}, {})
    assert not matches(thing, {"Nil": "x"}, {})
    assert not matches(thing, {"Absent": "x"}, {})
    assert not matches(thing, {}, {"Nil": ""})

"""WQL: what clients of a Hyper-V host write, what it means, and what is no query."""

import contextlib
import fnmatch
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercbt.lab.wire.conditions import Pattern
from hypercbt.lab.wire.provider import Ref
from hypercbt.lab.wire.wql import BadQueryError, object_path, parse
from lab.wire.asking import Asker, local, values
from lab.wire.tiny import HOST, IDS

FROM = "SELECT * FROM Msvm_ComputerSystem WHERE"
SECOND = "web<02> & \\ 'b'"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("ElementName = 'web01'", ["web01"]),
        ('elementname="WEB01"', ["web01"]),
        ("ElementName <> 'web01'", [HOST, SECOND]),
        ("ElementName != 'web01'", [HOST, SECOND]),
        ("ElementName LIKE 'web%'", ["web01", SECOND]),
        ("ElementName LIKE 'web0_'", ["web01"]),
        ("ElementName LIKE '[a-v]%'", [HOST]),
        ("ElementName LIKE '[^a-v]%'", ["web01", SECOND]),
        (r"ElementName = 'web<02> & \\ \'b\''", [SECOND]),
        (r"ElementName LIKE '% \\ %'", [SECOND]),
        ("EnabledState = 2 AND ElementName = 'web01'", ["web01"]),
        ("EnabledState = '2' AND NOT ElementName = 'web01'", [HOST, SECOND]),
        ("ElementName = 'web01' OR ElementName = 'LAB1'", [HOST, "web01"]),
        ("EnabledState = 3 AND Name = 'x' OR ElementName = 'web01'", ["web01"]),
        ("EnabledState = 3 AND (Name = 'x' OR ElementName = 'web01')", []),
        ("OnTimeInMilliseconds > 18446744073709551614", [HOST, "web01", SECOND]),
        ("EnabledState >= 3", []),
        ("InstallDate IS NULL", [HOST]),
        ("InstallDate IS NOT NULL", ["web01", SECOND]),
        ("InstallDate > '2026-10-08T15:15:36Z'", ["web01", SECOND]),
        ("InstallDate > '20261009000000.000000+000'", []),
        ("Name != __SERVER", ["web01", SECOND]),
        ("Name = __server", [HOST]),
        (
            "__CLASS = 'msvm_computersystem' AND EnabledState = EnabledState",
            [HOST, "web01", SECOND],
        ),
        (r"__NAMESPACE = 'root\\virtualization\\v2' AND Name = ElementName", [HOST]),
        ("InstallDate <> '1601-01-01T00:00:00Z'", ["web01", SECOND]),
    ],
)
def test_a_condition_finds(condition: str, found: list[str]) -> None:
    assert Asker().names(f"{FROM} {condition}") == sorted(found)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "DELETE FROM Msvm_ComputerSystem",
        "SELECT FROM Msvm_ComputerSystem",
        "SELECT * FROM",
        "SELECT Nothing FROM Msvm_ComputerSystem",
        f"{FROM} Nothing = 1",
        f"{FROM} Name",
        f"{FROM} Name = ",
        f"{FROM} Name = 'a",
        f"{FROM} (Name = 'a'",
        f"{FROM} Name = 'a' garbage",
        f"{FROM} EnabledState = 'two'",
        f"{FROM} EnabledState = 70000",
        f"{FROM} EnabledState LIKE '2'",
        f"{FROM} EnabledState = Name",
        f"{FROM} Name = Nothing",
        f"{FROM} Name = OperationalStatus",
        f"{FROM} OperationalStatus = 2",
        rf"{FROM} Name = 'C:\VMs'",
        "SELECT * FROM Msvm_HostedDependency WHERE Antecedent > 'X.A=1'",
        "ASSOCIATORS OF {}",
        "ASSOCIATORS OF {Msvm_ComputerSystem.Name='x'} WHERE Role = X",
        "ASSOCIATORS OF {Msvm_ComputerSystem.Name='x',Name='y'}",
        "REFERENCES OF {Msvm_ComputerSystem.Name='x'}",
        f"{FROM} " + "(" * 40 + "Name = 'a'" + ")" * 40,
        f"{FROM} Name = '" + "x" * 70_000 + "'",
    ],
)
def test_what_is_no_query_cannot_be_processed(query: str) -> None:
    assert Asker().query(query).fault == ("w:CannotProcessFilter", 2150859042)


def test_a_query_for_a_class_that_is_not_there_says_so() -> None:
    said = Asker().query("SELECT * FROM Msvm_Nothing")
    assert said.fault[0] == "a:DestinationUnreachable"
    assert said.told("e:error_Code") == "2147749904"


def test_a_provider_is_told_what_must_be_equal() -> None:
    asker = Asker()
    asker.query(f"{FROM} name = 'x' AND EnabledState = 2 AND NOT ElementName = 'y'")
    assert asker.tiny.asked_equal == [{"Name": "x", "EnabledState": 2}]


def test_a_provider_is_not_told_what_need_not_be() -> None:
    asker = Asker()
    asker.query(f"{FROM} name = 'x' OR EnabledState = 2")
    assert asker.tiny.asked_equal == [{}]


def test_a_query_for_a_parent_class_finds_what_derives_from_it() -> None:
    said = Asker().query("SELECT * FROM CIM_ConcreteJob WHERE JobState = 4")
    assert [local(item.tag) for item in said.items] == ["Msvm_StorageJob"]


def test_associators_are_found_by_the_path_of_an_object() -> None:
    path = (
        f"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name='{HOST}'"
    )
    query = (
        f"ASSOCIATORS OF {{{path}}} WHERE AssocClass = Msvm_HostedDependency "
        "ResultClass = Msvm_ComputerSystem"
    )
    assert Asker().names(query) == ["web01"]


def test_associators_of_another_class_than_the_result_s_are_left_out() -> None:
    query = (
        f"ASSOCIATORS OF {{Msvm_ComputerSystem.Name='{HOST}'}} "
        "WHERE ResultClass = CIM_ConcreteJob"
    )
    assert Asker().query(query).items == []


def test_references_are_the_associations_that_name_an_object() -> None:
    query = (
        "REFERENCES OF {Msvm_ComputerSystem.CreationClassName='Msvm_ComputerSystem',"
        f"Name='{IDS[0].lower()}'}} WHERE ResultClass = Msvm_HostedDependency"
    )
    assert len(Asker().query(query).items) == 1
    assert Asker().query(query.replace("aaaa", "dddd")).items == []


def test_a_reference_can_be_compared() -> None:
    query = (
        "SELECT * FROM Msvm_HostedDependency WHERE Dependent = "
        rf"'\\\\LAB1\\root\\virtualization\\v2:Msvm_ComputerSystem.Name=\"{IDS[0]}\"'"
    )
    assert len(Asker().query(query).items) == 1
    assert Asker().query(query.replace("Dependent", "Antecedent")).items == []


def test_an_object_path_has_its_backslashes_doubled_inside_the_quotes() -> None:
    text = r'\\LAB1\root\virtualization\v2:Msvm_X.InstanceID="Microsoft:A\\B\\0",K=7'
    assert object_path(text) == Ref(
        "Msvm_X", {"InstanceID": r"Microsoft:A\B\0", "K": "7"}
    )


def test_associations_show_their_references() -> None:
    (item,) = Asker().enumerate("Msvm_HostedDependency").items
    selectors = [one.text for one in item.iter() if local(one.tag) == "Selector"]
    assert selectors == [HOST, IDS[0]]
    assert set(values(item)) == {"Antecedent", "Dependent"}


@given(
    st.text("ab%_[]^-", max_size=8),
    st.text("abAB[]^-", max_size=8),
)
@settings(max_examples=256)
def test_a_pattern_without_sets_means_what_fnmatch_means(
    pattern: str, text: str
) -> None:
    pattern = re.sub(r"[\[\]^-]", "a", pattern)
    shell = pattern.replace("%", "*").replace("_", "?")
    expected = fnmatch.fnmatchcase(text.lower(), shell)
    assert Pattern(pattern).matches(text) == expected


def test_a_pattern_of_many_wildcards_takes_no_time() -> None:
    assert not Pattern("%a" * 500 + "b").matches("a" * 2000)


def test_sets_of_all_characters_take_no_memory() -> None:
    tracemalloc.start()
    try:
        pattern = Pattern("[\x01-\U0010ffff]" * 3)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pattern.matches("a\u2028\U0001f600")
    assert most < 1 << 20


@pytest.mark.parametrize("path", ["{}", "a{}!", "{}!", "root:{}!", "a{}.{}!"])
def test_a_path_of_white_space_takes_no_time(path: str) -> None:
    path = path.replace("{}", " " * 30_000)
    with pytest.raises(BadQueryError, match="object"):
        object_path(path)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM {}",
        "SELECT {} FROM A",
        "SELECT * FROM A WHERE {} = 1",
        "ASSOCIATORS OF {{}.B=1}",
        "ASSOCIATORS OF {A.B=1} WHERE ResultClass = {}",
    ],
)
def test_a_name_is_not_as_long_as_one_likes(query: str) -> None:
    parse(query.replace("{}", "A" * 256))
    with pytest.raises(BadQueryError):
        parse(query.replace("{}", "A" * 257))


@given(st.text(max_size=60))
@settings(max_examples=256)
def test_whatever_is_sent_is_a_query_or_refused(text: str) -> None:
    with contextlib.suppress(BadQueryError):
        parse(f"SELECT * FROM A WHERE {text}")

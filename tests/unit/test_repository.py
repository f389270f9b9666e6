"""Which restore point a text means."""

from typing import cast

import pytest

from hypercbt import _native
from hypercbt.errors import AmbiguousPointError, PointNotFoundError
from hypercbt.points import RestorePoint, point_from_document
from hypercbt.repository import Repository, choose, match_disks, newest
from support import disk_document, point_document

NO_REPOSITORY = cast("_native.Repository", None)


def point(id: str, machine: str = "file:web01", name: str = "web01") -> RestorePoint:
    return point_from_document(
        point_document(id.ljust(32, "0"), machine=machine, name=name), NO_REPOSITORY
    )


NEWEST, MIDDLE, OLDEST = point("aa1"), point("aa2"), point("bb")
POINTS = [NEWEST, MIDDLE, OLDEST]


def test_a_whole_id_means_its_point() -> None:
    assert choose(MIDDLE.id, POINTS) is MIDDLE


def test_a_unique_prefix_means_its_point_in_either_case() -> None:
    assert choose("b", POINTS) is OLDEST
    assert choose("AA2", POINTS) is MIDDLE


def test_a_prefix_of_several_is_refused_with_the_list() -> None:
    with pytest.raises(AmbiguousPointError, match="fits 2 restore points") as caught:
        choose("aa", POINTS)
    assert NEWEST.id in str(caught.value)
    assert MIDDLE.id in str(caught.value)


@pytest.mark.parametrize("text", ["cc", "", "web01", "@", "@latest", "web02@latest"])
def test_what_means_no_point_is_not_found(text: str) -> None:
    with pytest.raises(PointNotFoundError):
        choose(text, POINTS)


def test_latest_is_the_newest_of_the_name() -> None:
    assert choose("web01@latest", POINTS) is NEWEST
    assert choose("file:web01@latest", POINTS) is NEWEST


def test_a_name_may_hold_an_at_sign() -> None:
    odd = point("cc", "file:a@b", "a@b")
    assert choose("a@b@latest", [odd, *POINTS]) is odd


def test_a_name_of_several_machines_is_refused_with_the_list() -> None:
    twin = point("dd", "vm:1234")
    with pytest.raises(AmbiguousPointError, match="file:web01, vm:1234"):
        choose("web01@latest", [twin, *POINTS])
    assert choose("vm:1234@latest", [twin, *POINTS]) is twin


def test_there_is_no_newest_of_nothing() -> None:
    assert newest("web01", []) is None


def test_disks_are_compared_by_their_number() -> None:
    one = point_from_document(
        point_document(disks=[disk_document(0), disk_document(1)]), NO_REPOSITORY
    )
    assert [(a.index, b.index) for a, b in match_disks(one, one)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="do not have the same disks"):
        match_disks(one, NEWEST)


def test_a_closed_repository_says_so() -> None:
    repository = Repository(NO_REPOSITORY)
    repository.close()
    with pytest.raises(ValueError, match="closed"):
        repository.points()


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_a_sample_is_a_share(percent: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and at most 100"):
        Repository(NO_REPOSITORY).verify(sample_percent=percent)

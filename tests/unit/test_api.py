"""What `backup_disk` refuses before it touches anything, and what it hands to the core."""

import json
from datetime import timedelta
from typing import Any, cast

import pytest

from hypercbt import Extents, Repository, VirtualDisk, _native, backup_disk
from hypercbt.api import AUDIT_PERIOD, Audit
from hypercbt.errors import UnfinishedWarning
from support import POINT_ID, point_document


class FakeRepository:
    """Notes what it is asked to back up."""

    def __init__(self, warnings: list[str] | None = None) -> None:
        self.options: dict[str, Any] = {}
        self.warnings = warnings or []

    def points(self) -> str:
        return json.dumps([point_document()])

    def backup_disk(self, disk: object, **options: object) -> str:
        self.options = options
        return json.dumps({"point": point_document(), "warnings": self.warnings})


def backed_up(
    fake: FakeRepository, disk: str = "some/web01.avhdx", **options: Any
) -> Any:
    repository = Repository(cast("_native.Repository", fake))
    source = VirtualDisk(cast("_native.VirtualDisk", None), disk)
    return backup_disk(source, repository=repository, **options)


def test_changes_without_since_and_since_without_changes_are_misuse() -> None:
    for options in ({"changes": [(0, 1)]}, {"since": POINT_ID}):
        with pytest.raises(ValueError, match="both `changes` and `since`"):
            backed_up(FakeRepository(), **options)


def test_an_empty_list_of_changes_is_a_list() -> None:
    fake = FakeRepository()
    backed_up(fake, changes=[], since=POINT_ID)
    assert fake.options["changes"] == Extents()
    with pytest.raises(ValueError, match="both `changes` and `since`"):
        backed_up(FakeRepository(), changes=[])


def test_a_full_backup_takes_no_changes() -> None:
    with pytest.raises(ValueError, match="takes no changes"):
        backed_up(FakeRepository(), full=True, changes=[(0, 1)], since=POINT_ID)


def test_the_name_is_the_stem_of_the_file() -> None:
    fake = FakeRepository()
    backed_up(fake)
    assert fake.options["name"] == fake.options["disk_name"] == "web01"
    backed_up(fake, name="shop")
    assert (fake.options["name"], fake.options["disk_name"]) == ("shop", "web01")


@pytest.mark.parametrize("name", ["", " web01", "web\n01", "web01\x1b[1m"])
def test_a_name_that_nobody_can_type_is_misuse(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        backed_up(FakeRepository(), name=name)


def test_since_is_a_point_or_what_means_one() -> None:
    fake = FakeRepository()
    point = backed_up(fake, changes=[(0, 1)], since=POINT_ID[:5])
    assert fake.options["since"] == POINT_ID
    backed_up(fake, changes=[(0, 1)], since=point)
    assert fake.options["since"] == POINT_ID


@pytest.mark.parametrize(
    ("audit", "mode", "seconds"),
    [
        ("full", "full", 28 * 86400),
        ("off", "off", 28 * 86400),
        (AUDIT_PERIOD, "rotate", 28 * 86400),
        (timedelta(days=7), "rotate", 7 * 86400),
    ],
)
def test_the_audit_reaches_the_core(audit: Audit, mode: str, seconds: int) -> None:
    fake = FakeRepository()
    backed_up(fake, audit=audit)
    assert fake.options["audit"] == mode
    assert fake.options["audit_period_seconds"] == seconds


@pytest.mark.parametrize("audit", ["sometimes", timedelta(), timedelta(days=-1)])
def test_an_audit_that_makes_no_sense_is_misuse(audit: Any) -> None:
    with pytest.raises(ValueError, match="audit"):
        backed_up(FakeRepository(), audit=audit)


def test_what_could_not_be_tidied_up_is_a_warning() -> None:
    with pytest.warns(UnfinishedWarning, match="cannot write closed"):
        point = backed_up(FakeRepository(["cannot write closed/00"]))
    assert point.id == POINT_ID

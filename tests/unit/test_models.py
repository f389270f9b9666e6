"""Results and their JSON."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hypercbt import Extents, asdict
from hypercbt.models import BackupStats, DiskDiff, DiskStats, VerifyReport, rfc3339
from support import stats_document

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def disk_stats(**changed: object) -> DiskStats:
    named = {"disk": "web01", "method": "full", "fallback_reason": None}
    return DiskStats(**{**stats_document(), **named, **changed})


def backup_stats(*disks: DiskStats) -> BackupStats:
    return BackupStats("aa", "web01", WHEN, 1.5, disks, "file:web01")


def test_the_json_of_a_backup_has_the_fields_that_were_promised_in_their_order() -> (
    None
):
    document = asdict(backup_stats(disk_stats()))
    assert list(document) == [
        "format",
        "restore_point",
        "name",
        "created",
        "elapsed_seconds",
        "disks",
        "machine",
        "consistency",
        "findings",
    ]
    (disk,) = json.loads(json.dumps(document))["disks"]
    assert list(disk) == [
        "disk",
        "disk_bytes",
        "allocated_bytes",
        "method",
        "fallback_reason",
        "changed_bytes",
        "read_bytes",
        "audited_bytes",
        "unmapped_bytes",
        "chunks",
        "new_chunks",
        "new_bytes",
        "stored_bytes",
        "zero_bytes",
        "metadata_bytes",
        "missed_chunks",
    ]


def test_every_document_says_its_format() -> None:
    assert asdict(backup_stats())["format"] == 1


def test_moments_are_utc_with_microseconds() -> None:
    assert rfc3339(WHEN) == "2026-01-02T03:04:05.000678Z"
    east = WHEN.astimezone(timezone(timedelta(hours=9)))
    assert rfc3339(east) == "2026-01-02T03:04:05.000678Z"


def test_extents_become_pairs() -> None:
    document = asdict(DiskDiff("d", 0, Extents([(0, 10), (100, 5)])))
    assert document["extents"] == [[0, 10], [100, 5]]


def test_only_results_have_a_document() -> None:
    with pytest.raises(TypeError, match="int is no result"):
        asdict(3)


def test_what_several_disks_did_adds_up() -> None:
    stats = backup_stats(
        disk_stats(changed_bytes=10, read_bytes=5, stored_bytes=3, missed_chunks=1),
        disk_stats(changed_bytes=20, read_bytes=6, stored_bytes=4),
    )
    assert stats.changed_bytes == 30
    assert stats.read_bytes == 11
    assert stats.stored_bytes == 7
    assert stats.missed_chunks == 1


def test_nobody_claims_a_change_for_a_disk_that_was_read_whole() -> None:
    stats = backup_stats(disk_stats(changed_bytes=10), disk_stats(changed_bytes=None))
    assert stats.changed_bytes is None


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        backup_stats().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("objects", "clean"), [((), True), (("point/00 is damaged",), False)]
)
def test_a_verification_is_clean_only_without_any_damage(
    objects: tuple[str, ...], clean: bool
) -> None:
    report = VerifyReport("all", 1, 1, 1, 1, 1, (), objects, None, 0.1)
    assert report.clean is clean

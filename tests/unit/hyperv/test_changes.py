"""What changed, told by a host that is not believed."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercbt import Extents
from hypercbt.errors import (
    ChangeTrackingLostError,
    HostAccessDeniedError,
    HostFaultError,
    HostReplyError,
    HostUnreachableError,
    LostReplyError,
)
from hypercbt.hyperv import changes
from hypercbt.hyperv.changes import changed_extents
from hypercbt.hyperv.values import Answer, Value
from unit.hyperv.scripted import ManualClock, ScriptedSession, job, started

MIB = 1 << 20
GIB = 1 << 30
PATH = "C:\\VMs\\web01.vhdx"
ID = "rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001"
TOO_LARGE = HostFaultError("zu groß", subcode="EncodingLimit")


def said(
    *ranges: tuple[int, int], processed: object = GIB, **changed: object
) -> Answer:
    out: dict[str, Any] = {
        "ChangedByteOffsets": tuple(start for start, _ in ranges) or None,
        "ChangedByteLengths": tuple(length for _, length in ranges) or None,
        "Job": None,
        "ProcessedByteLength": processed,
        **changed,
    }
    return Answer(0, out)


def asked(session: ScriptedSession) -> list[tuple[int, int]]:
    return [
        (int(str(c.arguments["ByteOffset"])), int(str(c.arguments["ByteLength"])))
        for c in session.calls
    ]


def found(session: ScriptedSession, size: int = GIB) -> list[tuple[int, int]]:
    return list(changed_extents(session, PATH, ID, size, clock=ManualClock()))


def of(*steps: Answer | Exception) -> ScriptedSession:
    session = ScriptedSession()
    session.on("GetVirtualDiskChanges", *steps)
    return session


def test_the_whole_disk_is_asked_for_at_once() -> None:
    session = of(said((4096, 512)))

    assert found(session) == [(4096, 512)]

    (call,) = session.calls
    assert call.repeatable
    assert call.arguments == {
        "Path": PATH,
        "LimitId": ID,
        "TargetSnapshotId": "",
        "ByteOffset": 0,
        "ByteLength": GIB,
    }


def test_nothing_changed_is_an_empty_answer() -> None:
    assert found(of(said())) == []
    assert found(of(Answer(0, {"ProcessedByteLength": GIB}))) == []


def test_a_short_reply_is_followed_by_a_request_for_the_rest() -> None:
    session = of(
        said((0, 512), processed=600 * MIB), said((GIB - 512, 512), processed=424 * MIB)
    )

    assert found(session) == [(0, 512), (GIB - 512, 512)]
    assert asked(session) == [(0, GIB), (600 * MIB, 424 * MIB)]


def test_a_host_may_give_one_range_at_a_time() -> None:
    size = 3 * 4096
    session = of(*(said((at, 512), processed=4096) for at in range(0, size, 4096)))

    assert found(session, size) == [(0, 512), (4096, 512), (8192, 512)]
    assert asked(session) == [(0, 12288), (4096, 8192), (8192, 4096)]


def test_order_and_overlaps_do_not_matter() -> None:
    session = of(said((8192, 4096), (0, 512), (9000, 4096), (8192, 4096)))

    assert found(session) == [(0, 512), (8192, 4904)]


def test_what_reaches_past_the_end_of_the_disk_is_cut_off() -> None:
    size = GIB - 512

    assert found(of(said((GIB - MIB, MIB), processed=size)), size) == [
        (GIB - MIB, MIB - 512)
    ]


def test_a_coarse_range_may_reach_out_of_its_window() -> None:
    session = of(
        TOO_LARGE,
        said((0, 600 * MIB), processed=512 * MIB),
        said((500 * MIB, 100 * MIB), processed=512 * MIB),
    )

    assert found(session) == [(0, 600 * MIB)]


def test_an_answer_that_is_too_large_halves_the_window() -> None:
    session = of(
        TOO_LARGE,
        TOO_LARGE,
        *[said((i << 28, 512), processed=1 << 28) for i in range(4)],
    )

    assert len(found(session)) == 4
    assert asked(session)[:3] == [(0, GIB), (0, GIB // 2), (0, GIB // 4)]


def test_an_operation_that_takes_too_long_halves_the_window_too() -> None:
    slow = HostFaultError("zu langsam", code=2150858793, subcode="TimedOut")
    session = of(slow, said(processed=GIB // 2), said(processed=GIB // 2))

    assert found(session) == []


@pytest.mark.parametrize("code", [4, 32773])
def test_where_less_than_the_whole_disk_is_wanted_half_of_it_is_asked_for(
    code: int,
) -> None:
    half = GIB // 2
    session = of(
        Answer(code, {}), said((4096, 512), processed=half), said(processed=half)
    )

    assert found(session) == [(4096, 512)]
    assert asked(session) == [(0, GIB), (0, half), (half, half)]


def test_a_part_of_the_disk_that_is_refused_is_lost_tracking() -> None:
    session = of(Answer(32773, {}), Answer(32773, {}))

    with pytest.raises(ChangeTrackingLostError, match="invalid parameter"):
        found(session)
    assert len(session.calls) == 2


def test_the_window_grows_where_there_is_less_to_say() -> None:
    dense = tuple((place * 1024, 512) for place in range(100))
    session = of(
        *[TOO_LARGE] * 4,
        said(*dense, processed=64 * MIB),
        said(processed=64 * MIB),
        said(processed=128 * MIB),
        said(processed=256 * MIB),
        said(processed=512 * MIB),
    )

    found(session)

    assert asked(session)[4:] == [
        (0, 64 * MIB),
        (64 * MIB, 64 * MIB),
        (128 * MIB, 128 * MIB),
        (256 * MIB, 256 * MIB),
        (512 * MIB, 512 * MIB),
    ]


def test_below_a_mebibyte_no_smaller_window_helps() -> None:
    session = ScriptedSession()
    session.always("GetVirtualDiskChanges", TOO_LARGE)

    with pytest.raises(ChangeTrackingLostError, match="within 1048576 bytes"):
        found(session)
    assert len(session.calls) == 11
    assert all(length % MIB == 0 for _, length in asked(session))


def test_a_window_is_whole_mebibytes_and_never_nothing() -> None:
    size = MIB + 512
    session = of(TOO_LARGE, said(processed=MIB), said(processed=512))

    assert found(session, size) == []
    assert asked(session) == [(0, size), (0, MIB), (MIB, 512)]


# --- tracking lost


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (32768, "failed"),
        (32769, "access denied"),
        (32775, "invalid state"),
        (32779, "file not found"),
        (1, "not supported"),
        (0xC03A0020, "CTLOG_TRACKING_NOT_INITIALIZED"),
        (0xC03A0021, "CTLOG_LOGFILE_SIZE_EXCEEDED_MAXSIZE"),
        (0xC03A0022, "CTLOG_VHD_CHANGED_OFFLINE"),
        (0xC03A0023, "CTLOG_INVALID_TRACKING_STATE"),
        (0xC03A0024, "CTLOG_INCONSISTANT_TRACKING_FILE"),
        (0xC03A0029, "VHD_INVALID_CHANGE_TRACKING_ID"),
        (0xC03A002A, "VHD_CHANGE_TRACKING_DISABLED"),
        (0xC03A0030, "VHD_MISSING_CHANGE_TRACKING_INFORMATION"),
        (77777, "code 0x00012fd1"),
    ],
)
def test_any_other_code_is_lost_tracking_and_named(code: int, name: str) -> None:
    session = of(Answer(code, {"ProcessedByteLength": GIB}))

    with pytest.raises(ChangeTrackingLostError, match=name):
        found(session)
    assert len(session.calls) == 1


def test_a_job_that_fails_says_why() -> None:
    session = of(started("J", "Msvm_StorageJob"))
    session.add(job("J", 10, "Msvm_StorageJob", ErrorDescription="Fehler 0xC03A0022"))
    session.on("GetErrorEx", Answer(0, {}))

    with pytest.raises(ChangeTrackingLostError, match="CTLOG_VHD_CHANGED_OFFLINE"):
        found(session)


def test_a_job_that_succeeds_has_no_ranges() -> None:
    session = of(started("J", "Msvm_StorageJob"))
    session.add(job("J", 7, "Msvm_StorageJob"))

    with pytest.raises(ChangeTrackingLostError, match="by a job"):
        found(session)


def test_a_job_that_vanished_says_nothing() -> None:
    with pytest.raises(ChangeTrackingLostError, match="forgotten"):
        found(of(started("J", "Msvm_StorageJob")))


@pytest.mark.parametrize(
    "error",
    [
        HostFaultError("Fehler (0xC03A0030)", provider_code=0xC03A0030),
        HostReplyError("a letter where a number is"),
    ],
)
def test_a_fault_and_an_answer_without_sense_are_lost_tracking(
    error: Exception,
) -> None:
    with pytest.raises(ChangeTrackingLostError) as raised:
        found(of(error))
    assert str(error) in str(raised.value)


def test_the_codes_in_a_fault_are_named() -> None:
    with pytest.raises(ChangeTrackingLostError, match="VHD_MISSING_CHANGE_TRACKING"):
        found(of(HostFaultError("Fehler (0xC03A0030)")))


@pytest.mark.parametrize(
    "answer",
    [
        said(processed=0),
        said((0, 512), (4096, 512), processed=0),
        said(processed=GIB + 1),
        said(processed=-1),
        said(processed=None),
        said(processed="1073741824"),
        said(processed=True),
        said(processed=4096),
        said((0, 512), ChangedByteLengths=None),
        said((0, 512), ChangedByteLengths=(512, 512)),
        said((0, 512), ChangedByteOffsets=("0",)),
        said((0, 512), ChangedByteOffsets=(None,)),
        said((0, 512), ChangedByteLengths=(True,)),
        said((0, 0)),
        said((0, -512)),
        said((-512, 1024)),
        said((GIB, 512)),
        said((1 << 63, 1 << 63)),
    ],
)
def test_an_answer_that_contradicts_itself_is_lost_tracking(answer: Answer) -> None:
    session = of(answer)

    with pytest.raises(ChangeTrackingLostError):
        found(session)
    assert len(session.calls) == 1


@pytest.mark.parametrize(
    "stray", [(0, 512), (800 * MIB, 512), (512 * MIB - 1, 1), (768 * MIB, 1)]
)
def test_a_range_that_does_not_touch_its_window_is_lost_tracking(
    stray: tuple[int, int],
) -> None:
    quarter = 256 * MIB
    session = of(
        TOO_LARGE, TOO_LARGE,
        said((0, 512), processed=quarter), said((quarter, 512), processed=quarter),
        said(stray, processed=quarter),
    )  # fmt: skip

    with pytest.raises(ChangeTrackingLostError, match="window"):
        found(session)


def test_an_endless_length_is_cut_off_at_the_end_of_the_disk() -> None:
    assert found(of(said((512, (1 << 64) - 1)))) == [(512, GIB - 512)]


# --- what says nothing of the disk


@pytest.mark.parametrize(
    "error",
    [
        HostUnreachableError("gone"),
        LostReplyError("broke"),
        HostAccessDeniedError("no"),
        HostFaultError("busy", subcode="QuotaLimit"),
    ],
)
def test_a_host_that_cannot_answer_has_not_lost_track(error: Exception) -> None:
    with pytest.raises(type(error)):
        found(of(error))


# --- many ranges


class TruthfulHost:
    """Knows what changed; covers as much as `fit` ranges allow, or refuses more."""

    def __init__(self, truth: list[tuple[int, int]], fit: int, refuses: bool) -> None:
        self.truth, self.fit, self.refuses = truth, fit, refuses

    def __call__(self, arguments: Mapping[str, Value]) -> Answer:
        start = int(str(arguments["ByteOffset"]))
        end = start + int(str(arguments["ByteLength"]))
        ranges = [
            (max(at, start), min(at + length, end) - max(at, start))
            for at, length in self.truth
            if at < end and at + length > start
        ]
        if len(ranges) <= self.fit:
            return said(*ranges, processed=end - start)
        if self.refuses:
            raise TOO_LARGE
        return said(*ranges[: self.fit], processed=sum(ranges[self.fit - 1]) - start)


@settings(max_examples=64, deadline=None)
@given(
    places=st.sets(st.integers(0, 8191), max_size=300),
    fit=st.integers(128, 200),
    refuses=st.booleans(),
)
def test_whatever_changed_arrives_through_any_window(
    places: set[int], fit: int, refuses: bool
) -> None:
    truth = [(place * 8192, 4096) for place in sorted(places)]
    session = ScriptedSession()
    session.always("GetVirtualDiskChanges", TruthfulHost(truth, fit, refuses))

    assert found(session, 64 * MIB) == list(Extents(truth))


def test_batches_are_merged_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BATCH_RANGES", 10)
    truth = [(place * 8192, 4096) for place in range(100)]
    session = ScriptedSession()
    session.always("GetVirtualDiskChanges", TruthfulHost(truth, 7, refuses=False))

    assert found(session, 64 * MIB) == truth


def test_too_many_ranges_are_joined_and_none_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "BATCH_RANGES", 10)
    monkeypatch.setattr(changes, "MOST_EXTENTS", 20)
    truth = [(place * MIB, 4096) for place in range(1000)]
    session = ScriptedSession()
    session.always("GetVirtualDiskChanges", TruthfulHost(truth, 50, refuses=True))

    joined = Extents(found(session))

    assert len(joined) <= 20
    assert len(Extents(truth).subtract(joined)) == 0

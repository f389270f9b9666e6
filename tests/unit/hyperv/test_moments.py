from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import moments

MOMENTS = st.datetimes(
    min_value=datetime(1602, 1, 1),
    max_value=datetime(9998, 12, 31),
    timezones=st.just(UTC),
)
INTERVALS = st.timedeltas(timedelta(0), timedelta(days=99_999_999))


@given(MOMENTS)
def test_a_moment_survives_both_forms(moment: datetime) -> None:
    assert moments.decode(moments.encode_moment(moment)) == moment
    assert moments.decode(moments.encode_cim(moment)) == moment


@given(INTERVALS)
def test_an_interval_survives_both_forms(interval: timedelta) -> None:
    assert moments.decode(moments.encode_interval(interval)) == interval
    assert moments.decode(moments.encode_cim(interval)) == interval


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_a_moment_of_any_zone_is_the_same_moment(
    moment: datetime, minutes: int
) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))

    assert moments.decode(moments.encode_cim(local)) == moment
    assert moments.decode(local.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # As recorded of a host.
        ("2026-10-08T15:15:36.68424Z", datetime(2026, 10, 8, 15, 15, 36, 684240, UTC)),
        ("P0DT0H5M0S", timedelta(minutes=5)),
        ("P0DT0H0M0.014947S", timedelta(microseconds=14947)),
        ("1601-01-01T00:00:00Z", None),
        # The rest of what the forms allow.
        ("2026-10-08T17:15:36+02:00", datetime(2026, 10, 8, 15, 15, 36, tzinfo=UTC)),
        (
            "2026-10-08T15:15:36.1234567Z",
            datetime(2026, 10, 8, 15, 15, 36, 123456, UTC),
        ),
        ("2026-10-08T15:15:36", datetime(2026, 10, 8, 15, 15, 36, tzinfo=UTC)),
        (" P1D ", timedelta(days=1)),
        ("-PT1S", timedelta(seconds=-1)),
        ("20261008151536.684240+120", datetime(2026, 10, 8, 13, 15, 36, 684240, UTC)),
        ("20261008151536.******-060", datetime(2026, 10, 8, 16, 15, 36, tzinfo=UTC)),
        ("16010101000000.000000-000", None),
        ("********151536.000000+000", None),
        ("00000000000500.000000:000", timedelta(minutes=5)),
        ("00000001020304.******:000", timedelta(days=1, hours=2, minutes=3, seconds=4)),
    ],
)
def test_both_forms_are_read(text: str, value: datetime | timedelta | None) -> None:
    assert moments.decode(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1Y",
        "P1M",
        "now",
        "2026-13-01T00:00:00Z",
        "20261301000000.000000+000",
        "2026-10-08",
        "٢٠٢٦-10-08T15:15:36Z",
        "99991231235959.999999-999",
        "P99999999999999D",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(HostReplyError):
        moments.decode(text)


def test_a_moment_without_a_zone_and_a_negative_interval_are_not_sent() -> None:
    with pytest.raises(ValueError, match="zone"):
        moments.encode_cim(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="negative"):
        moments.encode_interval(timedelta(-1))
    with pytest.raises(ValueError, match="eight"):
        moments.encode_cim(timedelta(days=100_000_000))

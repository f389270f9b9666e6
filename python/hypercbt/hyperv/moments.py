"""Moments and intervals, in the two forms that a host uses.

Properties over WS-Management are ISO 8601 (`2026-10-08T15:15:36.68424Z`, `P0DT0H5M0S`), those inside CIM-XML text
are CIM's own (`20261008151536.684240+000`, `00000000000500.000000:000`). A moment in the year 1601, where Windows
begins to count, says *never*.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from hypercbt.errors import HostReplyError

_NEVER_YEAR = 1601

_ISO_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:(Z)|([+-])(\d\d):(\d\d))?",
    re.ASCII,
)
_ISO_INTERVAL = re.compile(
    r"(-)?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d+))?S)?)?",
    re.ASCII,
)
_CIM_MOMENT = re.compile(
    r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)\.(\d{6}|\*{6})([+-])(\d{3})", re.ASCII
)
_CIM_INTERVAL = re.compile(r"(\d{8})(\d\d)(\d\d)(\d\d)\.(\d{6}|\*{6}):000", re.ASCII)


def decode(text: str) -> datetime | timedelta | None:
    """Return what a text of either form says; None for *never* and for a moment that is left open.

    A moment without a zone is taken as UTC. Digits below a microsecond are cut off.
    """
    text = text.strip()
    for pattern, reader in (
        (_ISO_MOMENT, _iso_moment),
        (_CIM_MOMENT, _cim_moment),
        (_CIM_INTERVAL, _cim_interval),
        (_ISO_INTERVAL, _iso_interval),
    ):
        found = pattern.fullmatch(text)
        if found:
            try:
                return reader(found)
            except (ValueError, OverflowError) as error:
                raise _refusal(text) from error
    if len(text) == 25 and "*" in text:  # DSP0004, 5.2.4: not significant
        return None
    raise _refusal(text)


def encode_moment(moment: datetime) -> str:
    """Return a moment in ISO 8601, in UTC."""
    return _in_utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def encode_interval(interval: timedelta) -> str:
    """Return an interval in ISO 8601, days and below."""
    days, hours, minutes, seconds = _parts(interval)
    fraction = f".{interval.microseconds:06}" if interval.microseconds else ""
    return f"P{days}DT{hours}H{minutes}M{seconds}{fraction}S"


def encode_cim(value: datetime | timedelta) -> str:
    """Return a moment or an interval in CIM's own form."""
    if isinstance(value, datetime):
        return _in_utc(value).strftime("%Y%m%d%H%M%S.%f+000").rjust(25, "0")
    days, hours, minutes, seconds = _parts(value)
    if days > 99_999_999:
        message = "CIM has eight digits for the days of an interval"
        raise ValueError(message)
    return f"{days:08}{hours:02}{minutes:02}{seconds:02}.{value.microseconds:06}:000"


def _iso_moment(found: re.Match[str]) -> datetime | None:
    zone: tzinfo = UTC
    if found[9]:
        offset = timedelta(hours=int(found[10]), minutes=int(found[11]))
        zone = timezone(-offset if found[9] == "-" else offset)
    return _moment(found, _microseconds(found[7]), zone)


def _cim_moment(found: re.Match[str]) -> datetime | None:
    offset = timedelta(minutes=int(found[9]))
    zone = timezone(-offset if found[8] == "-" else offset)
    return _moment(found, _microseconds(found[7].replace("*", "0")), zone)


def _moment(found: re.Match[str], microseconds: int, zone: tzinfo) -> datetime | None:
    year, month, day, hour, minute, second = (int(found[n]) for n in range(1, 7))
    if year == _NEVER_YEAR:
        return None
    local = datetime(year, month, day, hour, minute, second, microseconds, zone)
    return local.astimezone(UTC)


def _cim_interval(found: re.Match[str]) -> timedelta:
    return timedelta(
        days=int(found[1]),
        hours=int(found[2]),
        minutes=int(found[3]),
        seconds=int(found[4]),
        microseconds=_microseconds(found[5].replace("*", "0")),
    )


def _iso_interval(found: re.Match[str]) -> timedelta:
    if not any(found[n] for n in range(2, 8)):
        raise ValueError
    if int(found[2] or 0) or int(found[3] or 0):
        raise ValueError  # years and months have no length
    interval = timedelta(
        days=int(found[4] or 0),
        hours=int(found[5] or 0),
        minutes=int(found[6] or 0),
        seconds=int(found[7] or 0),
        microseconds=_microseconds(found[8]),
    )
    return -interval if found[1] else interval


def _microseconds(fraction: str | None) -> int:
    return int((fraction or "")[:6].ljust(6, "0"))


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        message = "a moment for a host needs a time zone"
        raise ValueError(message)
    return moment.astimezone(UTC)


def _parts(interval: timedelta) -> tuple[int, int, int, int]:
    if interval < timedelta(0):
        message = "an interval for a host cannot be negative"
        raise ValueError(message)
    minutes, seconds = divmod(interval.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return interval.days, hours, minutes, seconds


def _refusal(text: str) -> HostReplyError:
    return HostReplyError(f"the host's answer has a moment that is none: {text[:60]!r}")

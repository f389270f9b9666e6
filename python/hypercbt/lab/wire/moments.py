"""Moments and intervals, in the two forms that a host writes: ISO 8601 in XML, CIM text in embedded instances."""

import re
from datetime import UTC, datetime, timedelta, timezone

_CIM = re.compile(r"(\d{14})\.(\d{6})([+-])(\d{3})", re.ASCII)
_CIM_INTERVAL = re.compile(r"(\d{8})(\d{2})(\d{2})(\d{2})\.(\d{6}):000", re.ASCII)
_INTERVAL = re.compile(
    r"P(?:(\d{1,8})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)


class BadMomentError(ValueError):
    """Neither a moment nor an interval."""


def xml_moment(value: datetime) -> str:
    """Return `2026-10-08T15:15:36.68424Z`: a fraction without trailing zeros, and UTC."""
    value = value.astimezone(UTC) if value.tzinfo else value
    fraction = f"{value.microsecond:06}".rstrip("0")
    # strftime does not pad years before 1000, and a host's "never" is 1601.
    return f"{value.year:04}{value:-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"


def xml_interval(value: timedelta) -> str:
    """Return `P0DT0H5M0S`, and `P0DT0H0M0.014947S` where there is a fraction."""
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f"{value.microseconds:06}".rstrip("0")
    return f"P{value.days}DT{hours}H{minutes}M{seconds}{'.' if fraction else ''}{fraction}S"


def cim_text(value: datetime | timedelta) -> str:
    """Return `20261008151536.684240+000`, or `00000000000500.000000:000` for an interval (DSP0004, 5.2.4)."""
    if isinstance(value, timedelta):
        minutes, seconds = divmod(value.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"{value.days:08}{hours:02}{minutes:02}{seconds:02}"
            f".{value.microseconds:06}:000"
        )
    value = value.astimezone(UTC) if value.tzinfo else value
    return f"{value.year:04}{value:%m%d%H%M%S}.{value.microsecond:06}+000"


def from_cim(text: str) -> datetime | timedelta:
    """Read CIM text.

    Raises:
        BadMomentError: It is something else, such as ISO 8601.
    """
    if match := _CIM_INTERVAL.fullmatch(text):
        days, hours, minutes, seconds, micros = (int(part) for part in match.groups())
        return timedelta(days, seconds, micros, minutes=minutes, hours=hours)
    if match := _CIM.fullmatch(text):
        moment, micros_text, sign, offset = match.groups()
        away = timedelta(minutes=int(sign + offset))
        try:
            return datetime.strptime(moment, "%Y%m%d%H%M%S").replace(
                microsecond=int(micros_text), tzinfo=timezone(away)
            )
        except ValueError as error:
            raise BadMomentError(str(error)) from error
    raise BadMomentError(f"not a CIM datetime: {text!r}")


def from_xml(text: str) -> datetime | timedelta:
    """Read ISO 8601, a moment or an interval; CIM text too, as hosts accept both.

    Raises:
        BadMomentError: It is neither.
    """
    if text.startswith("P"):
        match = _INTERVAL.fullmatch(text)
        if not match or text in ("P", "PT") or text.endswith("T"):
            raise BadMomentError(f"not an interval: {text!r}")
        days, hours, minutes, seconds = match.groups(default="0")
        whole, _, fraction = seconds.partition(".")
        return timedelta(
            int(days),
            int(whole),
            int(f"{fraction:0<6}"[:6]),
            minutes=int(minutes),
            hours=int(hours),
        )
    if "T" in text or "-" in text[:8]:
        try:
            value = datetime.fromisoformat(text)
        except ValueError as error:
            raise BadMomentError(str(error)) from error
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return from_cim(text)

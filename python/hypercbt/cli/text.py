"""Numbers and moments as people read them."""

from datetime import datetime

STEP = 1024


def size(count: float | None) -> str:
    """Return bytes with a unit: `512 B`, `1.5 GiB`; a dash for None."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= STEP
    return f"{value:.1f} TiB"


def rate(count: int, seconds: float) -> str:
    """Return bytes a second in MB/s, as disks are sold."""
    return f"{count / 1e6 / seconds:.0f}" if seconds > 0 else "-"


def moment(when: datetime) -> str:
    """Return a moment in the time zone of the reader."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")

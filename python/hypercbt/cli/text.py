"""Numbers and moments as people read them."""

from datetime import datetime

from rich import box
from rich.table import Table

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
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def table(*columns: str, numbers_from: int) -> Table:
    """Return a table that fits a terminal of 80 columns; from one column on they are numbers."""
    made = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in made.columns[numbers_from:]:
        column.justify = "right"
    return made

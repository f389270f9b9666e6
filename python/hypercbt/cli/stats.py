"""What a backup did, as people read it."""

from rich.console import Console

from hypercbt.cli.outcome import DONE, FINDING
from hypercbt.cli.text import rate, size, table
from hypercbt.models import BackupStats


def exit_code(stats: BackupStats) -> int:
    """Return whether there is something that somebody must read."""
    return FINDING if stats.missed_chunks or stats.findings else DONE


def print_stats(console: Console, stats: BackupStats) -> None:
    """Print what a backup did, a line for each disk."""
    console.print(
        f"restore point {stats.restore_point} of {stats.name}", soft_wrap=True
    )
    rows = table(
        "disk", "method", "changed", "read", "audited", "new", "stored", "MB/s",
        numbers_from=2,
    )  # fmt: skip
    for disk in stats.disks:
        rows.add_row(
            disk.disk,
            disk.method,
            size(disk.changed_bytes),
            size(disk.read_bytes),
            size(disk.audited_bytes),
            size(disk.new_bytes),
            size(disk.stored_bytes),
            rate(disk.read_bytes, stats.elapsed_seconds),
        )
    console.print(rows)
    for disk in stats.disks:
        if disk.fallback_reason:
            console.print(
                f"{disk.disk} was compared: {disk.fallback_reason}", soft_wrap=True
            )
        if disk.missed_chunks:
            console.print(
                f"{disk.disk}: the list of changes missed {disk.missed_chunks} changed chunks. "
                "This restore point is right; older ones may not be. Do not trust the list.",
                soft_wrap=True,
            )
    for finding in stats.findings:
        console.print(f"to be read: {finding}", soft_wrap=True)

"""`hypercbt backup`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.api import backup_disk
from hypercbt.cli.options import Json, RepositoryPath, parse_audit, read_changes
from hypercbt.cli.outcome import DONE, FINDING, Outcome
from hypercbt.cli.progress import shown_progress
from hypercbt.cli.text import rate, size, table
from hypercbt.models import BackupStats, asdict


def backup(
    disk: Path,
    /,
    *,
    repository: RepositoryPath,
    name: str | None = None,
    full: bool = False,
    changes: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    since: str | None = None,
    new_disk: bool = False,
    audit: str = "28",
    json: Json = False,
) -> Outcome:
    """Back up a disk file.

    Args:
        disk: A VHDX or VHD file with its parents beside it, or a raw disk.
        name: Whose restore point this becomes; the file's stem where not given.
        full: Read everything and build on nothing.
        changes: Only what changed since the point --since: a file with [[offset, length], …] as JSON, or - for binary little-endian uint64 pairs on standard input.
        since: The restore point that the changes are relative to.
        new_disk: The disk may be another one than at the last point of this name.
        audit: How what is claimed unchanged is checked: full, off, or the days within which all of it is read again once.
    """
    extents = None if changes is None else read_changes(changes)
    with shown_progress(name or disk.stem) as progress:
        point = backup_disk(
            disk,
            repository=repository,
            name=name,
            full=full,
            changes=extents,
            since=since,
            new_disk=new_disk,
            audit=parse_audit(audit),
            progress=progress,
        )
    stats = point.stats
    return Outcome(
        asdict(stats),
        lambda console: print_stats(console, stats),
        FINDING if stats.missed_chunks else DONE,
    )


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

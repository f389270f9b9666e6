"""`hypercbt points`, `show`, `diff` and `delete`."""

from rich.console import Console

from hypercbt.cli.options import Json, RepositoryPath
from hypercbt.cli.outcome import DAMAGED, DONE, Outcome
from hypercbt.cli.stats import print_stats
from hypercbt.cli.text import moment, size, table
from hypercbt.errors import IntegrityError
from hypercbt.models import FORMAT, DiffReport, Suspect, asdict, to_json
from hypercbt.points import RestorePoint
from hypercbt.repository import Repository

SHORT_ID = 12
"""Enough of an id to be unique among people's restore points."""

STATES = {
    "application": "application-consistent",
    "crash": "crash-consistent",
    "off": "the machine was off",
}
"""What the consistency of a point is called for people."""


def points(
    name: str | None = None, /, *, repository: RepositoryPath, json: Json = False
) -> Outcome:
    """List the restore points, newest first.

    Args:
        name: Only those of this name.
    """
    with Repository.open(repository) as opened:
        found = opened.points(name)
        damaged = opened.damaged_points()
        suspects: list[Suspect] = []
        try:
            suspects = opened.suspects()
        except IntegrityError as error:  # hides no point
            damaged.append(str(error))
    document: dict[str, object] = {
        "format": FORMAT,
        "points": to_json(found),
        "damaged": damaged,
        "suspects": to_json(suspects),
    }
    return Outcome(
        document,
        lambda console: _print_points(console, found, damaged, suspects),
        DAMAGED if damaged else DONE,
    )


def show(point: str, /, *, repository: RepositoryPath, json: Json = False) -> Outcome:
    """Show one restore point.

    Args:
        point: Its id, a unique prefix of it, or NAME@latest.
    """
    with Repository.open(repository) as opened:
        found = opened.point(point)
    return Outcome(asdict(found), lambda console: _print_point(console, found))


def diff(
    first: str, second: str, /, *, repository: RepositoryPath, json: Json = False
) -> Outcome:
    """Show where two restore points differ.

    Args:
        first: A restore point: its id, a unique prefix of it, or NAME@latest.
        second: Another one.
    """
    with Repository.open(repository) as opened:
        report = opened.diff(first, second)
    return Outcome(_diff_document(report), lambda console: _print_diff(console, report))


def delete(point: str, /, *, repository: RepositoryPath, json: Json = False) -> Outcome:
    """Delete one restore point. What it shares with others stays.

    Args:
        point: Its id, a unique prefix of it, or NAME@latest.
    """
    with Repository.open(repository) as opened:
        try:
            found = opened.point(point)
            gone, name = found.id, found.name
        except IntegrityError:  # nobody can say any more whose it was
            gone, name = point.lower(), None
        opened.delete(gone)
    what = f"{gone} of {name}" if name else f"{gone}, which was damaged"
    return Outcome(
        {"format": FORMAT, "restore_point": gone, "name": name},
        lambda console: console.print(f"deleted restore point {what}", soft_wrap=True),
    )


def _diff_document(report: DiffReport) -> dict[str, object]:
    disks = [
        {"disk": disk.disk, "index": disk.index, "changed_bytes": disk.changed_bytes}
        | {"extents": to_json(disk.extents)}
        for disk in report.disks
    ]
    return {
        "format": FORMAT,
        "first": report.first,
        "second": report.second,
        "disks": disks,
    }


def _print_points(
    console: Console,
    found: list[RestorePoint],
    damaged: list[str],
    suspects: list[Suspect],
) -> None:
    rows = table(
        "id", "name", "created", "method", "size", "new", "stored", numbers_from=4
    )
    for point in found:
        rows.add_row(
            point.id[:SHORT_ID],
            point.name,
            moment(point.created),
            _method(point),
            size(sum(disk.size for disk in point.disks)),
            size(point.stats.new_bytes),
            size(point.stats.stored_bytes),
        )
    console.print(rows if found else "no restore points")
    for line in damaged:
        console.print(f"damaged: {line}", soft_wrap=True)
    for suspect in suspects:
        console.print(
            f"suspect: {len(suspect.extents)} extents of disk {suspect.disk} of {suspect.machine} "
            f"may be wrong in the points {suspect.first} to {suspect.last}",
            soft_wrap=True,
        )


def _method(point: RestorePoint) -> str:
    """Return how the disks were read, and how consistent they are where that was asked."""
    methods = ", ".join(sorted({disk.stats.method for disk in point.disks}))
    return f"{methods} ({point.consistency})" if point.consistency else methods


def _print_point(console: Console, point: RestorePoint) -> None:
    print_stats(console, point.stats)
    consistency = f", {STATES[point.consistency]}" if point.consistency else ""
    console.print(
        f"made {moment(point.created)} in {point.stats.elapsed_seconds:.1f} s{consistency}"
    )
    for disk in point.disks:
        place = f" at {disk.location}" if disk.location else ""
        base = f", on top of {disk.base}" if disk.base else ""
        identity = f", id {disk.disk_id}" if disk.disk_id else ""
        console.print(
            f"disk {disk.index}: {disk.name}{place}, {size(disk.size)} from {disk.format}{identity}{base}",
            soft_wrap=True,
        )
    for file in point.configuration:
        console.print(f"configuration: {file.name}, {size(file.size)}", soft_wrap=True)


def _print_diff(console: Console, report: DiffReport) -> None:
    for disk in report.disks:
        console.print(
            f"disk {disk.index}, {disk.disk}: {size(disk.changed_bytes)} differ "
            f"in {len(disk.extents)} extents"
        )
        for offset, length in disk.extents:
            console.print(f"{offset:>20} {length:>14}")

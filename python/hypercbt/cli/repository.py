"""`hypercbt init` and `hypercbt verify`."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.cli.options import Json, RepositoryPath, parse_size
from hypercbt.cli.outcome import DAMAGED, DONE, Outcome
from hypercbt.cli.progress import shown_progress
from hypercbt.cli.text import rate, size
from hypercbt.models import FORMAT, DamagedRecord, VerifyReport, asdict
from hypercbt.repository import Repository


def init(
    *, repository: RepositoryPath, chunk_size: str = "256KiB", json: Json = False
) -> Outcome:
    """Make a repository in an empty or absent folder.

    Args:
        chunk_size: What disks are cut into: a power of two from 64KiB to 4MiB.
    """
    with Repository.create(repository, chunk_size=parse_size(chunk_size)) as made:
        document: dict[str, object] = {
            "format": FORMAT,
            "repository": made.id,
            "path": made.path,
            "chunk_bytes": made.chunk_size,
        }
    text = f"made repository {document['repository']} in {document['path']}"
    return Outcome(document, lambda console: console.print(text, soft_wrap=True))


def verify(
    *,
    repository: RepositoryPath,
    since: str | None = None,
    sample: Annotated[
        float | None, Parameter(help="Read only this share, in percent.")
    ] = None,
    json: Json = False,
) -> Outcome:
    """Read back what is stored and check every byte.

    Args:
        since: Only what is new since this restore point.
    """
    with Repository.open(repository) as opened, shown_progress("") as progress:
        report = opened.verify(since=since, sample_percent=sample, progress=progress)
    return Outcome(
        asdict(report) | {"clean": report.clean},
        lambda console: _print_report(console, report),
        DONE if report.clean else DAMAGED,
    )


def _state(record: DamagedRecord) -> str:
    if record.lost:
        return "lost"
    return "damaged, and healed" if record.healed else "damaged"


def _print_report(console: Console, report: VerifyReport) -> None:
    console.print(
        f"verified {report.points} restore points: {report.chunks} chunks and {report.nodes} tree "
        f"nodes, {size(report.read_bytes)} in {report.elapsed_seconds:.1f} s "
        f"({rate(report.read_bytes, report.elapsed_seconds)} MB/s)",
        soft_wrap=True,
    )
    for record in report.damaged:
        points = ", ".join(record.points) or "no restore point"
        console.print(
            f"{_state(record)}: {record.kind} {record.id}: "
            f"{record.reason}; needed by {points}",
            soft_wrap=True,
        )
    for line in report.damaged_objects:
        console.print(f"damaged: {line}", soft_wrap=True)
    if report.unlisted:
        console.print(
            f"the next backup will not know of this damage: {report.unlisted}",
            soft_wrap=True,
        )
    if report.clean:
        console.print("nothing is damaged")

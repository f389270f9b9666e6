"""`hypercbt restore`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.cli.options import Json, RepositoryPath
from hypercbt.cli.outcome import Outcome
from hypercbt.cli.progress import shown_progress
from hypercbt.cli.text import rate, size
from hypercbt.models import FORMAT, RestoreReport, asdict
from hypercbt.points import RestorePoint, restore_format
from hypercbt.repository import Repository


def restore(
    point: str,
    output: Path | None = None,
    /,
    *,
    repository: RepositoryPath,
    disk: int | None = None,
    format: str | None = None,
    configuration: Annotated[Path | None, Parameter(name="--configuration")] = None,
    overwrite: bool = False,
    new_disk_id: bool = False,
    json: Json = False,
) -> Outcome:
    """Write a disk of a restore point to a file, or the machine's configuration to a folder, or both.

    Args:
        point: Its id, a unique prefix of it, or NAME@latest.
        output: The file; it appears when it is complete.
        disk: The number of the disk, where the point has several.
        format: vhdx, vhd, vhd-fixed or raw; by the file's suffix where not given.
        configuration: The folder for the machine's configuration files (.vmcx, .vmrs, .vmgs).
        overwrite: Replace files that stand there.
        new_disk_id: Give a VHDX or VHD another identity, for a clone that runs beside the original.
    """
    if output is None and configuration is None:
        raise ValueError(
            "say where to: a file for a disk, or --configuration and a folder"
        )
    if output is None and (disk is not None or format is not None or new_disk_id):
        raise ValueError("what is said of a disk needs the file that it is written to")
    report, files = None, None
    with Repository.open(repository) as opened:
        found = opened.point(point)
        if output is not None:  # what cannot be is said before anything is written
            source = found.only_disk() if disk is None else found.disk(disk)
            restore_format(str(output), format)
        if configuration is not None:
            files = found.restore_configuration(configuration, overwrite=overwrite)
        if output is not None:
            with shown_progress(output.name) as progress:
                report = source.restore(
                    output,
                    format=format,
                    overwrite=overwrite,
                    new_disk_id=new_disk_id,
                    progress=progress,
                )
    return Outcome(
        _document(found, report, files),
        lambda console: _print(console, found, report, files),
    )


def _document(
    point: RestorePoint, report: RestoreReport | None, files: tuple[str, ...] | None
) -> dict[str, object]:
    document: dict[str, object] = {"format": FORMAT, "restore_point": point.id}
    if report is not None:
        document = asdict(report)
    if files is not None:
        document["configuration"] = list(files)
    return document


def _print(
    console: Console,
    point: RestorePoint,
    report: RestoreReport | None,
    files: tuple[str, ...] | None,
) -> None:
    for path in files or ():
        console.print(
            f"restored a configuration file of {point.id} to {path}", soft_wrap=True
        )
    if report is not None:
        console.print(
            f"restored {report.disk} of {report.restore_point} to {report.output}: "
            f"{size(report.written_bytes)} of {size(report.disk_bytes)} written in "
            f"{report.elapsed_seconds:.1f} s ({rate(report.written_bytes, report.elapsed_seconds)} MB/s)",
            soft_wrap=True,
        )

"""`hypercbt restore`."""

from pathlib import Path

from hypercbt.cli.options import Json, RepositoryPath
from hypercbt.cli.outcome import Outcome
from hypercbt.cli.progress import shown_progress
from hypercbt.cli.text import rate, size
from hypercbt.models import asdict
from hypercbt.repository import Repository


def restore(
    point: str,
    output: Path,
    /,
    *,
    repository: RepositoryPath,
    disk: int | None = None,
    format: str | None = None,
    overwrite: bool = False,
    new_disk_id: bool = False,
    json: Json = False,
) -> Outcome:
    """Write a disk of a restore point to a file.

    Args:
        point: Its id, a unique prefix of it, or NAME@latest.
        output: The file; it appears when it is complete.
        disk: The number of the disk, where the point has several.
        format: vhdx, vhd, vhd-fixed or raw; by the file's suffix where not given.
        overwrite: Replace a file that stands there.
        new_disk_id: Give a VHDX or VHD another identity, for a clone that runs beside the original.
    """
    with Repository.open(repository) as opened:
        found = opened.point(point)
        source = found if disk is None else found.disk(disk)
        with shown_progress(output.name) as progress:
            report = source.restore(
                output,
                format=format,
                overwrite=overwrite,
                new_disk_id=new_disk_id,
                progress=progress,
            )
    text = (
        f"restored {report.disk} of {report.restore_point} to {report.output}: "
        f"{size(report.written_bytes)} of {size(report.disk_bytes)} written in "
        f"{report.elapsed_seconds:.1f} s ({rate(report.written_bytes, report.elapsed_seconds)} MB/s)"
    )
    return Outcome(asdict(report), lambda console: console.print(text, soft_wrap=True))

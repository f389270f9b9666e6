"""`hypercbt changes`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.cli.host_options import HostOptions, open_host
from hypercbt.cli.options import Json
from hypercbt.cli.outcome import DONE, FINDING, Outcome
from hypercbt.cli.points import SHORT_ID
from hypercbt.cli.text import size, table
from hypercbt.hyperv.machine_changes import ChangesReport
from hypercbt.models import asdict


def changes(
    host: str,
    vm: str,
    /,
    *,
    since: str | None = None,
    repository: Annotated[
        Path | None,
        Parameter(
            name=["--repository", "-r"],
            env_var="HYPERCBT_REPOSITORY",
            help="Where the restore points are.",
        ),
    ] = None,
    connection: HostOptions | None = None,
    json: Json = False,
) -> Outcome:
    """Ask a host what changed on a virtual machine's disks. No checkpoint is made, nothing is read.

    While the machine runs the answer is not exact: its guest goes on writing. The exit code is 5 where the host cannot
    tell of every disk.

    Args:
        host: The host: hv01, hv01:5985, http://hv01:5985.
        vm: Its name or id.
        since: A restore point, or an RCT id of the host's; the newest restore point that can be built upon where not given.
    """
    with open_host(host, connection) as opened:
        report = opened.changes(vm, since=since, repository=repository)
    told = all(disk.reason is None for disk in report.disks)
    return Outcome(
        asdict(report),
        lambda console: _print(console, report),
        DONE if told else FINDING,
    )


def _print(console: Console, report: ChangesReport) -> None:
    rows = table("disk", "file", "since", "size", "changed", "extents", numbers_from=3)
    for disk in report.disks:
        rows.add_row(
            disk.location,
            disk.path,
            disk.base[:SHORT_ID] if disk.base else disk.since or "-",
            size(disk.disk_bytes),
            size(disk.changed_bytes),
            "-" if disk.extents is None else str(len(disk.extents)),
        )
    console.print(rows)
    for disk in report.disks:
        if disk.reason:
            console.print(f"{disk.location}: {disk.reason}", soft_wrap=True)
    if not report.exact:
        console.print(
            "The machine may write while its host looks: not exact, and no basis for a backup.",
            soft_wrap=True,
        )

"""`hypercbt check`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.cli.host_options import HostOptions, open_host
from hypercbt.cli.options import Json, parse_size
from hypercbt.cli.outcome import DONE, FAILED, FINDING, Outcome
from hypercbt.cli.text import size, table
from hypercbt.hyperv.check import CheckReport, VmCheck
from hypercbt.hyperv.check import check as check_host
from hypercbt.models import asdict
from hypercbt.repository import Repository


def check(
    host: str,
    /,
    *vms: str,
    repository: Annotated[
        Path | None,
        Parameter(
            name=["--repository", "-r"],
            env_var="HYPERCBT_REPOSITORY",
            help="Where they are backed up to: what its dead runs left on the host is removed.",
        ),
    ] = None,
    adopt: bool = False,
    space_floor: str | None = None,
    connection: HostOptions | None = None,
    json: Json = False,
) -> Outcome:
    """Say whether virtual machines of a host can be backed up, before the first backup.

    The exit code is 1 where a backup would fail, 5 where there is something to read, else 0.

    Args:
        host: The host.
        vms: Names, ids, or patterns with * and ?; all machines where none is given.
        adopt: Recovery checkpoints that are not known to be ours are removed as well.
        space_floor: What must stay free on the host's volumes, such as 20GiB.
    """
    if adopt and repository is None:
        raise ValueError("say the --repository that adopts what is found")
    with open_host(host, connection) as opened:
        repo = None if repository is None else Repository.open(repository)
        report = check_host(
            opened,
            vms=vms,
            repository=repo,
            adopt=adopt,
            space_floor_bytes=None if space_floor is None else parse_size(space_floor),
        )
    return Outcome(
        asdict(report), lambda console: _print(console, report), exit_code(report)
    )


def exit_code(report: CheckReport) -> int:
    """Return whether a backup would fail, or there is something to read."""
    if any(problem.blocking for problem in report.all_problems):
        return FAILED
    return FINDING if report.all_problems else DONE


def _print(console: Console, report: CheckReport) -> None:
    for problem in report.problems:
        console.print(f"{report.host}: {problem.text}", soft_wrap=True)
    for vm in report.vms:
        _print_vm(console, vm)


def _print_vm(console: Console, vm: VmCheck) -> None:
    room = "" if vm.free_bytes is None else f", {size(vm.free_bytes)} free"
    console.print(
        f"{vm.vm} ({vm.vm_id}): {vm.state}, version {vm.version}{room}", soft_wrap=True
    )
    rows = table("disk", "file", "size", "tracking", "readable", numbers_from=5)
    for disk in vm.disks:
        readable = "yes" if disk.readable else "no"
        rows.add_row(
            disk.location, disk.path, size(disk.disk_bytes), disk.tracked, readable
        )
    console.print(rows)
    for text in vm.removed:
        console.print(f"  {text}", soft_wrap=True)
    for problem in vm.problems:
        word = "no backup: " if problem.blocking else "note: "
        console.print(f"  {word}{problem.text}", soft_wrap=True)

"""`hypercbt serve`."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.cli.options import Json, RepositoryPath
from hypercbt.cli.outcome import DAMAGED, DONE, FINDING, Outcome, Terminated
from hypercbt.cli.text import size
from hypercbt.models import asdict
from hypercbt.repository import Repository
from hypercbt.serve import NbdServer, ServeReport

LOOK_EVERY_SECONDS = 0.2
"""How long a signal may have to wait: Python handles it when the core has returned."""


def serve(
    point: str,
    /,
    *,
    repository: RepositoryPath,
    nbd: Annotated[str, Parameter(name="--nbd")],
    disk: int | None = None,
    json: Json = False,
) -> Outcome:
    """Serve a disk of a restore point over NBD, read-only, until Ctrl-C.

    Args:
        point: Its id, a unique prefix of it, or NAME@latest.
        nbd: Where: the path of a Unix socket, which only you may open, or tcp:127.0.0.1:PORT, which
            any user of this machine may; port 0 is any free one.
        disk: The number of the disk, where the point has several.
    """
    with Repository.open(repository) as opened:
        found = opened.point(point)
        source = found if disk is None else found.disk(disk)
        with source.serve(nbd) as server:
            wait_for_signal(server, f"serving {found.id} at {server.uri}")
            report = server.stop()
    document = asdict(report) | {"restore_point": found.id}
    return Outcome(document, lambda console: _print(console, report), exit_code(report))


def wait_for_signal(server: NbdServer, what: str) -> None:
    """Say what is going on; return when a signal asks for the end, or the server has ended by itself."""
    try:
        console = Console(stderr=True, markup=False, highlight=False)
        # Whoever reads this may ask for the end at once.
        console.print(f"{what}, until Ctrl-C", soft_wrap=True)
        while not server.wait(LOOK_EVERY_SECONDS):
            pass
    except (KeyboardInterrupt, Terminated):
        pass  # that is how it is meant to end


def exit_code(report: ServeReport) -> int:
    """Return what the clients met: damage, another failure, or nothing."""
    if report.damaged_requests:
        return DAMAGED
    return FINDING if report.failed_requests else DONE


def _print(console: Console, report: ServeReport) -> None:
    console.print(
        f"served {report.connections} connections: {report.requests} requests, "
        f"{size(report.read_bytes)} read"
    )
    if report.failed_requests:
        console.print(
            f"{report.failed_requests} requests failed, "
            f"{report.damaged_requests} of them for damage:"
        )
    for failure in report.failures:
        console.print(
            f"{failure.command} of {failure.length} bytes at {failure.offset}: {failure.error}",
            soft_wrap=True,
        )
    for violation in report.first_violations:
        console.print(f"a client broke the protocol: {violation}", soft_wrap=True)

"""`hypercbt vms`."""

from rich.console import Console

from hypercbt.cli.host_options import HostOptions, open_host
from hypercbt.cli.options import Json
from hypercbt.cli.outcome import Outcome
from hypercbt.cli.text import table
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.models import FORMAT, to_json


def vms(
    host: str, /, *, connection: HostOptions | None = None, json: Json = False
) -> Outcome:
    """List the virtual machines of a host.

    Args:
        host: The host: hv01, hv01:5985, http://hv01:5985.
    """
    with open_host(host, connection) as opened:
        found = opened.vms()
    return Outcome(
        {"format": FORMAT, "host": host, "vms": to_json(found)},
        lambda console: _print(console, found),
    )


def _print(console: Console, found: tuple[VirtualMachine, ...]) -> None:
    if not found:
        console.print("no virtual machines")
        return
    rows = table("name", "state", "version", "gen", "id", numbers_from=5)
    for vm in found:
        rows.add_row(
            vm.name,
            vm.state if vm.busy is None else f"{vm.state}, {vm.busy}",
            vm.version,
            "" if vm.generation is None else str(vm.generation),
            vm.id,
        )
    console.print(rows)

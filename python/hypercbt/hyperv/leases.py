"""The open leases of a machine: who is at it, or was and died.

A lease also says which checkpoints and reference points stood before: by that `hypercbt.hyperv.stale` knows what its run
has left.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hypercbt.documents import parse_list
from hypercbt.errors import VmBusyError
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.owners import Life, life_of
from hypercbt.repository import Repository


@dataclass(frozen=True, slots=True)
class Lease:
    """An open lease of a machine in this repository."""

    run: str
    created: datetime
    owner: str | None
    checkpoints: frozenset[str]
    reference_points: frozenset[str]
    state: str
    """`open`, `committed` or `fenced`."""
    host: str | None


def leases_of(machine: str, repository: Repository) -> list[Lease]:
    """Return the open leases of a machine (`vm:GUID`)."""
    return [
        _lease(entry)
        for entry in parse_list(repository.native.leases())
        if entry["machine"] == machine
    ]


def refuse_living(vm: VirtualMachine, leases: Iterable[Lease], adopt: bool) -> None:
    """Let pass only if no run is at the machine.

    Raises:
        VmBusyError: One is, or may be.
    """
    for lease in leases:
        life = Life.GONE if lease.state == "fenced" else life_of(lease.owner)
        if life is Life.HERE:
            raise VmBusyError(f"{vm.name} is being backed up by {who(lease)}")
        if life is Life.ELSEWHERE and not adopt:
            raise VmBusyError(
                f"{vm.name} may be being backed up by {who(lease)}; if that run is dead, say so by adopting it"
            )


def who(lease: Lease) -> str:
    """Return a lease's owner as people read it."""
    parts = (lease.owner or "").rsplit(" ", 2)
    owner = (
        f"process {parts[1]} on {parts[0]}"
        if len(parts) == 3
        else f"somebody ({lease.owner})"
    )
    return f"{owner} (run {lease.run}, since {lease.created:%Y-%m-%d %H:%M} UTC)"


def _lease(entry: dict[str, Any]) -> Lease:
    vm = entry["vm"] or {}
    return Lease(
        run=entry["run"],
        created=datetime.fromisoformat(entry["created"]),
        owner=entry["owner"],
        checkpoints=_lower(vm.get("checkpoints", ())),
        reference_points=_lower(vm.get("reference_points", ())),
        state=entry["state"],
        host=vm.get("host"),
    )


def _lower(ids: Collection[str]) -> frozenset[str]:
    return frozenset(one.lower() for one in ids)

"""What a run leaves on a host, found and taken away again: by the run itself where it fails, else by the next one.

A checkpoint is a run's own where it bears the run's mark, or, if the run had no time to mark it, where it is the one
recovery checkpoint with a name of Hyper-V's own that is new since the run's lease, and made within ten minutes of it.
Once the point is committed the checkpoint may have become a reference point that nobody wrote down: then it is the one
that is new since the lease and that no baseline names. It is taken away as well, and never built upon.

Everything else is somebody else's: reported, and removed only where `adopt` was said.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from hypercbt.documents import now_microseconds
from hypercbt.errors import (
    ForeignCheckpointError,
    HostJobError,
)
from hypercbt.hyperv.bases import older, read_baselines, recorded
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.leases import Lease
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.needs import Machine
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.waits import until_idle, until_merged
from hypercbt.repository import Repository

RUN_ID = re.compile("[0-9a-f]{32}")

AT_ONCE = timedelta(minutes=10)
"""How long after its lease a run makes its checkpoint, at most."""


def marker(repository: str, run: str) -> str:
    """Return the name that a run gives its checkpoint."""
    return f"hypercbt {repository} {run}"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is known of a run that may have left something."""

    mark: str
    checkpoints: frozenset[str]
    """The ids of the checkpoints that stood when it began."""
    reference_points: frozenset[str]
    """The ids of the reference points that stood, and of those that baselines name."""
    began: datetime | None
    """When it began; None: a moment ago, for sure."""
    committed: bool
    """Whether its restore point was made: only then a reference point may be its own."""
    own: str | None = None
    """The id of its checkpoint, where that is known."""
    files: frozenset[str] | None = None
    """What the machine ran on before, where that is known."""
    pending: bool = False
    """Whether the run was interrupted, so that the host may yet do what it was asked last."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken away."""

    checkpoints: tuple[str, ...] = ()
    reference_points: tuple[str, ...] = ()
    unmerged: str | None = None
    """Why the machine does not run on its former files yet."""


def bury(
    machine: Machine, repository: Repository, lease: Lease, limits: Limits
) -> Removed:
    """End a run that is dead: fence it, take away what it left on the host, close its lease.

    If the host does not give it back, the lease stays open for the next one who tries.
    """
    committed = lease.state == "committed"
    if lease.state == "open":
        committed = not repository.native.fence(lease.run, created=now_microseconds())
    removed = take_away(
        machine, leftovers(machine, repository, lease, committed), limits
    )
    repository.native.close_lease(lease.run, committed=committed)
    return removed


def leftovers(
    machine: Machine, repository: Repository, lease: Lease, committed: bool
) -> Leftovers:
    """Return what a dead run may have left. A reference point that a baseline names is nobody's leftover."""
    return Leftovers(
        marker(repository.id, lease.run),
        lease.checkpoints,
        lease.reference_points
        | recorded(read_baselines(f"vm:{machine.id}", repository)),
        lease.created,
        committed,
        pending=True,
    )


def take_away(machine: Machine, left: Leftovers, limits: Limits) -> Removed:
    """Remove a run's checkpoint, or the reference point that it became, and wait for the merge.

    Raises:
        HyperVError: The host does not give it back.
    """
    found = _found(machine, left, limits)
    for checkpoint in found:
        destroy(machine, checkpoint, limits)
    points: list[ReferencePoint] = []
    if left.committed and not found:
        points = own_points(machine.reference_points(), left)
    for point in points:
        limits.persist(partial(machine.destroy_reference_point, point))
    # Also where nothing was found: a checkpoint that was converted is merged as one that was destroyed.
    unmerged = until_merged(machine, left.files, limits)
    names, ids = tuple(c.name for c in found), tuple(p.id for p in points)
    return Removed(names, ids, unmerged)


def _found(machine: Machine, left: Leftovers, limits: Limits) -> list[Checkpoint]:
    """Return what stands of a run's checkpoint, when nobody works on the machine.

    What was asked of the host right before a run was interrupted may be done after it, so for some quiet seconds the
    checkpoint is expected to appear; once there is a restore point, to become a reference point.
    """
    found: list[Checkpoint] = []

    def as_expected() -> bool:
        nonlocal found
        vm = limits.persist(partial(until_idle, machine, limits))
        found = own_checkpoints(vm, machine.checkpoints(), left)
        return not left.pending or bool(found) != left.committed

    limits.until(as_expected, limits.quiet_seconds)
    return found


def own_checkpoints(
    vm: VirtualMachine, checkpoints: Iterable[Checkpoint], left: Leftovers
) -> list[Checkpoint]:
    """Return the run's checkpoint: the marked one, else the only one that can be its own."""
    candidates = recovery(checkpoints)
    known = [c for c in candidates if c.name == left.mark or c.id == left.own]
    if known:
        return known
    unmarked = [
        c
        for c in candidates
        if c.id.lower() not in left.checkpoints
        and has_default_name(vm, c)
        and (left.began is None or _at_once(c, left.began))
    ]
    return unmarked if len(unmarked) == 1 else []


def own_points(
    points: Iterable[ReferencePoint], left: Leftovers
) -> list[ReferencePoint]:
    """Return the reference point that the run's checkpoint became, if only one can be it."""
    new = [p for p in points if p.id.lower() not in left.reference_points]
    return new if len(new) == 1 else []


def has_default_name(vm: VirtualMachine, checkpoint: Checkpoint) -> bool:
    """Tell whether Hyper-V named the checkpoint: `NAME - (DATE - TIME)`, the rest as its language has it."""
    return checkpoint.name.startswith(f"{vm.name} - (") and checkpoint.name.endswith(
        ")"
    )


def recovery(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return the recovery checkpoints; users' own are no concern of ours."""
    return [c for c in checkpoints if c.kind == "recovery"]


def drop_older(machine: Machine, repository: Repository) -> Removed:
    """Destroy the reference points of ours that no backup will ask from any more, as a backup does at its end."""
    known = read_baselines(f"vm:{machine.id}", repository)
    points = older(known, machine.reference_points()) if known else []
    for point in points:
        machine.destroy_reference_point(point)
    return Removed(reference_points=tuple(point.id for point in points))


def is_stale(checkpoint: Checkpoint, repository: Repository) -> bool:
    """Tell whether a checkpoint bears the mark of a run of this repository that is known to be over."""
    words = checkpoint.name.split(" ")
    if words[:2] != ["hypercbt", repository.id] or not RUN_ID.fullmatch(words[-1]):
        return False
    return repository.native.run_state(words[-1]) in ("closed", "fenced")


def refuse_foreign(
    vm: VirtualMachine, checkpoints: Sequence[Checkpoint], repository: Repository
) -> None:
    """Say whose recovery checkpoints these are.

    Raises:
        ForeignCheckpointError: There is one.
    """
    if not checkpoints:
        return
    told = ", ".join(f"{c.name!r} ({origin(c, repository)})" for c in checkpoints)
    raise ForeignCheckpointError(
        f"{vm.name} has a recovery checkpoint that is not known to be ours: {told}. "
        "Another backup may be under way. If not, adopt it: it is removed then"
    )


def origin(checkpoint: Checkpoint, repository: Repository | None) -> str:
    """Return what a recovery checkpoint's name says of who made it."""
    words = checkpoint.name.split(" ")
    if len(words) != 3 or words[0] != "hypercbt":
        return "not marked as hypercbt's"
    if repository is None or words[1] != repository.id:
        return f"of the repository {words[1]}"
    return "of a run that this repository does not know"


def destroy(machine: Machine, checkpoint: Checkpoint, limits: Limits) -> None:
    """Destroy a recovery checkpoint; where the host refuses that, convert it and destroy what it becomes.

    One client saw hosts that refuse to delete stale recovery checkpoints and yet convert them (hyperv-rct 1.8).
    """
    try:
        limits.persist(lambda: machine.destroy(checkpoint))
    except HostJobError as refusal:
        if not _stands(machine, checkpoint):
            return
        try:
            machine.destroy_reference_point(machine.convert(checkpoint))
        except HostJobError:
            raise refusal from None


def remove(
    machine: Machine, checkpoints: Iterable[Checkpoint], limits: Limits
) -> Removed:
    """Remove checkpoints that nobody needs any more."""
    names = []
    for checkpoint in checkpoints:
        destroy(machine, checkpoint, limits)
        names.append(checkpoint.name)
    unmerged = until_merged(machine, None, limits) if names else None
    return Removed(tuple(names), unmerged=unmerged)


def _stands(machine: Machine, checkpoint: Checkpoint) -> bool:
    return any(c.id == checkpoint.id for c in machine.checkpoints())


def _at_once(checkpoint: Checkpoint, began: datetime) -> bool:
    """Tell whether a checkpoint was made soon after; the host's clock may be a little behind ours."""
    return checkpoint.created is not None and abs(checkpoint.created - began) <= AT_ONCE

"""What a run leaves on a host, found and taken away again: by the run itself where it fails, else by the next one.

A checkpoint is a run's own where it bears the run's mark, or, if the run had no time to mark it, where it is the one
recovery checkpoint with a name of Hyper-V's own that is new since the run's lease, and made within ten minutes of it.
Once the point is committed the checkpoint may have become a reference point that nobody wrote down. Nothing that a host
says of one tells when it was made, or by whom: it has an id, and its disks'. So only where no other explanation is left
is one taken away: it is the only one that is new since the lease, no baseline is the run's own, and the restore point was
made minutes ago. After that, others may have removed what was ours and made their own: what may be the run's is reported
then, and left. It is never built upon.

Everything else is somebody else's: reported, and removed only where `adopt` was said.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from hypercbt.documents import now_microseconds, parse, seconds
from hypercbt.errors import ForeignCheckpointError, HostJobError, RepositoryError
from hypercbt.hyperv.bases import older, read_baselines, recorded
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.leases import Lease
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.needs import Machine
from hypercbt.hyperv.reading import same
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.waits import until_idle, until_merged
from hypercbt.repository import Repository

MARK = re.compile("hypercbt (?P<repository>[0-9a-f]{32}) (?P<run>[0-9a-f]{32})")
"""What `marker` makes."""

AT_ONCE = timedelta(minutes=10)
"""How long after its lease a run makes its checkpoint, at most; and how long after its restore point a reference point
that is new can only be its own."""


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
    """Whether its restore point was made: only then it makes a reference point."""
    tidied: bool = False
    """Whether somebody has begun to take it away before, and where the host refused that, has maybe converted it."""
    sealed: bool = False
    """Whether its baseline stands: that names the only reference point that was ever its own."""
    at_once: bool = True
    """Whether its restore point was made within the last `AT_ONCE`."""
    own: str | None = None
    """The id of its checkpoint, where that is known."""
    own_point: str | None = None
    """The id of the reference point that its checkpoint became, where that is known."""
    files: frozenset[str] | None = None
    """What the machine ran on before, where that is known."""
    pending: bool = False
    """Whether the run was interrupted, so that the host may yet do what it was asked last."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken away."""

    checkpoints: tuple[str, ...] = ()
    reference_points: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    """The reference points that were left, because each may be the run's as well as somebody else's."""
    unmerged: str | None = None
    """Why the machine does not run on its former files yet."""

    @property
    def doubts(self) -> list[str]:
        """What somebody must read of the reference points that were left."""
        return [
            f"the reference point {point} may be ours or somebody else's, and was left: nobody has recorded it"
            for point in self.doubtful
        ]


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
    baselines = read_baselines(f"vm:{machine.id}", repository)
    return Leftovers(
        marker(repository.id, lease.run),
        lease.checkpoints,
        lease.reference_points | recorded(baselines),
        lease.created,
        committed,
        tidied=lease.state == "fenced",
        sealed=any(baseline.point == lease.run for baseline in baselines),
        at_once=committed and _made_at_once(repository, lease.run),
        pending=True,
    )


def _made_at_once(repository: Repository, point: str) -> bool:
    """Tell whether a restore point was made minutes ago: not, where it was deleted meanwhile or nobody can read it."""
    try:
        document = parse(repository.native.point(point))
    except RepositoryError:
        return False
    began = datetime.fromisoformat(document["created"])
    made = began + timedelta(microseconds=document["elapsed_micros"])
    now = datetime.fromtimestamp(seconds(now_microseconds()), UTC)
    return abs(now - made) <= AT_ONCE


def take_away(machine: Machine, left: Leftovers, limits: Limits) -> Removed:
    """Remove a run's checkpoint, or the reference point that it became, and wait for the merge.

    Raises:
        HyperVError: The host does not give it back.
    """
    found = _found(machine, left, limits)
    for checkpoint in found:
        destroy(machine, checkpoint, limits)
    candidates: list[ReferencePoint] = []
    may_be_converted = left.tidied or (left.committed and not left.sealed)
    if may_be_converted and not found:
        candidates = may_be_own(machine.reference_points(), left)
    sure = is_own(candidates, left)
    for point in candidates if sure else ():
        limits.persist(partial(machine.destroy_reference_point, point))
    # Also where nothing was found: a checkpoint that was converted is merged as one that was destroyed.
    unmerged = until_merged(machine, left.files, limits)
    ids = tuple(point.id for point in candidates)
    return Removed(
        checkpoints=tuple(checkpoint.name for checkpoint in found),
        reference_points=ids if sure else (),
        doubtful=() if sure else ids,
        unmerged=unmerged,
    )


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
    """Return the run's checkpoint: the known or the marked one, else the only one that can be its own."""
    candidates = recovery(checkpoints)
    if left.own is not None:
        return [c for c in candidates if same(c.id, left.own)]
    marked = [c for c in candidates if c.name == left.mark]
    if marked:
        return marked
    unmarked = [
        c
        for c in candidates
        if c.id.lower() not in left.checkpoints
        and has_default_name(vm, c)
        and (left.began is None or _at_once(c, left.began))
    ]
    return unmarked if len(unmarked) == 1 else []


def may_be_own(
    points: Iterable[ReferencePoint], left: Leftovers
) -> list[ReferencePoint]:
    """Return each reference point that the run's checkpoint may have become."""
    if left.own_point is not None:
        return [p for p in points if same(p.id, left.own_point)]
    return [p for p in points if p.id.lower() not in left.reference_points]


def is_own(candidates: Sequence[ReferencePoint], left: Leftovers) -> bool:
    """Tell whether what may be the run's reference point is it."""
    if left.own_point is not None:
        return True
    return len(candidates) == 1 and left.at_once


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
    marked = MARK.fullmatch(checkpoint.name)
    if marked is None or marked["repository"] != repository.id:
        return False
    return repository.native.run_state(marked["run"]) in ("closed", "fenced")


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
    marked = MARK.fullmatch(checkpoint.name)
    if marked is None:
        return "not marked as hypercbt's"
    if repository is None or marked["repository"] != repository.id:
        return f"of the repository {marked['repository']}"
    if repository.native.run_state(marked["run"]) == "unknown":
        return "of a run that this repository does not know"
    return f"of the run {marked['run']} of this repository"


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
    return any(same(c.id, checkpoint.id) for c in machine.checkpoints())


def _at_once(checkpoint: Checkpoint, began: datetime) -> bool:
    """Tell whether a checkpoint was made soon after; the host's clock may be a little behind ours."""
    return checkpoint.created is not None and abs(checkpoint.created - began) <= AT_ONCE

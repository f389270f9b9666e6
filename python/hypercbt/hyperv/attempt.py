"""One run against one machine: its lease, its checkpoint, and both taken back whatever happens.

The lease is closed only when the host is clean. Where the host does not give the checkpoint back, the lease stays open,
and the next run finds in it what to look for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypercbt import _native
from hypercbt.documents import now_microseconds
from hypercbt.errors import (
    CheckpointError,
    HostJobError,
    HypercbtError,
    JobRefusedError,
    JobUnfinishedError,
    LostReplyError,
    VmBusyError,
)
from hypercbt.hyperv import policy, stale
from hypercbt.hyperv.bases import recorded
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.leases import leases_of, who
from hypercbt.hyperv.needs import Machine
from hypercbt.hyperv.order import Order, Remarks
from hypercbt.hyperv.owners import this_process
from hypercbt.hyperv.plan import Plan, looked_again
from hypercbt.hyperv.stale import Leftovers, Removed
from hypercbt.repository import Repository

OVER = (CheckpointError, HostJobError, LostReplyError)
"""What the host has answered, or what was looked for in vain."""


@dataclass(slots=True)
class Attempt:
    """How far a run has come."""

    machine: Machine
    repository: Repository
    plan: Plan
    order: Order
    remarks: Remarks
    run: "_native.MachineRun"
    touched: bool = False
    """Whether the host was asked for a checkpoint: from then on one may stand."""
    pending: bool = False
    """Whether the host may yet do what it was asked last: nobody has seen what came of it."""
    checkpoint: Checkpoint | None = None
    consistency: str | None = None
    committing: bool = False
    point: str | None = None
    """The document of the restore point, once it stands."""
    reference_point: str | None = None
    """The id of the reference point that its checkpoint became."""
    sealed: bool = False
    """Whether its baseline, which names that, stands."""
    closed: bool = False

    @property
    def id(self) -> str:
        """The run's, and that of the restore point that it makes."""
        return self.run.id

    def leftovers(self) -> Leftovers:
        """Return what to look for on the host."""
        return Leftovers(
            mark=stale.marker(self.repository.id, self.id),
            checkpoints=self.plan.checkpoints,
            reference_points=self.plan.reference_points | recorded(self.plan.baselines),
            began=None,
            # A commit of which nobody knows has not come back, and nothing is converted before.
            committed=self.point is not None,
            sealed=self.sealed,
            own=self.checkpoint.id if self.checkpoint else None,
            own_point=self.reference_point,
            files=self.plan.files,
            pending=self.pending,
        )

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask the host for a checkpoint, or to convert it. Until that is seen to be over, it may come later."""
        self.pending = True
        try:
            yield
        except OVER as error:
            self.pending = isinstance(error, JobUnfinishedError)
            raise
        self.pending = False

    def committed(self) -> bool:
        """Tell whether the restore point stands. A commit that was interrupted may have come through."""
        if self.point is None and self.committing:
            return self.repository.native.run_state(self.id) in ("committed", "closed")
        return self.point is not None

    def take_away(self) -> Removed:
        """Remove from the host what this run has left on it."""
        return stale.take_away(
            self.machine.tidying(), self.leftovers(), self.order.limits.tidying()
        )

    def undo(self, error: BaseException) -> None:
        """Take everything back because of `error`; what goes wrong meanwhile is only noted on it."""
        try:
            if self.touched:
                removed = self.take_away()
                if isinstance(error, JobUnfinishedError) and not removed.checkpoints:
                    raise error  # it may yet come: the lease stays for who looks later
                if removed.unmerged:
                    error.add_note(f"the checkpoint is gone, but {removed.unmerged}")
                for doubt in removed.doubts:
                    error.add_note(doubt)
        except Exception as trouble:  # whatever it is, `error` was first
            error.add_note(
                f"the host could not be tidied up ({trouble}); the next backup or check of this repository does it"
            )
            self._leave_open(error)
        else:
            self._end(error)

    def close(self) -> list[str]:
        """Close the lease: nothing of this run is left on the host that nobody knows of."""
        if self.closed:
            return []
        self.closed = True
        return list(self.run.close())

    def leave_open(self) -> None:
        """Let go of the run, and leave its lease to the next one."""
        self.closed = True
        self.run.leave_open()

    def _leave_open(self, error: BaseException) -> None:
        try:
            if not self.committed():
                self.repository.native.fence(self.id, created=now_microseconds())
            self.leave_open()
        except HypercbtError as trouble:
            error.add_note(f"the run could not be ended in the repository: {trouble}")

    def _end(self, error: BaseException) -> None:
        try:
            if self.committed():
                error.add_note(f"restore point {self.id} was made, and is whole")
                self.close()
            else:
                self.closed = True
                self.run.abort()
        except HypercbtError as trouble:
            error.add_note(f"the run could not be ended in the repository: {trouble}")


def begin(
    machine: Machine,
    repository: Repository,
    plan: Plan,
    order: Order,
    remarks: Remarks,
) -> Attempt:
    """Take the lease, and see that nobody else took one at the same moment.

    Raises:
        VmBusyError: Somebody did, or a checkpoint was made meanwhile.
    """
    machine_id = f"vm:{machine.id}"
    run = repository.native.begin_machine(
        machine=machine_id,
        name=plan.vm.name,
        created=now_microseconds(),
        bases=plan.bases,
        owner=this_process(),
        host=machine.host,
        checkpoints=sorted(plan.checkpoints),
        reference_points=sorted(plan.reference_points),
    )
    attempt = Attempt(machine, repository, plan, order, remarks, run)
    try:
        leases = leases_of(machine_id, repository)
        rivals = [lease for lease in leases if lease.run != run.id]
        if rivals:
            raise VmBusyError(f"{plan.vm.name} is being backed up by {who(rivals[0])}")
        _see_nobody_else(attempt)
    except BaseException as error:
        attempt.undo(error)
        raise
    return attempt


def _see_nobody_else(attempt: Attempt) -> None:
    """See that no recovery checkpoint stands: all that did were removed or refused before.

    Raises:
        VmBusyError: Somebody has made one.
    """
    for one in stale.recovery(attempt.machine.checkpoints()):
        raise VmBusyError(
            f"somebody has just made the checkpoint {one.name!r} of {attempt.plan.vm.name}"
        )


def make_checkpoint(attempt: Attempt) -> Checkpoint:
    """Make the recovery checkpoint, at the best level that is allowed and works, and mark it.

    Raises:
        CheckpointError: None could be made.
    """
    plan = attempt.plan
    level, checkpoint = _first_that_works(attempt)
    attempt.checkpoint = checkpoint
    attempt.consistency = level
    if plan.levels.unlike and attempt.machine.look().state == plan.levels.unlike:
        attempt.consistency = plan.levels.unlike
    mark = stale.marker(attempt.repository.id, attempt.id)
    try:
        attempt.machine.rename(checkpoint, mark)
    except HypercbtError as error:
        attempt.remarks.warnings.append(f"the checkpoint could not be marked: {error}")
    return checkpoint


def _first_that_works(attempt: Attempt) -> tuple[str, Checkpoint]:
    """Try each level in turn; what a try that failed has left is taken away before the next.

    Where the host would not begin, nothing that stands is ours: maybe it would not because somebody else was first.
    """
    plan, failures = attempt.plan, []
    for level in plan.levels.attempts:
        before, attempt.touched = attempt.touched, True
        try:
            with attempt.asking():
                made = attempt.machine.create_checkpoint(
                    plan.vm, level, plan.checkpoints
                )
        except JobUnfinishedError:
            raise  # it may yet: another would be one too many
        except OVER as error:
            failures.append(error)
            if isinstance(error, JobRefusedError):
                attempt.touched = before
                _see_nobody_else(attempt)
                continue
            attempt.take_away()
            attempt.plan = looked_again(attempt.machine, plan)
            continue
        if level == policy.CRASH and plan.levels.attempts[0] == policy.APPLICATION:
            attempt.remarks.warnings.append(
                f"only crash-consistent, because an application-consistent checkpoint failed: {failures[0]}"
            )
        return level, made
    raise CheckpointError(
        f"no checkpoint of {plan.vm.name} could be made: {failures[-1]}"
    ) from failures[0]

"""One backup of one machine, step by step. Each step's ways to fail stand in `docs/hyper-v.md`, with the reaction to each."""

from dataclasses import dataclass, replace

from hypercbt.documents import parse
from hypercbt.hyperv.attempt import Attempt, begin, make_checkpoint
from hypercbt.hyperv.frozen import (
    FrozenDisk,
    frozen_disks,
    read_disk,
    store_configuration,
)
from hypercbt.hyperv.needs import Machine
from hypercbt.hyperv.order import Order, Remarks
from hypercbt.hyperv.owners import claim
from hypercbt.hyperv.plan import planned, settle
from hypercbt.hyperv.sealing import await_merge, drop_older, seal
from hypercbt.hyperv.standing import is_disturbed, see_frozen, see_standing
from hypercbt.points import RestorePoint, point_from_document
from hypercbt.repository import Repository


@dataclass(frozen=True, slots=True)
class Done:
    """A backup that was made."""

    point: RestorePoint
    warnings: tuple[str, ...]


def backup_machine(machine: Machine, repository: Repository, order: Order) -> Done:
    """Back up a machine: all disks that the order means, and its configuration.

    Whatever fails, also Ctrl-C: the checkpoint is taken back, the merge is waited for, and the run ends. The first error
    is the one that is raised; what went wrong while tidying up is a note on it.
    """
    remarks = Remarks()
    with claim(repository.id, f"vm:{machine.id}"):
        vm = settle(machine, repository, order, remarks)
        plan = planned(machine, vm, repository, order, remarks)
        attempt = begin(machine, repository, plan, order, remarks)
        try:
            disks = freeze(attempt)
            store(attempt, disks)
            seal(attempt, disks)  # nothing is read any more
            drop_older(attempt)
            await_merge(attempt)
        except BaseException as error:
            attempt.undo(error)
            raise
    return Done(_point(attempt), tuple(remarks.warnings))


def freeze(attempt: Attempt) -> list[FrozenDisk]:
    """Make the checkpoint, and find in it what was planned."""
    checkpoint = make_checkpoint(attempt)
    disturbed = is_disturbed(attempt)
    disks = frozen_disks(
        attempt.plan, attempt.machine.disks(checkpoint.id), disturbed=disturbed
    )
    see_frozen(attempt, [frozen.disk for frozen in disks])
    return disks


def store(attempt: Attempt, disks: list[FrozenDisk]) -> None:
    """Read everything and commit: from the last line on there is a restore point."""
    store_configuration(attempt)
    for disk in disks:
        read_disk(attempt, disk)
    if attempt.plan.space.stopped_audit:
        attempt.remarks.findings.append(
            "the host's volume fills up: the audit was ended, and the next backup owes what is left of it"
        )
    see_standing(attempt)
    attempt.committing = True
    attempt.point = attempt.run.commit(consistency=attempt.consistency)


def _point(attempt: Attempt) -> RestorePoint:
    assert attempt.point is not None
    point = point_from_document(parse(attempt.point), attempt.repository.native)
    findings = tuple(attempt.remarks.findings)
    return replace(point, stats=replace(point.stats, findings=findings))

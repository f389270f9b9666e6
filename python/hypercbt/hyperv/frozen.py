"""The frozen disks of a checkpoint: which is which, and read into the repository."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PureWindowsPath

from hypercbt._native import Extents
from hypercbt.documents import parse
from hypercbt.errors import (
    AuditUnfinishedError,
    ChangeTrackingLostError,
    DiskIdentityError,
    HostFileError,
    HostSpaceError,
    HypercbtError,
    SourceError,
    VmBusyError,
)
from hypercbt.hyperv import policy
from hypercbt.hyperv.attempt import Attempt
from hypercbt.hyperv.bases import Base
from hypercbt.hyperv.checkpoints import TRACKED_KINDS
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.plan import Plan, PlannedDisk
from hypercbt.models import Progress
from hypercbt.virtual_disk import VirtualDisk

OPTIONAL_SUFFIX = ".vmgs"
"""Only a machine of generation 2 has one, on newer hosts."""


@dataclass(frozen=True, slots=True)
class FrozenDisk:
    """One disk of the checkpoint, and what was planned for it."""

    planned: PlannedDisk
    size: int
    disk: VmDisk
    """As the checkpoint has it: other instance, maybe other file."""
    sealed_in: str | None
    """The name of the file that changes are counted from, next time: what was active right before the checkpoint."""

    @property
    def name(self) -> str:
        """What people call the disk: the file that all checkpoints go back to."""
        return PureWindowsPath((self.disk.path, *self.disk.parents)[-1]).stem


def frozen_disks(
    plan: Plan, of_checkpoint: Iterable[VmDisk], *, disturbed: bool = False
) -> list[FrozenDisk]:
    """Match a checkpoint's disks with those that were planned, by id and place.

    Args:
        plan: What was planned.
        of_checkpoint: What the checkpoint has.
        disturbed: Somebody made or deleted a checkpoint after the plan: which file was active right before ours
            nobody knows, though the one that was planned may well be in the chain.

    Raises:
        VmBusyError: They are not the same: somebody changed the machine meanwhile.
    """
    there = {_key(disk): disk for disk in of_checkpoint}
    known = {_key(disk) for disk in plan.all_disks}
    added = [disk for key, disk in there.items() if key not in known]
    gone = [p.disk for p in plan.disks if _key(p.disk) not in there]
    if added or gone:
        told = ", ".join(policy.title(disk) for disk in (*added, *gone))
        raise VmBusyError(
            f"the disks of {plan.vm.name} changed while the checkpoint was made: {told}"
        )
    made = []
    for planned in plan.disks:
        disk = there[_key(planned.disk)]
        if disk.size is None or disk.size != planned.disk.size:
            raise VmBusyError(
                f"{policy.title(disk)} of {plan.vm.name} was resized while the checkpoint was made"
            )
        sealed_in = None if disturbed else sealed_file(planned.disk, disk)
        made.append(FrozenDisk(planned, disk.size, disk, sealed_in))
    return made


def sealed_file(before: VmDisk, frozen: VmDisk) -> str | None:
    """Return the name of the file that was active, if it is in the frozen chain, and only once."""
    active = policy.file_name(before.path)
    chain = [policy.file_name(path) for path in (frozen.path, *frozen.parents)]
    alike = [name for name in chain if name.casefold() == active.casefold()]
    return active if len(alike) == 1 else None


def store_configuration(attempt: Attempt) -> None:
    """Store the machine's own files as the checkpoint has them; that one is missing is a finding."""
    assert attempt.checkpoint is not None
    machine, remarks = attempt.machine, attempt.remarks
    try:
        paths = machine.configuration_files(attempt.checkpoint)
    except HypercbtError as error:
        remarks.findings.append(
            f"the machine's configuration is not in the point: {error}"
        )
        return
    for path in paths:
        name = policy.file_name(path)
        try:
            if is_optional(name) and not machine.exists(path):
                continue
            attempt.run.store_file(name, machine.local(path))
        except (HostFileError, SourceError) as error:
            remarks.findings.append(
                f"the machine's {name} is not in the point: {error}"
            )


def is_optional(name: str) -> bool:
    """Tell whether a machine may well lack this file of its configuration."""
    return PureWindowsPath(name).suffix.lower() == OPTIONAL_SUFFIX


def read_disk(attempt: Attempt, frozen: FrozenDisk) -> None:
    """Read what is needed of one disk into the repository."""
    if frozen.sealed_in is None:
        attempt.remarks.findings.append(
            f"{policy.title(frozen.disk)}: nobody can tell which file of the frozen disk was in use; "
            "the next backup compares"
        )
    method, changes, base, reason = _how(attempt, frozen)
    order = attempt.order
    with attempt.machine.open(frozen.disk) as disk:
        _check_identity(disk, frozen.disk)
        try:
            attempt.run.backup_disk(
                disk.native,
                disk_name=frozen.name,
                location=frozen.disk.location,
                method=method,
                changes=changes,
                base=base,
                fallback_reason=reason,
                sealed_in=frozen.sealed_in,
                audit=order.audit,
                audit_period_seconds=order.audit_period_seconds,
                progress=_progress(attempt),
            )
        except AuditUnfinishedError as error:
            raise HostSpaceError(
                f"{policy.title(frozen.disk)} missed a change and would have to be compared, "
                "and the host's volume has no room for a checkpoint that long: the backup was ended"
            ) from error


def _how(
    attempt: Attempt, frozen: FrozenDisk
) -> tuple[str, Extents | None, str | None, str | None]:
    """Return method, changes, base and the reason for a comparison."""
    if attempt.order.full:
        return "full", None, None, None
    base = frozen.planned.base
    if base is None:
        return "compare", None, None, frozen.planned.reason
    try:
        changes = _changes(attempt, frozen, base)
    except ChangeTrackingLostError as error:
        return "compare", None, None, f"change tracking was lost: {error}"
    return "rct", changes, base.point, None


def _changes(attempt: Attempt, frozen: FrozenDisk, base: Base) -> Extents:
    """Return what any file of the frozen chain is said to have changed since the base.

    Whether a host that is asked of the topmost file, maybe a layer of the checkpoint's own, answers for those below as
    well, nobody has written down (hyperv-rct U8, U13). So each is asked. Those below the file that the id counts from
    may not know it.

    Raises:
        ChangeTrackingLostError: The topmost file's changes are not known, or those of a file that must know.
    """
    machine, disk, size = attempt.machine, frozen.disk, frozen.size
    must_know = _must_know(attempt, frozen, base)
    changes = machine.changed_extents(disk.path, base.rct_id, size)
    for path in disk.parents:
        try:
            changes = changes.union(machine.changed_extents(path, base.rct_id, size))
        except ChangeTrackingLostError:
            if policy.file_name(path).casefold() in must_know:
                raise
    return changes


def _must_know(attempt: Attempt, frozen: FrozenDisk, base: Base) -> frozenset[str]:
    """Return the names of the files whose changes must be known: what was in use now, and at the base.

    A base's id counts from the file that was in use then. Since then a user may have made a checkpoint, and what
    changed before that is told by a parent of what is in use now.
    """
    point = parse(attempt.repository.native.point(base.point))
    disk_id = frozen.disk.disk_id
    names = {d["sealed_in"] for d in point["disks"] if d["disk_id"] == disk_id}
    return frozenset(name.casefold() for name in names | {frozen.sealed_in} if name)


def _progress(attempt: Attempt) -> Progress:
    """Return what is called while a disk is read: it also watches the host's volume."""
    told = attempt.order.progress

    def report(phase: str, done: int, total: int) -> None:
        attempt.order.limits.clock.sleep(0)  # where a stop that was asked for is raised
        attempt.plan.space.look(attempt.run)
        if told is not None:
            told(phase, done, total)

    return report


def _check_identity(opened: VirtualDisk, said: VmDisk) -> None:
    """See that the file that a mapping leads to is the disk that the host means.

    Raises:
        DiskIdentityError: It is another one.
    """
    # What a host says of a VHD, and in which order of bytes, nobody has written down.
    by_id = said.kind in TRACKED_KINDS
    if by_id and said.disk_id and said.disk_id != (opened.disk_id or "").lower():
        raise DiskIdentityError(
            f"{opened.path} is another disk than {said.path} of the host: {opened.disk_id}, not {said.disk_id}; "
            "is the folder mapped to the right place?"
        )
    if opened.size != said.size:
        raise DiskIdentityError(
            f"{opened.path} has {opened.size} bytes, and the host's {said.path} has {said.size}"
        )


def _key(disk: VmDisk) -> tuple[str | None, str]:
    return disk.disk_id, disk.location

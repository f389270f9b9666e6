"""What changed on the disks of a machine since a restore point: asked of the disks as they are, without a checkpoint.

Of a machine that runs the answer is not exact: the guest goes on writing while the host looks, and whether a host tells
of a disk in use all that it would tell of a frozen one is not known (hyperv-rct 1.7). A backup never builds on it.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike

from hypercbt._native import Extents
from hypercbt.errors import ChangeTrackingLostError
from hypercbt.hyperv.bases import Base, Baseline, choose, ids_of, read_baselines
from hypercbt.hyperv.changes import changed_extents
from hypercbt.hyperv.checkpoints import TRACKED_KINDS
from hypercbt.hyperv.disks import VmDisk, vm_disks
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.reference_points import list_reference_points
from hypercbt.hyperv.session import Session
from hypercbt.points import RestorePoint
from hypercbt.repository import Repository

AT_REST = ("off", "saved")
"""Nobody writes to the disks of a machine in this state."""


@dataclass(frozen=True, slots=True)
class DiskChanges:
    """What the host says of one disk."""

    location: str
    """Controller and slot: `SCSI 0:1`."""
    path: str
    """The host path of the file that the machine writes to now."""
    disk_id: str | None
    disk_bytes: int | None
    base: str | None
    """The restore point since which; None where an RCT id was given."""
    since: str | None
    """The RCT id since which."""
    extents: Extents | None
    """What changed, sorted and disjoint; None where nobody can tell."""
    reason: str | None
    """Why nobody can tell."""

    @property
    def changed_bytes(self) -> int | None:
        """How much changed at most."""
        return None if self.extents is None else self.extents.total_bytes

    def _json(self) -> dict[str, object]:
        return {
            "location": self.location,
            "path": self.path,
            "disk_id": self.disk_id,
            "disk_bytes": self.disk_bytes,
            "base": self.base,
            "since": self.since,
            "changed_bytes": self.changed_bytes,
            "extents": self.extents,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class ChangesReport:
    """What changed on a machine: the JSON of `hypercbt changes`."""

    host: str
    vm: str
    vm_id: str
    exact: bool
    """Whether nobody could write while the host looked: the machine was off or saved."""
    disks: tuple[DiskChanges, ...]


def machine_changes(
    session: Session,
    vm: VirtualMachine,
    *,
    since: RestorePoint | str | None,
    repository: Repository | str | PathLike[str] | None,
) -> ChangesReport:
    """Return what changed. See `hypercbt.hyperv.host.Host.changes`."""
    disks = vm_disks(session, vm.settings_id)
    base_of = _bases(session, vm, disks, since, repository)
    found = tuple(_disk_changes(session, disk, base_of) for disk in disks)
    return ChangesReport(
        host=session.host,
        vm=vm.name,
        vm_id=vm.id,
        exact=vm.state in AT_REST and vm.busy is None,
        disks=found,
    )


def is_rct_id(since: str) -> bool:
    """Whether a text is an id of the host's, and not a restore point's (hex, or `NAME@latest`)."""
    return ":" in since and "@" not in since


BaseOf = Callable[[VmDisk], tuple[str | None, str] | str]
"""The restore point and the RCT id of a disk's base, or why there is none."""


def _bases(
    session: Session,
    vm: VirtualMachine,
    disks: tuple[VmDisk, ...],
    since: RestorePoint | str | None,
    repository: Repository | str | PathLike[str] | None,
) -> BaseOf:
    if isinstance(since, str) and is_rct_id(since):
        rct_id = since
        return lambda _: (None, rct_id)
    if repository is None:
        raise ValueError(
            "say since when: a repository with restore points of the machine, or an RCT id"
        )
    with (
        nullcontext(repository)
        if isinstance(repository, Repository)
        else Repository.open(repository)
    ) as opened:
        known = read_baselines(f"vm:{vm.id}", opened)
        if since is not None:
            point = since if isinstance(since, RestorePoint) else opened.point(since)
            known = [baseline for baseline in known if baseline.point == point.id]
    standing = ids_of(list_reference_points(session, vm.id))
    ids = Counter(disk.disk_id for disk in disks)

    def base_of(disk: VmDisk) -> tuple[str | None, str] | str:
        copies = ids[disk.disk_id] > 1
        return _told(choose(disk, known, standing, copies=copies), known)

    return base_of


def _told(base: Base | str, known: list[Baseline]) -> tuple[str | None, str] | str:
    if isinstance(base, Base):
        return base.point, base.rct_id
    return base if known else "no restore point of this machine can be built upon"


def _disk_changes(session: Session, disk: VmDisk, base_of: BaseOf) -> DiskChanges:
    base: str | None = None
    since: str | None = None
    extents: Extents | None = None
    reason: str | None = None
    told = base_of(disk)
    if disk.kind not in TRACKED_KINDS or disk.size is None:
        reason = f"a {disk.kind} disk has no change tracking"
    elif isinstance(told, str):
        reason = told
    else:
        base, since = told
        try:
            extents = changed_extents(session, disk.path, since, disk.size)
        except ChangeTrackingLostError as error:
            reason = str(error)
    return DiskChanges(
        location=disk.location,
        path=disk.path,
        disk_id=disk.disk_id,
        disk_bytes=disk.size,
        base=base,
        since=since,
        extents=extents,
        reason=reason,
    )

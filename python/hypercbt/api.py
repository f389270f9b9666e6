"""What callers do: back up a machine, or a disk file. The rest hangs on what they get back."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from os import fspath
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal, TypeAlias

from hypercbt._native import Extents
from hypercbt.documents import now_microseconds, parse
from hypercbt.errors import UnfinishedWarning
from hypercbt.hyperv.backup import backup_machine
from hypercbt.hyperv.host import Host
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.order import Order
from hypercbt.hyperv.policy import Consistency
from hypercbt.models import Changes, Path, Progress
from hypercbt.points import RestorePoint, point_from_document
from hypercbt.repository import Repository
from hypercbt.virtual_disk import VirtualDisk

if TYPE_CHECKING:
    from hypercbt.hyperv.credentials import Credentials

AUDIT_PERIOD = timedelta(days=28)
"""Within this time every chunk that is claimed unchanged is read again, unless told otherwise."""

MERGE_TIMEOUT = timedelta(minutes=30)
"""How long a backup waits for a machine's disks to be merged, unless told otherwise."""

Audit: TypeAlias = Literal["full", "off"] | timedelta


def backup(
    vm: str,
    *,
    host: str | Host,
    repository: Path | Repository,
    credentials: "Credentials | None" = None,
    map: Mapping[str, Path] | None = None,
    consistency: Consistency = "prefer",
    disks: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    full: bool = False,
    audit: Audit = AUDIT_PERIOD,
    adopt: bool = False,
    space_floor: int | None = None,
    merge_timeout: timedelta = MERGE_TIMEOUT,
    progress: Progress | None = None,
) -> RestorePoint:
    r"""Back up a virtual machine of a Hyper-V host and return the new restore point.

    The first backup of a disk reads all of it, later ones what the host reports as changed since the
    last restore point whose moment it still knows. If it does not know, the disk is compared, and the point says why.
    Somebody should read `point.stats.findings`, if there are any.

    Args:
        vm: The machine's name or GUID.
        host: The host's name, or an open host, which stays open.
        repository: The folder, or an open repository.
        credentials: Who asks; looked for in environment, keyring and netrc where not given.
        map: Where folders of the host are from here: `{r"C:\VMs": "/mnt/hv01/VMs"}`. An open host has its own.
        consistency: `prefer` an application-consistent checkpoint and take a crash-consistent one
            where that fails, `require` the former, or ask for a `crash`-consistent one only.
        disks: Only these, by location (`SCSI 0:1`), file name or disk id.
        exclude: Not these.
        full: Read everything that is allocated and start new disk trees.
        audit: `full`, `off`, or the time within which everything is read again once.
        adopt: Recovery checkpoints of other products and repositories, and runs on other machines that
            may live, are declared dead: what they left on this virtual machine is removed.
        space_floor: Bytes of the host's volumes that stay free; the larger of 20 GiB and 10 % where not given.
        merge_timeout: How long to wait for the host to merge the machine's disks.
        progress: Called now and then; what it raises stops the backup.

    Raises:
        VmNotFoundError: There is none of this name; as `AmbiguousVmError`, there are several.
        VmBusyError: Somebody is working on it, maybe another backup.
        VmUnsupportedError: The machine, or one of its disks, cannot be backed up like this.
        ForeignCheckpointError: There is a recovery checkpoint of somebody else.
        CheckpointError: The host could not make a checkpoint.
        HostSpaceError: The host's volume has too little room for an open checkpoint.
        ValueError: `disks` or `exclude` means no disk.
    """
    mode, period = audit_of(audit)
    order = Order(
        consistency=consistency,
        only=disks,
        exclude=exclude,
        full=full,
        audit=mode,
        audit_period_seconds=period,
        adopt=adopt,
        space_floor_bytes=space_floor,
        limits=Limits(merge_seconds=merge_timeout.total_seconds()),
        progress=progress,
    )
    with ExitStack() as stack:
        repo = _opened(repository, stack)
        opened = host
        if not isinstance(opened, Host):
            opened = stack.enter_context(Host(opened, credentials=credentials, map=map))
        elif credentials is not None or map is not None:
            raise ValueError("an open host has its own credentials and map")
        done = backup_machine(HostedMachine(opened, opened.vm(vm).id), repo, order)
    for text in done.warnings:
        warnings.warn(text, UnfinishedWarning, stacklevel=2)
    return done.point


def backup_disk(
    disk: Path | VirtualDisk,
    *,
    repository: Path | Repository,
    name: str | None = None,
    full: bool = False,
    changes: "Changes | None" = None,
    since: RestorePoint | str | None = None,
    new_disk: bool = False,
    audit: Audit = AUDIT_PERIOD,
    progress: Progress | None = None,
) -> RestorePoint:
    """Back up a disk file and return the new restore point.

    Without `changes` the disk is compared: what is allocated is read, and what the repository does
    not hold is stored. With `changes` only the chunks that they touch are read, on top of the point
    `since`, and a slice of the others to see whether the list can be believed.

    Args:
        disk: The file, or an open disk.
        repository: The folder, or an open repository.
        name: Whose restore point this becomes; the file's stem where not given.
        full: Read everything that is allocated and start a new disk tree.
        changes: What changed since `since`. Overlaps, order and size do not matter.
        since: The restore point that the changes are relative to.
        new_disk: The disk may be another one than at the last point of this name.
        audit: `full`, `off`, or the time within which everything is read again once.
        progress: Called now and then; what it raises stops the backup, and nothing is made.

    Raises:
        ValueError: `changes` without `since` or the reverse, or changes outside the disk.
        DiskIdentityError: It is another disk than at the last point of this name.
        SourceChangedError: Somebody wrote to the disk meanwhile.
    """
    if (changes is None) != (since is None):
        raise ValueError(
            "changes are always relative to a restore point: "
            "give both `changes` and `since`, or neither"
        )
    if full and changes is not None:
        raise ValueError("a full backup takes no changes")
    mode, period = audit_of(audit)
    with ExitStack() as stack:
        repo = _opened(repository, stack)
        native = repo.native
        since_id = None if since is None else _point_id(since, repo)
        source = disk
        if not isinstance(source, VirtualDisk):
            source = stack.enter_context(VirtualDisk.open(source))
        stem = PurePath(fspath(source.path)).stem
        document = native.backup_disk(
            source.native,
            name=_checked_name(stem if name is None else name),
            disk_name=stem,
            created=now_microseconds(),
            full=full,
            changes=None if changes is None else _extents(changes),
            since=since_id,
            new_disk=new_disk,
            audit=mode,
            audit_period_seconds=period,
            progress=progress,
        )
        outcome = parse(document)
    for text in outcome["warnings"]:
        warnings.warn(text, UnfinishedWarning, stacklevel=2)
    return point_from_document(outcome["point"], native)


def _opened(repository: Path | Repository, stack: ExitStack) -> Repository:
    """Return an open repository; one that is opened here is closed with `stack`."""
    if isinstance(repository, Repository):
        return repository
    return stack.enter_context(Repository.open(repository))


def _point_id(point: RestorePoint | str, repository: Repository) -> str:
    """Return the id. A point that a caller holds may have been deleted since: the core looks."""
    return point.id if isinstance(point, RestorePoint) else repository.point(point).id


def _extents(changes: "Changes") -> Extents:
    return changes if isinstance(changes, Extents) else Extents(changes)


def _checked_name(name: str) -> str:
    if not name or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{name!r} is no name: it needs letters, and no white space around it"
        )
    return name


def audit_of(audit: Audit) -> tuple[str, int]:
    """Return the mode and the period in seconds, as the core takes them."""
    default = int(AUDIT_PERIOD.total_seconds())
    if isinstance(audit, timedelta):
        seconds = int(audit.total_seconds())
        if seconds <= 0:
            raise ValueError("the period of the audit must be at least one second")
        return "rotate", seconds
    if audit not in ("full", "off"):
        raise ValueError(
            f"{audit!r} is no way to audit; say 'full', 'off' or a timedelta"
        )
    return audit, default

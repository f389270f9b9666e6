"""`hypercbt backup`: of a disk file, or of virtual machines of a host."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hypercbt.api import backup_disk
from hypercbt.cli import backup_vms
from hypercbt.cli.host_options import HostOptions
from hypercbt.cli.options import Json, RepositoryPath, parse_audit, read_changes
from hypercbt.cli.outcome import Outcome
from hypercbt.cli.progress import shown_progress
from hypercbt.cli.stats import exit_code, print_stats
from hypercbt.models import asdict


def backup(
    *sources: str,
    repository: RepositoryPath,
    name: str | None = None,
    full: bool = False,
    changes: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    since: str | None = None,
    new_disk: bool = False,
    audit: str = "28",
    all: bool = False,
    parallel: int = 1,
    consistency: Literal["prefer", "require", "crash"] = "prefer",
    disk: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    adopt: bool = False,
    space_floor: str | None = None,
    merge_timeout: float = 30.0,
    connection: HostOptions | None = None,
    json: Json = False,
) -> Outcome:
    """Back up a disk file, or virtual machines of a Hyper-V host.

    Args:
        sources: A VHDX or VHD file with its parents beside it, a raw disk, or hyperv://HOST/VM; of one host several, with * and ? in the name, or hyperv://HOST and --all.
        name: Of a file: whose restore point this becomes; the file's stem where not given.
        full: Read everything and build on nothing.
        changes: Of a file: only what changed since the point --since: a file with [[offset, length], …] as JSON, or - for binary little-endian uint64 pairs on standard input.
        since: The restore point that the changes are relative to.
        new_disk: Of a file: the disk may be another one than at the last point of this name.
        audit: How what is claimed unchanged is checked: full, off, or the days within which all of it is read again once.
        all: Every virtual machine of the host.
        parallel: How many virtual machines are backed up at a time.
        consistency: prefer an application-consistent checkpoint, require it, or ask for a crash-consistent one.
        disk: Only this disk of the virtual machine: its location (SCSI 0:1), file name or id. May be said again.
        exclude: Not this disk. May be said again.
        adopt: Remove recovery checkpoints that are not known to be ours, and declare runs on other machines dead.
        space_floor: What must stay free on the host's volumes, such as 20GiB.
        merge_timeout: Minutes to wait for the host to merge the disks.
    """
    if not sources:
        raise ValueError("say what to back up: a disk file, or hyperv://HOST/VM")
    if backup_vms.is_vm(sources[0]):
        if name is not None or changes is not None or since is not None or new_disk:
            raise ValueError(
                "--name, --changes, --since and --new-disk are for disk files"
            )
        return backup_vms.backup(
            sources,
            all=all,
            parallel=parallel,
            repository=repository,
            connection=connection,
            order=backup_vms.order_of(
                consistency=consistency,
                disks=disk,
                exclude=exclude,
                full=full,
                audit=audit,
                adopt=adopt,
                space_floor=space_floor,
                merge_timeout=merge_timeout,
            ),
        )
    if len(sources) > 1:
        raise ValueError("disk files are backed up one at a time")
    return _backup_file(
        Path(sources[0]), repository, name, full, changes, since, new_disk, audit
    )


def _backup_file(
    file: Path,
    repository: Path,
    name: str | None,
    full: bool,
    changes: str | None,
    since: str | None,
    new_disk: bool,
    audit: str,
) -> Outcome:
    extents = None if changes is None else read_changes(changes)
    with shown_progress(name or file.stem) as progress:
        point = backup_disk(
            file,
            repository=repository,
            name=name,
            full=full,
            changes=extents,
            since=since,
            new_disk=new_disk,
            audit=parse_audit(audit),
            progress=progress,
        )
    stats = point.stats
    return Outcome(
        asdict(stats), lambda console: print_stats(console, stats), exit_code(stats)
    )

"""A machine's run over small tracked disks, as the flow of a backup drives it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypercbt import Extents, Repository, RestorePoint, VirtualDisk, _native
from hypercbt.documents import now_microseconds, parse
from hypercbt.points import point_from_document

MACHINE = "vm:7f3a0c1e-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Part:
    """One disk of a run, and how it is to be read."""

    file: Path
    location: str = "SCSI 0:0"
    method: str = "compare"
    changes: Extents | None = None
    base: str | None = None
    sealed_in: str | None = None
    reason: str | None = None
    audit: str = "off"


def begin(repository: Repository, bases: Iterable[str] = ()) -> _native.MachineRun:
    """Begin a run over the machine."""
    return repository.native.begin_machine(
        machine=MACHINE,
        name="web01",
        created=now_microseconds(),
        bases=list(bases),
        owner="here 1 2",
        host="hv01",
        checkpoints=["checkpoint"],
        reference_points=["reference"],
    )


def read(run: _native.MachineRun, part: Part) -> dict[str, object]:
    """Read a disk into a run."""
    with VirtualDisk.open(part.file) as disk:
        return parse(
            run.backup_disk(
                disk.native,
                disk_name=part.file.stem,
                location=part.location,
                method=part.method,
                changes=part.changes,
                base=part.base,
                fallback_reason=part.reason,
                sealed_in=part.sealed_in,
                audit=part.audit,
                threads=1,
            )
        )


def back_up(
    repository: Repository,
    parts: Iterable[Part],
    *,
    files: Iterable[Path] = (),
    consistency: str | None = "crash",
    baseline: bool = False,
) -> RestorePoint:
    """Make a restore point of these disks and files."""
    parts = list(parts)
    run = begin(repository, sorted({part.base for part in parts if part.base}))
    disks = [read(run, part) for part in parts]
    for file in files:
        run.store_file(file.name, str(file))
    document = parse(run.commit(consistency=consistency))
    if baseline:
        run.add_baseline(
            created=now_microseconds(),
            reference_point="reference",
            disks=[
                (str(disk["disk_id"]), int(str(disk["size"])), f"rct{n}", part.location)
                for n, (part, disk) in enumerate(zip(parts, disks, strict=True))
            ],
        )
    assert run.close() == []
    return point_from_document(document, repository.native)

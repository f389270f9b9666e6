"""Restore points: what a repository can give back.

A `RestorePoint` is a value, read once; it keeps the open repository that it came from, so that its
disks can be read and restored.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from os import fspath
from pathlib import PurePath
from typing import Any

from hypercbt import _native
from hypercbt.disk_file import DiskFile
from hypercbt.documents import Document, parse, seconds
from hypercbt.models import BackupStats, DiskStats, Path, Progress, RestoreReport
from hypercbt.point_file import PointFile, restore_files
from hypercbt.serve import NbdServer, serve

RESTORE_FORMATS = {
    ".vhdx": "vhdx",
    ".vhd": "vhd",
    ".raw": "raw",
    ".img": "raw",
    ".bin": "raw",
    ".dd": "raw",
}
"""Which format a restored file gets by its suffix."""

FIXED_VHD = "vhd-fixed"
"""A format that no suffix says."""


@dataclass(frozen=True, slots=True)
class PointDisk:
    """One disk of a restore point."""

    index: int
    """Its number in the point, from 0."""
    name: str
    disk_id: str | None
    """The identity that a VHDX file, or the last parent of a VHD file, gives its disk."""
    size: int
    """The length of the disk in bytes."""
    format: str
    """The format that it was read from."""
    logical_sector_bytes: int
    physical_sector_bytes: int
    block_bytes: int | None
    location: str | None
    """Where it hangs in its machine, as `SCSI 0:1`; None of a file."""
    base: str | None
    """The restore point whose disk tree was patched, if one was."""
    stats: DiskStats
    _point: str = field(repr=False)
    _repository: _native.Repository = field(repr=False, compare=False)

    def open(self) -> DiskFile:
        """Open the disk as a seekable, readable binary file with its own cursor.

        Example:
            >>> with point.disks[0].open() as file:  # doctest: +SKIP
            ...     file.seek(1 << 20)
            ...     file.read(512)
        """
        return DiskFile(self._repository.disk(self._point, self.index))

    def serve(self, address: Path) -> NbdServer:
        """Serve the disk over NBD, read-only, on threads of its own.

        Args:
            address: Where: the path of a Unix socket, which only its owner may open, or
                `tcp:127.0.0.1:PORT`, which any user of this machine may; port 0 is any free one.

        Raises:
            AddressInUseError: Somebody serves there, or a file that is no socket stands there.
            ValueError: The address is none, or other machines could reach it.

        Example:
            >>> with point.disks[0].serve("/run/user/1000/disk.sock") as server:  # doctest: +SKIP
            ...     subprocess.run(["nbdcopy", server.uri, "disk.raw"], check=True)
        """
        return serve(self._repository.disk(self._point, self.index), address)

    def restore(
        self,
        path: Path,
        *,
        format: str | None = None,
        overwrite: bool = False,
        new_disk_id: bool = False,
        progress: Progress | None = None,
    ) -> RestoreReport:
        """Write the disk to a new file, which appears only when it is complete.

        Args:
            path: Where to. Its suffix says the format, unless `format` does.
            format: `vhdx` (dynamic), `vhd` (dynamic), `vhd-fixed` or `raw` (sparse). A VHD has
                sectors of 512 bytes and at most 2040 GiB.
            overwrite: Replace a file that stands there.
            new_disk_id: Give a VHDX or VHD another identity, for a clone that runs beside the
                original.
            progress: Called now and then; what it raises stops the restore.

        Raises:
            TargetExistsError: There is a file, and `overwrite` was not said.
            IntegrityError: The repository no longer holds what the disk needs.
        """
        output = fspath(path)
        document = parse(
            self._repository.restore_disk(
                self._point,
                self.index,
                output,
                format=restore_format(output, format),
                overwrite=overwrite,
                new_disk_id=new_disk_id,
                progress=progress,
            )
        )
        return RestoreReport(
            restore_point=self._point,
            disk=self.name,
            output=output,
            output_format=restore_format(output, format),
            disk_bytes=self.size,
            written_bytes=document["written_bytes"],
            read_bytes=document["read_bytes"],
            elapsed_seconds=seconds(document["elapsed_micros"]),
        )

    def _json(self) -> dict[str, object]:
        return {
            "index": self.index,
            "disk": self.name,
            "disk_id": self.disk_id,
            "disk_format": self.format,
            "logical_sector_bytes": self.logical_sector_bytes,
            "physical_sector_bytes": self.physical_sector_bytes,
            "block_bytes": self.block_bytes,
            "location": self.location,
            "base": self.base,
            **{f.name: getattr(self.stats, f.name) for f in fields(DiskStats)},
        }


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """What a machine's disks held at one moment. Always whole: there is no chain to replay."""

    id: str
    machine: str
    """`file:NAME` or `vm:GUID`: whose restore point it is."""
    name: str
    """What people call the machine."""
    sequence: int
    """The order of commit in the repository; clocks may be wrong, this is not."""
    created: datetime
    """When the backup began."""
    disks: tuple[PointDisk, ...]
    configuration: tuple[PointFile, ...]
    """The machine's own files, beside its disks."""
    stats: BackupStats

    @property
    def consistency(self) -> str | None:
        """What the machine was brought into: `application`, `crash` or `off`; None of a file."""
        return self.stats.consistency

    def open(self) -> DiskFile:
        """Open the only disk. See `PointDisk.open`.

        Raises:
            ValueError: The point has several disks.
        """
        return self.only_disk().open()

    def serve(self, address: Path) -> NbdServer:
        """Serve the only disk over NBD. See `PointDisk.serve`.

        Raises:
            ValueError: The point has several disks.
        """
        return self.only_disk().serve(address)

    def restore(
        self,
        path: Path,
        *,
        format: str | None = None,
        overwrite: bool = False,
        new_disk_id: bool = False,
        progress: Progress | None = None,
    ) -> RestoreReport:
        """Write the only disk to a file. See `PointDisk.restore`.

        Raises:
            ValueError: The point has several disks.
        """
        return self.only_disk().restore(
            path,
            format=format,
            overwrite=overwrite,
            new_disk_id=new_disk_id,
            progress=progress,
        )

    def restore_configuration(
        self, folder: Path, *, overwrite: bool = False
    ) -> tuple[str, ...]:
        """Write the machine's configuration files into a folder, and return their paths.

        Args:
            folder: Where to; it is made if it is not there.
            overwrite: Replace files of the same names.

        Raises:
            ValueError: The point holds none.
            TargetExistsError: A file stands there, and `overwrite` was not said; then none was written.
        """
        if not self.configuration:
            raise ValueError(f"restore point {self.id} holds no configuration files")
        return restore_files(self.configuration, folder, overwrite=overwrite)

    def disk(self, index: int) -> PointDisk:
        """Return the disk of this number.

        Raises:
            ValueError: There is none.
        """
        for disk in self.disks:
            if disk.index == index:
                return disk
        numbers = ", ".join(str(disk.index) for disk in self.disks)
        raise ValueError(
            f"restore point {self.id} has no disk {index}; it has {numbers}"
        )

    def only_disk(self) -> PointDisk:
        """Return the one disk of the point.

        Raises:
            ValueError: It has several, or none.
        """
        if len(self.disks) != 1:
            names = ", ".join(disk.name for disk in self.disks)
            raise ValueError(
                f"restore point {self.id} has {len(self.disks)} disks ({names}); say which"
            )
        return self.disks[0]

    def _json(self) -> dict[str, object]:
        return {
            "restore_point": self.id,
            "name": self.name,
            "machine": self.machine,
            "sequence": self.sequence,
            "created": self.created,
            "elapsed_seconds": self.stats.elapsed_seconds,
            "consistency": self.consistency,
            "disks": self.disks,
            "configuration": self.configuration,
        }


def restore_format(path: str, format: str | None) -> str:
    """Return the format of a restored file: as said, or by the suffix of its name."""
    if format is not None:
        known = [*dict.fromkeys(RESTORE_FORMATS.values()), FIXED_VHD]
        if format not in known:
            raise ValueError(
                f"{format!r} is no restore format; say one of {', '.join(known)}"
            )
        return format
    suffix = PurePath(path).suffix.lower()
    if suffix not in RESTORE_FORMATS:
        suffixes = ", ".join(RESTORE_FORMATS)
        raise ValueError(
            f"the name {PurePath(path).name!r} does not say the format; "
            f"give one of the suffixes {suffixes}, or the format"
        )
    return RESTORE_FORMATS[suffix]


def point_from_document(
    document: Document, repository: _native.Repository
) -> RestorePoint:
    """Return the restore point of a native document (`docs/repository-format.md` §6)."""
    created = datetime.fromisoformat(document["created"])
    disks = tuple(
        _disk_from_document(disk, document["id"], repository)
        for disk in document["disks"]
    )
    return RestorePoint(
        id=document["id"],
        machine=document["machine"],
        name=document["name"],
        sequence=document["sequence"],
        created=created,
        disks=disks,
        configuration=tuple(
            PointFile(file["name"], file["size"], document["id"], repository)
            for file in document["files"]
        ),
        stats=BackupStats(
            restore_point=document["id"],
            machine=document["machine"],
            name=document["name"],
            created=created,
            elapsed_seconds=seconds(document["elapsed_micros"]),
            disks=tuple(disk.stats for disk in disks),
            consistency=document["consistency"],
        ),
    )


def _disk_from_document(
    document: dict[str, Any], point: str, repository: _native.Repository
) -> PointDisk:
    return PointDisk(
        index=document["index"],
        name=document["name"],
        disk_id=document["disk_id"],
        size=document["size"],
        format=document["format"],
        logical_sector_bytes=document["logical_sector_bytes"],
        physical_sector_bytes=document["physical_sector_bytes"],
        block_bytes=document["block_bytes"],
        location=document["location"],
        base=document["base"],
        stats=DiskStats(
            disk=document["name"],
            method=document["method"],
            fallback_reason=document["fallback_reason"],
            **_known(document["stats"]),
        ),
        _point=point,
        _repository=repository,
    )


def _known(stats: dict[str, Any]) -> dict[str, Any]:
    """Drop what a newer core may count and this version has no field for."""
    names = {field.name for field in fields(DiskStats)}
    return {name: value for name, value in stats.items() if name in names}

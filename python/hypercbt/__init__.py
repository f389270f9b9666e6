"""Incremental backups of Hyper-V virtual disks that copy only what changed."""

from hypercbt import errors
from hypercbt._native import ChunkIndex, Extents, __version__, chunk_ids
from hypercbt.api import backup, backup_disk
from hypercbt.disk_file import DiskFile
from hypercbt.errors import HypercbtError
from hypercbt.hyperv.host import Host
from hypercbt.models import (
    BackupStats,
    DamagedRecord,
    DiffReport,
    DiskDiff,
    DiskStats,
    Inspection,
    RestoreReport,
    Suspect,
    VerifyReport,
    asdict,
)
from hypercbt.point_file import PointFile
from hypercbt.points import PointDisk, RestorePoint
from hypercbt.repository import Repository
from hypercbt.serve import NbdServer, ServeFailure, ServeReport
from hypercbt.virtual_disk import VirtualDisk

__all__ = [
    "BackupStats",
    "ChunkIndex",
    "DamagedRecord",
    "DiffReport",
    "DiskDiff",
    "DiskFile",
    "DiskStats",
    "Extents",
    "Host",
    "HypercbtError",
    "Inspection",
    "NbdServer",
    "PointDisk",
    "PointFile",
    "Repository",
    "RestorePoint",
    "RestoreReport",
    "ServeFailure",
    "ServeReport",
    "Suspect",
    "VerifyReport",
    "VirtualDisk",
    "__version__",
    "asdict",
    "backup",
    "backup_disk",
    "chunk_ids",
    "errors",
]

"""A restore point of a machine, written by the document: for readers to read, and for tests to damage.

What hypercbt itself needs a host for, `forge` makes of two points of files: one becomes the disk, the
other the machine's configuration.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final, TypeAlias

from . import objects
from .forge import make_object
from .repository import ReferenceRepository

MACHINE: Final = "vm:4f2b7e30-0000-0000-0000-000000000001"
WHEN: Final = "2026-02-20T10:00:00.000000Z"
VOID: Final = "ab" * 16

Payload: TypeAlias = dict[str, Any]


def make_machine(folder: Path, disk: str, configuration: str) -> None:
    """Make one point of a machine of two points of files, with a baseline, a lease, and a void of another disk.

    The point of the configuration goes; the lease of its run stays.
    """
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    reader = ReferenceRepository(folder)
    points = {point["id"]: point for point in reader.points()}
    point = _machine_point(points[disk], points[configuration])
    (folder / "point" / configuration).unlink()
    make_object(folder / "point" / disk, objects.POINT, point)
    make_object(folder / "baseline" / disk, objects.BASELINE, _baseline(point))
    void = make_void(["0b"], point["sequence"])
    make_object(folder / "void" / VOID, objects.VOID, void)
    lease = _lease(reader.leases()[disk])
    make_object(folder / "lease" / disk, objects.LEASE, lease)


def _machine_point(point: Payload, configuration: Payload) -> Payload:
    """Return the point as one of a machine, whose configuration is what another point holds as its disk."""
    disk = configuration["disks"][0]
    point = deepcopy(point)
    point["machine"], point["consistency"] = MACHINE, "application"
    point["disks"][0] |= {
        "location": "SCSI 0:0",
        "sealed_in": "web01.vhdx",
        "layer_extents": [[0, 512], [512, 512], [4096, 10]],
    }
    file = {"name": "1.vmcx", "size": disk["size"], "root": disk["root"]}
    point["files"] = [file, {"name": "1.vmrs", "size": 0, "root": None}]
    return point


def _baseline(point: Payload) -> Payload:
    disk = {
        "machine": MACHINE,
        "disk_id": "0a",
        "location": "SCSI 0:0",
        "size": point["disks"][0]["size"],
        "rct_id": "rctX:1",
    }
    return {
        "point": point["id"],
        "created": WHEN,
        "reference_point": "Microsoft:1",
        "disks": [disk, {**disk, "location": "SCSI 0:1"}],
    }


def make_void(disks: list[str], sequence: int, machine: str = MACHINE) -> Payload:
    return {
        "machine": machine,
        "disks": disks,
        "created": WHEN,
        "sequence": sequence,
    }


def _lease(before: Payload) -> Payload:
    vm = {"host": "hv01", "checkpoints": [], "reference_points": ["Microsoft:1"]}
    return {**before, "owner": "backup01 1 2.5", "vm": vm}

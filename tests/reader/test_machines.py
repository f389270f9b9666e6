"""What a run on a virtual machine writes beside its chunks: made by the document, read by both.

The objects here are written by `forge`, which knows the document alone. So hypercbt must take what the
document allows, and refuse what it forbids, whoever wrote it.
"""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import hypercbt
from hypercbt import Repository

from . import objects
from .binary import RefusedError
from .forge import make_object
from .machine import MACHINE, VOID, make_machine, make_void
from .repository import ReferenceRepository

CHUNK = 64 << 10


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose only point is of a machine: a disk, two files, a baseline, and a void of others."""
    folder = tmp_path_factory.mktemp("original")
    rng = random.Random(1)
    (folder / "web01.raw").write_bytes(rng.randbytes(2 * CHUNK))
    (folder / "1.vmcx").write_bytes(rng.randbytes(CHUNK + 512))
    with Repository.create(folder / "repository", chunk_size=CHUNK) as repository:
        for name in ("web01.raw", "1.vmcx"):
            hypercbt.backup_disk(folder / name, repository=repository)
        configuration, disk = (point.id for point in repository.points())
    make_machine(folder / "repository", disk, configuration)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original / "repository", tmp_path / "repository"))


def is_clean(folder: Path) -> bool:
    with Repository.open(folder) as repository:
        return repository.verify().clean


def test_a_machine_as_the_document_has_it_is_one_for_both(
    original: Path, folder: Path
) -> None:
    reader = ReferenceRepository(folder)
    [point] = reader.points()
    assert point["consistency"] == "application"
    assert reader.restore(point["disks"][0]) == (original / "web01.raw").read_bytes()
    configuration, empty = point["files"]
    assert reader.restore(configuration) == (original / "1.vmcx").read_bytes()
    assert reader.restore(empty) == b""
    assert reader.leases()[point["id"]]["vm"]["host"] == "hv01"
    [only] = reader.baselines()
    assert [disk["location"] for disk in only["disks"]] == ["SCSI 0:0", "SCSI 0:1"]
    with Repository.open(folder) as repository:
        [own] = repository.points()
        assert own.id == point["id"]
        assert own.open().read() == (original / "web01.raw").read_bytes()
    assert is_clean(folder)


def test_a_void_takes_the_disks_that_it_covers(folder: Path) -> None:
    [point] = ReferenceRepository(folder).points()
    sequence = point["sequence"]
    for made, left in (
        (make_void(["0A"], sequence), 0),
        (make_void([], sequence), 0),
        (make_void([], sequence, MACHINE.upper()), 0),
        (make_void([], sequence - 1), 2),
        (make_void([], sequence, "vm:another"), 2),
        (make_void(["0b"], sequence), 2),
    ):
        make_object(folder / "void" / VOID, objects.VOID, made)
        [found] = ReferenceRepository(folder).baselines()
        assert len(found["disks"]) == left
        assert found["reference_point"] == "Microsoft:1"
        assert is_clean(folder)


def changed(folder: Path, name: str, kind: int, *changes: tuple[str, object]) -> None:
    """Write the only object of a folder anew: values by dotted path, `del` at its end removes."""
    [path] = [p for p in (folder / name).iterdir() if kind != objects.LEASE or b"hv01" in p.read_bytes()]  # fmt: skip
    _, payload = objects.read_object(path.read_bytes(), kind)
    for place, value in changes:
        *parents, last = place.split(".")
        owner: Any = payload
        for parent in parents:
            owner = owner[int(parent) if parent.isdigit() else parent]
        if value == "del":
            del owner[last]
        else:
            owner[int(last) if last.isdigit() else last] = value
    make_object(path, kind, payload)


LEASE, BASELINE = ("lease", objects.LEASE), ("baseline", objects.BASELINE)
VOIDS = ("void", objects.VOID)
LONG = "x" * 4097
BAD: dict[str, tuple[tuple[str, int], str, object]] = {
    "a lease without an owner, who could be null": (LEASE, "owner", "del"),
    "a lease of an owner without a name": (LEASE, "owner", ""),
    "a lease with too long an owner": (LEASE, "owner", LONG),
    "a lease without a machine's state, which could be null": (LEASE, "vm", "del"),
    "a lease on no host": (LEASE, "vm.host", ""),
    "a lease without checkpoints": (LEASE, "vm.checkpoints", "del"),
    "a lease with a checkpoint without a name": (LEASE, "vm.checkpoints", [""]),
    "a lease with one reference point": (LEASE, "vm.reference_points", "one"),
    "a lease of another run": (LEASE, "run", "0" * 32),
    "a baseline without a reference point": (BASELINE, "reference_point", ""),
    "a baseline without disks": (BASELINE, "disks", "del"),
    "a baseline with a disk twice": (BASELINE, "disks.1.location", "SCSI 0:0"),
    "a baseline with a disk of no id": (BASELINE, "disks.0.disk_id", ""),
    "a baseline with a disk that says no place": (BASELINE, "disks.0.location", "del"),
    "a baseline without an RCT id": (BASELINE, "disks.0.rct_id", ""),
    "a baseline with too long an RCT id": (BASELINE, "disks.0.rct_id", LONG),
    "a baseline with a negative size": (BASELINE, "disks.0.size", -1),
    "a baseline of another point": (BASELINE, "point", "0" * 32),
    "a void of no machine": (VOIDS, "machine", ""),
    "a void without disks": (VOIDS, "disks", "del"),
    "a void of a disk twice": (VOIDS, "disks", ["a", "a"]),
    "a void of a disk of no id": (VOIDS, "disks", [""]),
    "a void without a number": (VOIDS, "sequence", "del"),
    "a void with a number of 64 bits": (VOIDS, "sequence", 1 << 63),
    "a void of no day": (VOIDS, "created", "2026-02-30T00:00:00.000000Z"),
}


def read_all(folder: Path) -> None:
    reader = ReferenceRepository(folder)
    reader.leases()
    reader.voids()
    reader.baselines()


@pytest.mark.parametrize("what", BAD)
def test_what_breaks_a_rule_is_refused_by_both(folder: Path, what: str) -> None:
    read_all(folder)
    (name, kind), place, value = BAD[what]
    changed(folder, name, kind, (place, value))
    with pytest.raises(RefusedError):
        read_all(folder)
    with Repository.open(folder) as repository:
        report = repository.verify()
        assert [f"{name}/" in line for line in report.damaged_objects] == [True]
        assert len(repository.points()) == 1


GOOD: dict[str, tuple[tuple[str, int], str, object]] = {
    "a lease that says nothing of a host": (LEASE, "vm", None),
    "a lease of nobody": (LEASE, "owner", None),
    "a baseline of no disk": (BASELINE, "disks", []),
    "a disk that says no place": (BASELINE, "disks.0.location", None),
    "a long RCT id": (BASELINE, "disks.0.rct_id", "x" * 4096),
    "a disk id whose letters have a case of their own": (BASELINE, "disks.0.disk_id", "Ä"),
}  # fmt: skip


@pytest.mark.parametrize("what", GOOD)
def test_what_breaks_none_is_taken_by_both(folder: Path, what: str) -> None:
    (name, kind), place, value = GOOD[what]
    changed(folder, name, kind, (place, value))
    read_all(folder)
    assert is_clean(folder)


def test_unknown_fields_are_ignored(folder: Path) -> None:
    for name, kind in (LEASE, BASELINE, VOIDS):
        changed(folder, name, kind, ("later", json.loads("{}")))
    read_all(folder)
    assert is_clean(folder)


@pytest.mark.parametrize(("name", "kind"), [BASELINE, VOIDS])
def test_every_byte_of_a_baseline_and_of_a_void_matters(
    original: Path, name: str, kind: int
) -> None:
    [path] = (original / "repository" / name).iterdir()
    data = path.read_bytes()
    objects.read_object(data, kind)
    for at in range(len(data)):
        broken = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        with pytest.raises(RefusedError):
            objects.read_object(broken, kind)

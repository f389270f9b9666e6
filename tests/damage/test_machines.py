"""Break one file of a repository that holds a machine: its configuration, its baseline, a void.

The grid goes on here: {truncate, delete, flip a bit, half-write, append} x {chunk of a file, node of a
file, baseline, void} x {points, restore, verify, backup}.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hypercbt
from hypercbt import Repository
from hypercbt.cli.app import run
from reader import objects, packs
from reader.binary import RefusedError
from reader.machine import make_machine
from reader.repository import Key, ReferenceRepository, Way

from .harm import HARMS
from .world import CHUNK, World, build, lost

Ran = tuple[int, dict[str, Any]]
Run = Callable[..., Ran]


def build_machine(folder: Path) -> tuple[World, str, str]:
    """Make a world with a machine beside the disks. Return it, the machine's point, and the configuration's run."""
    world = build(folder)
    rng = random.Random(7)
    disk, configuration = folder / "vm01.raw", folder / "1.vmcx"
    disk.write_bytes(rng.randbytes(CHUNK))
    configuration.write_bytes(rng.randbytes(CHUNK + 512))
    with Repository.open(world.repository) as repository:
        point, run_of_file = (
            hypercbt.backup_disk(path, repository=repository).id
            for path in (disk, configuration)
        )
    make_machine(world.repository, point, run_of_file)
    world.states[point] = disk.read_bytes()
    return world, point, run_of_file


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str, str]:
    return build_machine(tmp_path_factory.mktemp("original"))


@pytest.fixture
def machine(original: tuple[World, str, str]) -> str:
    """The machine's point."""
    return original[1]


@pytest.fixture
def world(original: tuple[World, str, str], tmp_path: Path) -> World:
    return original[0].copy(tmp_path / "world")


@pytest.fixture
def hypercbt_run(world: World, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        code = run([*map(str, arguments), "-r", str(world.repository), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def assert_disks_restore(world: World) -> None:
    with Repository.open(world.repository) as repository:
        for point in repository.points():
            assert point.open().read() == world.states[point.id]
        assert {point.id for point in repository.points()} == world.states.keys()


RECORDS = [
    pytest.param(kind, harm, id=f"{name}-{harm}")
    for kind, name in ((packs.CHUNK, "chunk"), (packs.NODE, "node"))
    for harm in HARMS
]


def harm_file(
    world: World, run_of_file: str, kind: int, harm: str
) -> tuple[set[Key], set[Key]]:
    """Harm a record of the configuration's pack. Return what is lost by it, and all that the file needs."""
    path = world.pack_of(run_of_file)
    before = path.read_bytes()
    reader = ReferenceRepository(world.repository, Way.FOOTERS)
    own = packs.read_footer(before, bytes.fromhex(reader.id))
    record = next(record for record in own if record.kind == kind)
    HARMS[harm](path, record.offset + 96, record.end)
    after = path.read_bytes() if path.exists() else b""
    return lost(before, after, reader.id), {(r.kind, r.id) for r in own}


@pytest.mark.parametrize(("kind", "harm"), RECORDS)
def test_what_a_file_lost_is_named_with_its_machine_and_every_disk_restores(
    original: tuple[World, str, str],
    world: World,
    machine: str,
    hypercbt_run: Run,
    kind: int,
    harm: str,
) -> None:
    gone, needed = harm_file(world, original[2], kind, harm)
    assert len(needed) == 3, "two chunks and a root"
    code, document = hypercbt_run("points")
    assert (code, len(document["points"])) == (0, 4)
    assert_disks_restore(world)

    code, document = hypercbt_run("verify")
    assert (code, document["clean"]) == (3, False)
    kinds = {"chunk": packs.CHUNK, "node": packs.NODE}
    told = {(kinds[r["kind"]], bytes.fromhex(r["id"])): r for r in document["damaged"]}
    # What hangs below a root that is lost nobody can know any more.
    root = {key for key in gone if key[0] == packs.NODE}
    needed = root or needed
    assert gone & needed <= told.keys() <= gone
    for key, record in told.items():
        points = [machine] if key in needed else []
        assert (record["lost"], record["points"]) == (bool(points), points)
    if not gone:
        name = original[0].pack_of(original[2]).name
        assert any(name in line for line in document["damaged_objects"])


@pytest.mark.parametrize(("kind", "harm"), RECORDS)
def test_a_backup_of_the_same_bytes_gives_a_file_back_what_it_lost(
    original: tuple[World, str, str],
    world: World,
    machine: str,
    hypercbt_run: Run,
    kind: int,
    harm: str,
) -> None:
    harm_file(world, original[2], kind, harm)
    hypercbt_run("verify")
    source = world.folder / "1.vmcx"
    code, document = hypercbt_run("backup", source)
    assert code == 0
    world.states[document["restore_point"]] = source.read_bytes()
    assert_disks_restore(world)
    hypercbt_run("verify")
    with Repository.open(world.repository) as repository:
        assert not any(record.lost for record in repository.verify().damaged)
    # What was just restored as a disk is the very tree of the file.
    payloads = [
        objects.read_object(
            (world.repository / "point" / point).read_bytes(), objects.POINT
        )[1]
        for point in (machine, document["restore_point"])
    ]
    assert payloads[0]["files"][0]["root"] == payloads[1]["disks"][0]["root"]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("folder", ["baseline", "void"])
def test_a_harmed_baseline_or_void_costs_no_byte_and_verification_names_it(
    world: World, hypercbt_run: Run, folder: str, harm: str
) -> None:
    [path] = (world.repository / folder).iterdir()
    HARMS[harm](path, 64, path.stat().st_size)
    code, document = hypercbt_run("points")
    assert (code, len(document["points"])) == (0, 4)
    assert_disks_restore(world)
    code, document = hypercbt_run("verify")
    assert document["damaged"] == []
    if harm == "delete":  # who deleted it may have had a reason
        assert (code, document["damaged_objects"]) == (0, [])
    else:
        assert code == 3
        named = [
            f"{folder}/{path.name}" in line for line in document["damaged_objects"]
        ]
        assert named == [True]
        with pytest.raises(RefusedError):
            ReferenceRepository(world.repository).baselines()
    code, document = hypercbt_run("backup", world.disk)
    assert code == 0
    world.states[document["restore_point"]] = world.disk.read_bytes()
    assert_disks_restore(world)


@pytest.mark.parametrize("harm", HARMS)
def test_a_point_whose_baseline_is_harmed_can_be_deleted_with_it(
    world: World, machine: str, hypercbt_run: Run, harm: str
) -> None:
    [path] = (world.repository / "baseline").iterdir()
    HARMS[harm](path, 64, path.stat().st_size)
    with Repository.open(world.repository) as repository:
        repository.delete(repository.point(machine))
    assert list((world.repository / "baseline").iterdir()) == []
    del world.states[machine]
    assert_disks_restore(world)
    assert hypercbt_run("verify")[0] == 0

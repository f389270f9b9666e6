"""Break one file, then use the repository: it is found, what is lost is named, the rest is restored.

The grid is {truncate, delete, flip a bit, half-write, append} x {pack, tree node, index, restore point,
config, lease, closed} x {points, restore, verify, backup}. What only virtual machines on a host have,
baselines, voids and configuration files, is in `test_machines.py`.

Every command runs as a user types it, and its exit code and its one JSON document are what counts.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypercbt.cli.app import run
from reader import packs
from reader.repository import Key, ReferenceRepository, Way
from support import overwrite

from .harm import HARMS
from .world import CHUNK, World, build, lost, needs

Ran = tuple[int, dict[str, Any]]
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def needed(original: World) -> dict[str, set[Key]]:
    return needs(original.repository)


@pytest.fixture
def world(original: World, tmp_path: Path) -> World:
    return original.copy(tmp_path / "world")


@pytest.fixture
def hypercbt(world: World, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        code = run([*map(str, arguments), "-r", str(world.repository), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def restores(hypercbt: Run, world: World, point: str) -> Ran:
    """Restore a point; a restore that succeeds must have written what the disk held."""
    target = world.folder / f"{point}.raw"
    code, document = hypercbt("restore", point, target)
    if code == 0:
        assert target.read_bytes() == world.states[point]
        target.unlink()
    assert not target.exists()
    return code, document


# Packs: chunks and tree nodes.


def harm_record(world: World, kind: int, harm: str) -> set[Key]:
    """Harm a record of the first point's pack, and return what is lost by it."""
    path = world.pack_of(world.first)
    before = path.read_bytes()
    reader = ReferenceRepository(world.repository, Way.FOOTERS)
    record = next(
        r for r in packs.scan(before, bytes.fromhex(reader.id)) if r.kind == kind
    )
    HARMS[harm](path, record.offset + 96, record.end)
    after = path.read_bytes() if path.exists() else b""
    return lost(before, after, reader.id)


def nodes(keys: set[Key]) -> set[Key]:
    return {key for key in keys if key[0] == packs.NODE}


RECORDS = [
    pytest.param(kind, harm, id=f"{name}-{harm}")
    for kind, name in ((packs.CHUNK, "pack"), (packs.NODE, "node"))
    for harm in HARMS
]


@pytest.mark.parametrize(("kind", "harm"), RECORDS)
def test_a_harmed_pack_hides_no_point(
    world: World, hypercbt: Run, kind: int, harm: str
) -> None:
    harm_record(world, kind, harm)
    code, document = hypercbt("points")
    assert code == 0
    assert {
        point["restore_point"] for point in document["points"]
    } == world.states.keys()


@pytest.mark.parametrize(("kind", "harm"), RECORDS)
def test_points_that_need_nothing_of_what_is_lost_restore_and_the_others_say_what(
    world: World, needed: dict[str, set[Key]], hypercbt: Run, kind: int, harm: str
) -> None:
    gone = harm_record(world, kind, harm)
    assert not gone & needed[world.other]
    for point in world.states:
        code, document = restores(hypercbt, world, point)
        missing = {key[1].hex() for key in gone & needed[point]}
        assert code == (3 if missing else 0)
        if missing:
            assert document["error"]["type"] == "IntegrityError"
            assert any(name in document["error"]["message"] for name in missing)


@pytest.mark.parametrize(("kind", "harm"), RECORDS)
def test_verification_of_a_harmed_pack_names_exactly_what_is_lost_and_who_needs_it(
    world: World, needed: dict[str, set[Key]], hypercbt: Run, kind: int, harm: str
) -> None:
    name = world.pack_of(world.first).name
    gone = harm_record(world, kind, harm)
    code, document = hypercbt("verify")
    assert (code, document["clean"]) == (3, False)
    kinds = {"chunk": packs.CHUNK, "node": packs.NODE}
    told = {(kinds[r["kind"]], bytes.fromhex(r["id"])): r for r in document["damaged"]}
    # What hangs below a node that is lost nobody can know any more: then the node alone is named.
    known = {point: keys & nodes(gone) or keys for point, keys in needed.items()}
    assert gone & set().union(*known.values()) <= told.keys() <= gone
    for key, record in told.items():
        points = {point for point, keys in known.items() if key in keys}
        assert (record["lost"], set(record["points"])) == (bool(points), points)
    if not gone:
        assert any(name in line for line in document["damaged_objects"])


@pytest.mark.parametrize(("kind", "harm"), RECORDS)
def test_a_backup_after_a_pack_was_harmed_harms_nothing_more_and_heals_once_it_is_known(
    world: World, needed: dict[str, set[Key]], hypercbt: Run, kind: int, harm: str
) -> None:
    """A flipped bit looks like no damage until somebody reads it; a missing or short pack does."""
    gone = harm_record(world, kind, harm)
    code, before = hypercbt("backup", world.disk)
    assert code == 0
    world.states[before["restore_point"]] = world.disk.read_bytes()
    code, _ = restores(hypercbt, world, before["restore_point"])
    if harm in ("truncate", "delete", "append"):
        assert code == 0
    assert restores(hypercbt, world, world.other)[0] == 0

    hypercbt("verify")
    code, after = hypercbt("backup", world.disk)
    assert code == 0
    world.states[after["restore_point"]] = world.disk.read_bytes()
    assert restores(hypercbt, world, after["restore_point"])[0] == 0
    assert restores(hypercbt, world, before["restore_point"])[0] == 0
    # What the disk still holds came back for the older points too; the chunk that it no longer
    # holds, and the node of a disk that was, are gone for good.
    still = gone & needed[world.second]
    for point in (world.first, world.second):
        whole = not (gone - still) & needed[point]
        assert restores(hypercbt, world, point)[0] == (0 if whole else 3)
    del world.states[before["restore_point"]], world.states[after["restore_point"]]


# The index: nothing is lost with it.

PLACES = {
    "header": 0,
    "packs": 70,
    "page": 4100,
    "fence": 8192,
    "filter": -80,
    "trailer": -60,
}
SEGMENTS = [
    *(pytest.param(harm, 4100, id=harm) for harm in HARMS if harm != "flip"),
    *(pytest.param("flip", at, id=f"flip-{name}") for name, at in PLACES.items()),
]


def harm_segment(world: World, harm: str, at: int) -> str:
    """Harm the segment of the first run, and return its name."""
    path = world.segment_of(world.first)
    size = path.stat().st_size
    at = at if at >= 0 else size + at
    HARMS[harm](path, at, at + 1 if harm == "flip" else size)
    return path.name


@pytest.mark.parametrize(("harm", "at"), SEGMENTS)
def test_without_a_segment_every_point_is_listed_and_restores(
    world: World, hypercbt: Run, harm: str, at: int
) -> None:
    harm_segment(world, harm, at)
    assert len(hypercbt("points")[1]["points"]) == 3
    for point in world.states:
        assert restores(hypercbt, world, point)[0] == 0


@pytest.mark.parametrize(("harm", "at"), SEGMENTS)
def test_verification_names_a_harmed_segment_and_says_that_nothing_is_lost(
    world: World, hypercbt: Run, harm: str, at: int
) -> None:
    name = harm_segment(world, harm, at)
    code, document = hypercbt("verify")
    assert document["damaged"] == []
    if harm == "delete":  # every run may delete segments that it merged
        assert (code, document["damaged_objects"]) == (0, [])
    else:
        assert code == 3
        assert [name in line for line in document["damaged_objects"]] == [True]


@pytest.mark.parametrize(("harm", "at"), SEGMENTS)
def test_a_backup_replaces_a_harmed_segment_and_stores_nothing_twice(
    world: World, hypercbt: Run, harm: str, at: int
) -> None:
    harm_segment(world, harm, at)
    # A page is only found damaged when something is looked up in it, as a full backup does.
    code, document = hypercbt("backup", world.disk, "--full")
    assert code == 0
    assert document["disks"][0]["new_chunks"] == 0
    for point in world.states:
        assert restores(hypercbt, world, point)[0] == 0
    code, document = hypercbt("verify")
    if at != PLACES["filter"]:  # a filter that is ignored stays where it is
        assert document["damaged_objects"] == []
        assert code == 0


# Restore points: the others stand, and the harmed one is named.


def harm_point(world: World, harm: str) -> None:
    path = world.repository / "point" / world.second
    HARMS[harm](path, 64, path.stat().st_size)


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_point_is_named_beside_the_others(
    world: World, hypercbt: Run, harm: str
) -> None:
    harm_point(world, harm)
    code, document = hypercbt("points")
    assert {p["restore_point"] for p in document["points"]} == {
        world.first,
        world.other,
    }
    if harm == "delete":  # as if somebody had deleted it
        assert (code, document["damaged"]) == (0, [])
    else:
        assert code == 3
        assert [world.second in line for line in document["damaged"]] == [True]


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_point_cannot_be_restored_and_the_others_can(
    world: World, hypercbt: Run, harm: str
) -> None:
    harm_point(world, harm)
    code, document = restores(hypercbt, world, world.second)
    assert world.second in document["error"]["message"]
    expected = (1, "PointNotFoundError") if harm == "delete" else (3, "IntegrityError")
    assert (code, document["error"]["type"]) == expected
    assert restores(hypercbt, world, world.first)[0] == 0
    assert restores(hypercbt, world, world.other)[0] == 0


@pytest.mark.parametrize("harm", HARMS)
def test_verification_names_a_harmed_point(
    world: World, hypercbt: Run, harm: str
) -> None:
    harm_point(world, harm)
    code, document = hypercbt("verify")
    assert document["damaged"] == []
    if harm == "delete":
        assert code == 0
    else:
        assert code == 3
        assert [world.second in line for line in document["damaged_objects"]] == [True]


@pytest.mark.parametrize("harm", HARMS)
def test_a_backup_beside_a_harmed_point_builds_on_the_one_before(
    world: World, hypercbt: Run, harm: str
) -> None:
    harm_point(world, harm)
    code, document = hypercbt("backup", world.disk)
    assert code == 0
    point = document["restore_point"]
    world.states[point] = world.disk.read_bytes()
    assert restores(hypercbt, world, point)[0] == 0
    del world.states[point]
    assert document["disks"][0]["new_chunks"] == 0
    for older in (world.first, world.other):
        assert restores(hypercbt, world, older)[0] == 0
    code, document = hypercbt(
        "backup", world.disk, "--changes", changes_file(world), "--since", world.second
    )
    assert code != 0
    assert document["error"]["type"] == (
        "PointNotFoundError" if harm == "delete" else "IntegrityError"
    )


def changes_file(world: World) -> Path:
    path = world.folder / "changes.json"
    path.write_text("[]")
    return path


# The config: without it nothing opens, and with it everything is there again.


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("command", ["points", "restore", "verify", "backup"])
def test_without_its_config_a_repository_is_not_touched(
    world: World, hypercbt: Run, harm: str, command: str
) -> None:
    config = world.repository / "config"
    before = config.read_bytes()
    HARMS[harm](config, 64, len(before))
    arguments: dict[str, list[str | Path]] = {
        "points": [],
        "restore": [world.first, world.folder / "out.raw"],
        "verify": [],
        "backup": [world.disk],
    }
    files = sorted(world.repository.rglob("*"))
    code, document = hypercbt(command, *arguments[command])
    expected = (
        (4, "RepositoryNotFoundError") if harm == "delete" else (3, "IntegrityError")
    )
    assert (code, document["error"]["type"]) == expected
    assert sorted(world.repository.rglob("*")) == files
    config.write_bytes(before)
    for point in world.states:
        assert restores(hypercbt, world, point)[0] == 0


# What stops nobody, because only a collection, a look at the damage or a look at the past asks for it.


def harm_note(world: World, folder: str, harm: str) -> str:
    """Harm the newest object of a folder, and return its name."""
    path = max(
        (world.repository / folder).iterdir(), key=lambda path: path.stat().st_mtime_ns
    )
    HARMS[harm](path, 64, path.stat().st_size)
    return f"{folder}/{path.name}"


def miss_a_change(world: World, hypercbt: Run) -> None:
    """Leave a change out of a list, and let an audit find it one point later."""
    path = changes_file(world)
    overwrite(world.disk, (3 * CHUNK, b"unseen"))
    options = ("--changes", path, "--since", "web01@latest", "--audit")
    assert hypercbt("backup", world.disk, *options, "off")[0] == 0
    assert hypercbt("backup", world.disk, *options, "full")[0] == 5
    assert len(list((world.repository / "suspect").iterdir())) == 1


def damage_a_chunk(world: World, hypercbt: Run) -> None:
    """Let verification put a chunk of the first point on the damage list."""
    harm_record(world, packs.CHUNK, "flip")
    assert hypercbt("verify")[0] == 3
    assert len(list((world.repository / "damage").iterdir())) == 1
    del world.states[world.first], world.states[world.second]


NOTES = ["lease", "closed", "suspect", "damage"]


@pytest.fixture
def noted(request: pytest.FixtureRequest, world: World, hypercbt: Run) -> str:
    folder: str = request.param
    if folder == "suspect":
        miss_a_change(world, hypercbt)
    if folder == "damage":
        damage_a_chunk(world, hypercbt)
    return folder


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("noted", NOTES, indirect=True)
def test_a_harmed_note_stops_nobody_and_verification_names_it(
    world: World, hypercbt: Run, noted: str, harm: str
) -> None:
    points = len(hypercbt("points")[1]["points"])
    found = hypercbt("verify")[1]["damaged_objects"]
    name = harm_note(world, noted, harm)
    code, document = hypercbt("points")
    assert code in (0, 3)
    assert len(document["points"]) == points
    for point in world.states:
        assert restores(hypercbt, world, point)[0] == 0
    code, document = hypercbt("verify")
    if harm == "delete":  # who deleted it may have had a reason
        assert document["damaged_objects"] == found
    else:
        assert code == 3
        assert any(name in line for line in document["damaged_objects"])
    code, document = hypercbt("backup", world.disk)
    assert code == 0
    world.states[document["restore_point"]] = world.disk.read_bytes()
    assert restores(hypercbt, world, document["restore_point"])[0] == 0

"""Once damage is known, each way of backing up stores it again, and the older points restore again."""

from pathlib import Path
from typing import Any

import pytest

import hypercbt
from hypercbt import Repository, errors
from reader.binary import blake3_of
from reader.repository import damaged_places
from support import overwrite

from .harm import flip
from .world import CHUNK, World, build

WAYS: dict[str, dict[str, Any]] = {
    "list": {"changes": []},
    "compare": {},
    "full": {"full": True},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("original"))


def flip_chunk(world: World, number: int) -> str:
    """Flip a bit of a chunk of `web01` where it is stored, and return its id."""
    chunk = world.disk.read_bytes()[number * CHUNK : (number + 1) * CHUNK]
    path = world.pack_of(world.first)
    at = path.read_bytes().index(chunk)  # noise is stored plain
    flip(path, at, at + CHUNK)
    return blake3_of(chunk).hex()


@pytest.mark.parametrize("way", WAYS)
def test_a_chunk_on_the_damage_list_is_stored_again(
    original: World, tmp_path: Path, way: str
) -> None:
    world = original.copy(tmp_path / "world")
    damaged = flip_chunk(world, 3)
    with Repository.open(world.repository) as repository:
        second = repository.point(world.second)
        with pytest.raises(errors.IntegrityError, match=damaged):
            second.open().read()
        report = repository.verify()
        [record] = report.damaged
        assert (record.kind, record.id, record.lost) == ("chunk", damaged, True)
        assert set(record.points) == {world.first, world.second}
        [(pack, _)] = damaged_places(world.repository)
        assert pack == world.pack_of(world.first).name

        options = WAYS[way] | ({"since": second} if way == "list" else {})
        healed = hypercbt.backup_disk(
            world.disk, repository=repository, audit="off", **options
        )
        assert healed.stats.new_bytes == CHUNK
        for point in (healed, second, repository.point(world.first)):
            restored = point.open().read()
            assert restored == world.states.get(point.id, world.disk.read_bytes())

        report = repository.verify()
        assert [(record.id, record.lost) for record in report.damaged] == [
            (damaged, False)
        ]
        again = hypercbt.backup_disk(
            world.disk, repository=repository, audit="off", **options
        )
        assert again.stats.new_bytes == 0


def test_damage_that_nobody_has_seen_yet_gives_no_wrong_byte(
    original: World, tmp_path: Path
) -> None:
    """A backup trusts what it does not read; the restore does not."""
    world = original.copy(tmp_path / "world")
    damaged = flip_chunk(world, 0)
    with Repository.open(world.repository) as repository:
        point = hypercbt.backup_disk(world.disk, repository=repository)
        file = point.open()
        with pytest.raises(errors.IntegrityError, match=damaged):
            file.read_at(0, 1)
        assert file.read_at(CHUNK, 3 * CHUNK) == world.disk.read_bytes()[CHUNK:]


def test_a_sample_and_what_is_new_since_a_point_find_what_they_read(
    original: World, tmp_path: Path
) -> None:
    world = original.copy(tmp_path / "world")
    damaged = flip_chunk(world, 1)
    with Repository.open(world.repository) as repository:
        assert repository.verify(since=world.first).clean  # it is not new since then
        report = repository.verify(sample_percent=100)
        assert [record.id for record in report.damaged] == [damaged]
        overwrite(world.disk, (0, b"new"))
        new = hypercbt.backup_disk(world.disk, repository=repository)
        assert new.stats.new_bytes == 2 * CHUNK  # and the damaged one
        at = world.pack_of(new.id).read_bytes().index(b"new")
        flip(world.pack_of(new.id), at, at + 2)
        report = repository.verify(since=world.second)
        assert [record.points for record in report.damaged] == [(new.id,)]


def test_a_tree_node_on_the_damage_list_is_stored_again(
    original: World, tmp_path: Path
) -> None:
    world = original.copy(tmp_path / "world")
    path = world.pack_of(world.second)
    data = path.read_bytes()
    at = 64
    while data[at + 4] != 2:
        at += 96 + int.from_bytes(data[at + 12 : at + 16], "little")
    flip(path, at + 96, at + 100)
    with Repository.open(world.repository) as repository:
        report = repository.verify()
        assert [(record.kind, record.lost) for record in report.damaged] == [
            ("node", True)
        ]
        assert report.damaged[0].points == (world.second,)
        since = repository.point(world.second)
        hypercbt.backup_disk(world.disk, repository=repository, changes=[], since=since)
        assert since.open().read() == world.states[world.second]


def test_a_point_can_be_deleted_whatever_is_damaged(
    original: World, tmp_path: Path
) -> None:
    world = original.copy(tmp_path / "world")
    world.pack_of(world.first).unlink()
    with Repository.open(world.repository) as repository:
        repository.delete(world.first)
        repository.delete(world.second)
        assert [point.id for point in repository.points()] == [world.other]
        assert repository.point(world.other).open().read() == world.states[world.other]
        report = repository.verify()
        assert not any(record.lost for record in report.damaged)

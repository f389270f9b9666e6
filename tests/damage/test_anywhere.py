"""Damage at random places: never a wrong byte, and a verification that sees every single one."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from hypercbt import Repository, errors

from .world import World, build

CASES = 150


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("original"))


def flip_a_bit(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def zero_a_sector(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data)) // 512 * 512
    data[at : at + 512] = bytes(len(data[at : at + 512]))


def cut_off(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def copy_a_stretch(data: bytearray, rng: random.Random) -> None:
    """A misdirected write: right bytes in a wrong place."""
    source, target = (rng.randrange(len(data)) for _ in range(2))
    piece = data[source : source + 64]
    data[target : target + len(piece)] = piece[: len(data) - target]


ACTS: list[Callable[[bytearray, random.Random], None]] = [
    flip_a_bit,
    zero_a_sector,
    cut_off,
    copy_a_stretch,
]


def files(repository: Path) -> list[Path]:
    """Every file; each as often as any other, however small it is."""
    return sorted(path for path in repository.rglob("*") if path.is_file())


def restores_or_says_why(world: World) -> bool:
    """Return whether verification finds nothing. Whatever a point reads as is right, or an error."""
    try:
        with Repository.open(world.repository) as repository:
            for point in repository.points():
                try:
                    content = point.open().read()
                except errors.IntegrityError:
                    continue
                assert content == world.states[point.id]
            return repository.verify().clean
    except (errors.IntegrityError, errors.RepositoryFormatError):
        return False


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_no_damage_goes_unseen_or_gives_a_wrong_byte(
    original: World, tmp_path: Path, act: Callable[[bytearray, random.Random], None]
) -> None:
    world = original.copy(tmp_path / "world")
    assert restores_or_says_why(world)
    rng = random.Random(act.__name__)
    for _ in range(CASES // len(ACTS)):
        path = rng.choice(files(world.repository))
        before = path.read_bytes()
        data = bytearray(before)
        act(data, rng)
        path.write_bytes(data)
        assert restores_or_says_why(world) == (data == before), (path, len(data))
        path.write_bytes(before)
        for note in (world.repository / "damage").glob("*"):
            note.unlink()
    assert restores_or_says_why(world)


def test_several_damages_at_once_give_no_wrong_byte(
    original: World, tmp_path: Path
) -> None:
    rng = random.Random(5)
    for number in range(25):
        world = original.copy(tmp_path / str(number))
        for path in rng.sample(files(world.repository), 4):
            data = bytearray(path.read_bytes())
            rng.choice(ACTS)(data, rng)
            path.write_bytes(data)
        restores_or_says_why(world)

"""kill -9 at numbered storage calls, with half of what was being written written.

Two hundred places are spread over a first backup, one by a list of changes and one by comparing, each in
a repository that holds older points and enough index segments that the run merges them. After each: every
older point restores byte for byte, verification is clean, the next run completes, and so does its restore.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hypercbt import Repository
from support import overwrite

from .scene import ABORTED, Scene, count_calls
from .workers import Ended, Worker

CHUNK = 64 << 10
CHUNKS = 48
PLACES = 67
"""For each of three kinds of run: two hundred and one."""


def make_scene(folder: Path, runs: int) -> Scene:
    """Make a repository with a point of another machine and some of `web01`."""
    scene = Scene(folder)
    folder.mkdir()
    rng = random.Random(1)
    Repository.create(scene.repository, chunk_size=CHUNK).close()
    scene.disk.write_bytes(rng.randbytes(4 * CHUNK))
    scene.back_up(name="db01")
    scene.disk.write_bytes(rng.randbytes(CHUNKS * CHUNK))
    for number in range(runs):
        overwrite(scene.disk, (number * CHUNK, b"run %d" % number))
        scene.back_up()
    return scene


@dataclass(frozen=True)
class Interrupted:
    """A run that can be interrupted: its scene, its options, and how many storage calls it makes."""

    scene: Scene
    options: dict[str, Any]
    calls: int

    def at(self, place: int) -> int:
        """Return the number of a storage call: the places are spread over all of them."""
        return place * (self.calls - 1) // (PLACES - 1)


def changed(scene: Scene) -> list[tuple[int, int]]:
    """Change half of the chunks, and return where."""
    places = [number * CHUNK + 77 for number in range(0, CHUNKS, 2)]
    overwrite(scene.disk, *((at, b"changed") for at in places))
    return [(at, 7) for at in places]


def first(folder: Path) -> tuple[Scene, dict[str, Any]]:
    return make_scene(folder, 0), {}


def by_list(folder: Path) -> tuple[Scene, dict[str, Any]]:
    scene = make_scene(folder, 6)
    return scene, {"since": list(scene.states)[-1], "changes": changed(scene)}


def by_comparing(folder: Path) -> tuple[Scene, dict[str, Any]]:
    scene = make_scene(folder, 6)
    changed(scene)
    return scene, {}


KINDS: list[Callable[[Path], tuple[Scene, dict[str, Any]]]] = [
    first,
    by_list,
    by_comparing,
]


def back_up(
    worker: Worker, scene: Scene, options: dict[str, Any], abort_at: int | None
) -> Ended:
    return worker.run(
        "backup",
        scene.repository,
        abort_at=abort_at,
        disk=str(scene.disk),
        options=options,
    )


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def interrupted(
    request: pytest.FixtureRequest, folders: Path, worker: Worker
) -> Interrupted:
    kind: Callable[[Path], tuple[Scene, dict[str, Any]]] = request.param
    scene, options = kind(folders / kind.__name__)
    copies = iter(range(1000))

    def run(abort_at: int) -> Ended:
        copy = scene.copy(folders / f"{kind.__name__}-{next(copies)}")
        return back_up(worker, copy, options, abort_at)

    return Interrupted(scene, options, count_calls(run))


def test_a_run_makes_a_call_for_each_place_and_merges_segments(
    interrupted: Interrupted, folder: Path, worker: Worker
) -> None:
    assert interrupted.calls >= PLACES
    scene = interrupted.scene.copy(folder / "scene")
    assert back_up(worker, scene, interrupted.options, None).code == 0
    scene.check()
    segments = len(list((scene.repository / "index").iterdir()))
    assert segments == (1 if interrupted.scene.folder.name != "first" else 2)


@pytest.mark.parametrize("place", range(PLACES))
def test_a_killed_backup_harms_nothing_and_the_next_completes(
    interrupted: Interrupted, folder: Path, worker: Worker, place: int
) -> None:
    scene, options = interrupted.scene.copy(folder / "scene"), interrupted.options
    ended = back_up(worker, scene, options, interrupted.at(place))
    # Threads take turns: the last call of one run may be the last but one of another.
    assert ended.code == ABORTED or place == PLACES - 1
    scene.check_next(lambda scene: scene.back_up(**options))


# Deleting a point, and verifying where there is damage.


def damaged(folder: Path) -> Scene:
    """Make a scene in which a chunk of the newest point is damaged, and was not before."""
    scene = make_scene(folder, 2)
    scene.disk.write_bytes(random.Random(3).randbytes(CHUNKS * CHUNK))
    point = scene.back_up()
    [path] = [
        path
        for path in scene.repository.glob("pack/*/*")
        if path.read_bytes()[16:32].hex() == point.id
    ]
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    return scene


def test_a_killed_deletion_deletes_or_does_not(
    folders: Path, folder: Path, worker: Worker
) -> None:
    original = make_scene(folder / "original", 3)
    oldest, gone = list(original.states)[:2]
    at, deleted = 0, False
    while not deleted:
        scene = original.copy(folder / str(at))
        ended = worker.run("delete", scene.repository, abort_at=at, point=gone)
        deleted = ended.code == 0
        with Repository.open(scene.repository) as repository:
            ids = {point.id for point in repository.points()}
            if gone in ids:
                repository.delete(gone)
        assert {oldest} <= ids
        del scene.states[gone]
        scene.check_next(lambda scene: scene.back_up())
        at += 1
    assert at > 3


def test_a_killed_verification_finds_the_damage_again(
    folder: Path, worker: Worker
) -> None:
    original = damaged(folder / "original")
    newest = list(original.states)[-1]
    at, finished = 0, False
    while not finished:
        scene = original.copy(folder / str(at))
        finished = worker.run("verify", scene.repository, abort_at=at).code == 0
        with Repository.open(scene.repository) as repository:
            report = repository.verify()
            assert [(r.kind, r.points) for r in report.damaged] == [
                ("chunk", (newest,))
            ]
            assert report.damaged_objects == ()
        scene.back_up()  # heals
        with Repository.open(scene.repository) as repository:
            for point, state in scene.states.items():
                assert repository.point(point).open().read() == state
        at += 3
    assert at > 9


def test_a_killed_repair_of_the_index_is_finished_by_the_next_run(
    folder: Path, worker: Worker
) -> None:
    """One segment is gone and one is damaged: the run replaces both from the footers of their packs."""
    original = make_scene(folder / "original", 4)
    gone, broken, *_ = sorted((original.repository / "index").iterdir())
    gone.unlink()
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:-1])
    changed(original)
    at, finished = 0, False
    while not finished:
        scene = original.copy(folder / str(at))
        finished = back_up(worker, scene, {}, at).code == 0
        with Repository.open(scene.repository) as repository:
            for point, state in scene.states.items():
                assert repository.point(point).open().read() == state
        scene.back_up()
        scene.check()
        at += 7
    assert at > 9

"""SIGKILL from outside at moments that nobody chose, in a backup that takes a while."""

import random
import shutil
from pathlib import Path

import pytest

from hypercbt import Repository

from .scene import KILLED, Scene
from .workers import Worker

DISK_BYTES = 32 << 20
RUNS = 20


@pytest.fixture(scope="module")
def original(folders: Path) -> Scene:
    """A disk of 32 MiB that is to be backed up for the first time, in chunks of 64 KiB."""
    scene = Scene(folders / "original")
    scene.folder.mkdir()
    rng = random.Random(1)
    Repository.create(scene.repository, chunk_size=64 << 10).close()
    scene.disk.write_bytes(rng.randbytes(4 << 20))
    scene.back_up(name="db01")
    scene.disk.write_bytes(rng.randbytes(DISK_BYTES))
    return scene


def test_backups_killed_at_random_moments_harm_nothing(
    original: Scene, folder: Path, worker: Worker
) -> None:
    scene = original.copy(folder / "timed")
    whole = worker.run("backup", scene.repository, disk=str(scene.disk), options={})
    assert whole.code == 0
    rng = random.Random(20)
    killed, longest = 0, whole.seconds
    for number in range(RUNS):
        scene = original.copy(folder / str(number))
        after = rng.uniform(0, longest)
        ended = worker.run(
            "backup",
            scene.repository,
            kill_after=after,
            disk=str(scene.disk),
            options={},
        )
        if ended.code == KILLED:
            killed += 1
        else:  # the machine is faster than it was: the next ones are to be in time again
            longest = after
        scene.check()
        if number % 5 == 0:
            scene.back_up()
            scene.check()
        shutil.rmtree(scene.folder)
    assert killed > RUNS // 4

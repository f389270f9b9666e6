"""Several processes use one repository at once, without locks and without harm."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hypercbt
from crash.workers import Ended, started_worker
from hypercbt import Repository
from reader.repository import ReferenceRepository
from support import overwrite

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker forks")

CHUNK = 64 << 10
ROUNDS = 8


def test_two_processes_back_up_one_name_at_once(tmp_path: Path) -> None:
    """Again and again, so that both also merge the segments of the other."""
    repository = Repository.create(tmp_path / "repository", chunk_size=CHUNK)
    rng = random.Random(1)
    disks = [tmp_path / "a.raw", tmp_path / "b.raw"]
    shared = rng.randbytes(4 * CHUNK)
    states = []
    with (
        started_worker() as one,
        started_worker() as two,
        ThreadPoolExecutor(2) as pool,
    ):
        for _ in range(ROUNDS):
            for disk in disks:
                disk.write_bytes(shared + rng.randbytes(4 * CHUNK))
                states.append(disk.read_bytes())
            options: dict[str, Any] = {"name": "web01"}

            def back_up(which: int, options: dict[str, Any] = options) -> Ended:
                worker, disk = (one, two)[which], str(disks[which])
                return worker.run(
                    "backup", tmp_path / "repository", disk=disk, options=options
                )

            assert [ended.code for ended in pool.map(back_up, (0, 1))] == [0, 0]
    points = repository.points("web01")
    assert sorted(point.open().read() for point in points) == sorted(states)
    assert repository.verify().clean
    reader = ReferenceRepository(tmp_path / "repository")
    assert len(reader.points()) == 2 * ROUNDS
    assert set(reader.closed().values()) == {"committed"}


def test_reading_goes_on_while_backups_merge_segments(tmp_path: Path) -> None:
    """A point is restored and everything is verified again and again; nothing looks damaged meanwhile."""
    disk = tmp_path / "web01.raw"
    disk.write_bytes(random.Random(2).randbytes(16 * CHUNK))
    with Repository.create(tmp_path / "repository", chunk_size=CHUNK) as repository:
        first = hypercbt.backup_disk(disk, repository=repository)
    state = disk.read_bytes()
    done = False

    def back_up() -> list[int]:
        nonlocal done
        codes = []
        with started_worker() as worker:
            for number in range(18):
                overwrite(disk, (number % 16 * CHUNK, b"state %d" % number))
                ended = worker.run(
                    "backup", tmp_path / "repository", disk=str(disk), options={}
                )
                codes.append(ended.code)
        done = True
        return codes

    with (
        ThreadPoolExecutor(1) as pool,
        Repository.open(tmp_path / "repository") as reading,
    ):
        old = reading.point(first.id)
        writing = pool.submit(back_up)
        reads = 0
        while not done and not writing.done():
            assert old.open().read() == state
            assert reading.verify().clean
            with Repository.open(tmp_path / "repository") as fresh:
                assert fresh.point(first.id).open().read() == state
            reads += 1
        assert writing.result() == [0] * 18
        assert reads > 0
        levels = [
            s.level
            for s in ReferenceRepository(tmp_path / "repository").segments.values()
        ]
        assert max(levels) > 0

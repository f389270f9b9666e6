"""Repositories to be interrupted in, and what must hold after an interruption."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypercbt
from hypercbt import Repository

from . import worker

KILLED = -signal.SIGKILL if hasattr(signal, "SIGKILL") else 0
ABORTED = -signal.SIGABRT


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    seconds: float


class Worker:
    """The other end of `worker.py`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(
        self,
        action: str,
        repository: Path,
        *,
        abort_at: int | None = None,
        kill_after: float | None = None,
        **arguments: Any,
    ) -> Ended:
        """Run one command in a process of its own, and interrupt it if that is said."""
        interruption = {"abort_at": abort_at, "kill_after": kill_after}
        command = (
            {"action": action, "repository": str(repository)} | interruption | arguments
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


@contextmanager
def started_worker() -> Iterator[Worker]:
    """Start a worker, and stop it at the end."""
    with subprocess.Popen(
        [sys.executable, str(Path(worker.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Worker(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


def fast_folder() -> str | None:
    """Return a folder in memory if there is one: a killed process loses nothing that it wrote, synced or not."""
    memory = "/dev/shm"
    return memory if os.access(memory, os.W_OK) else None


@dataclass
class Scene:
    """A repository with older points, and a disk that is to be backed up next."""

    folder: Path
    states: dict[str, bytes] = field(default_factory=dict)

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def disk(self) -> Path:
        return self.folder / "web01.raw"

    def back_up(self, **options: Any) -> hypercbt.RestorePoint:
        """Back the disk up, uninterrupted."""
        point = hypercbt.backup_disk(self.disk, repository=self.repository, **options)
        self.states[point.id] = self.disk.read_bytes()
        return point

    def copy(self, folder: Path) -> "Scene":
        """Return a copy that may be interrupted."""
        shutil.copytree(self.folder, folder)
        return Scene(folder, dict(self.states))

    def check(self) -> None:
        """Every older point restores, a new one is whole or not there, and nothing is damaged."""
        state = self.disk.read_bytes()
        with Repository.open(self.repository) as repository:
            points = {point.id: point for point in repository.points()}
            assert self.states.keys() <= points.keys()
            for point in points.values():
                assert point.open().read() == self.states.get(point.id, state)
            report = repository.verify()
            assert report.clean, report
            assert repository.damaged_points() == []

    def check_next(self, next_run: Callable[["Scene"], object]) -> None:
        """The next run completes, and so does everything that is checked after it."""
        self.check()
        next_run(self)
        self.check()


def count_calls(run: Callable[[int], Ended]) -> int:
    """Return how many storage calls a run makes: the first number at which it is not aborted any more."""
    below, above = -1, 1
    while run(above).code == ABORTED:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (above + below) // 2
        if run(middle).code == ABORTED:
            below = middle
        else:
            above = middle
    return above

"""Repositories to be interrupted in, and what must hold after an interruption."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypercbt
from hypercbt import Repository

from .workers import Ended

KILLED = -signal.SIGKILL if hasattr(signal, "SIGKILL") else 0
ABORTED = -signal.SIGABRT


ROOM = 2 << 30
"""What scenes may take where they stand, with those of other processes that run tests."""


def fast_folder() -> str | None:
    """Return a folder in memory if one has room: a killed process loses nothing that it wrote, synced or not."""
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ROOM:
        return None  # containers often have 64 MiB of it
    return memory


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

"""Progress on standard error: a bar on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from hypercbt.cli.text import size
from hypercbt.models import Progress as ProgressCallback

LINE_EVERY_SECONDS = 10.0


@contextmanager
def shown_progress(what: str) -> Iterator[ProgressCallback]:
    """Give a callback that shows how far the work on `what` is."""
    console = Console(stderr=True, markup=False)
    if not console.is_terminal:
        yield Lines(what, console.print, time.monotonic)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(what, progress)


class Bars:
    """One bar for each phase of the work."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what = what
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, phase: str, done_bytes: int, total_bytes: int) -> None:
        """Move the bar of this phase."""
        if phase not in self._tasks:
            description = f"{phase} {self._what}"
            self._tasks[phase] = self._progress.add_task(description, total=None)
        number = self._tasks[phase]
        # Not by `update`: it would take a total that grows for a new start, and forget the rate.
        self._progress.tasks[number].total = total_bytes or None
        self._progress.update(number, completed=done_bytes)


class Lines:
    """A line every few seconds: a log file is no terminal."""

    def __init__(
        self, what: str, write: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._what = what
        self._write = write
        self._clock = clock
        self._phase = ""
        self._started = self._said = clock()
        self._done_at_start = 0

    def __call__(self, phase: str, done_bytes: int, total_bytes: int) -> None:
        """Write a line if the last one is old enough."""
        now = self._clock()
        if phase != self._phase:
            self._phase, self._started, self._done_at_start = phase, now, done_bytes
        if now - self._said < LINE_EVERY_SECONDS:
            return
        self._said = now
        rate = (done_bytes - self._done_at_start) / max(now - self._started, 1e-3)
        line = f"{phase} {self._what}: {size(done_bytes)} of {size(total_bytes)}, {size(rate)}/s"
        if rate > 0 and total_bytes > done_bytes:
            line += f", {(total_bytes - done_bytes) / rate:.0f} s left"
        self._write(line)

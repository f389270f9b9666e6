"""Progress where nobody watches a terminal."""

import io

from rich.console import Console
from rich.progress import Progress

from hypercbt.cli.progress import Bars, Lines


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_comes_only_now_and_then() -> None:
    clock, written = Clock(), list[str]()
    lines = Lines("web01", written.append, clock)
    for _ in range(250):
        clock.now += 0.1
        lines("backup", int((clock.now - 100) * (1 << 20)), 100 << 20)
    assert len(written) == 2


def test_a_line_says_how_much_how_fast_and_how_long() -> None:
    clock, written = Clock(), list[str]()
    lines = Lines("web01", written.append, clock)
    lines("backup", 0, 100 << 20)
    clock.now += 10
    lines("backup", 20 << 20, 100 << 20)
    assert written == ["backup web01: 20.0 MiB of 100.0 MiB, 2.0 MiB/s, 40 s left"]


def test_each_phase_has_its_own_rate() -> None:
    clock, written = Clock(), list[str]()
    lines = Lines("web01", written.append, clock)
    lines("backup", 500 << 20, 500 << 20)
    clock.now += 5
    lines("audit", 0, 30 << 20)
    clock.now += 10
    lines("audit", 10 << 20, 30 << 20)
    assert written == ["audit web01: 10.0 MiB of 30.0 MiB, 1.0 MiB/s, 20 s left"]


def test_a_total_that_is_not_known_yet_is_no_error() -> None:
    clock, written = Clock(), list[str]()
    lines = Lines("web01", written.append, clock)
    clock.now += 11
    lines("backup", 0, 0)
    assert written == ["backup web01: 0 B of 0 B, 0 B/s"]


def test_a_total_that_grows_does_not_forget_the_rate() -> None:
    clock = Clock()
    progress = Progress(console=Console(file=io.StringIO()), get_time=clock)
    bars = Bars("web01", progress)
    for second in range(5):
        clock.now += 1
        bars("backup", second << 20, (second + 2) << 20)
    (task,) = progress.tasks
    assert task.description == "backup web01"
    assert (task.completed, task.total) == (4 << 20, 6 << 20)
    assert task.speed == 1 << 20
    bars("audit", 0, 0)
    assert [task.total for task in progress.tasks] == [6 << 20, None]

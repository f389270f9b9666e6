"""What time it is on the simulated host, and what is to happen when."""

import heapq
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

NEVER = datetime(1601, 1, 1, tzinfo=UTC)
"""How a host says that something has not happened yet."""


class Clock(Protocol):
    """Where a host has its time from."""

    def now(self) -> datetime:
        """The time, in UTC."""
        ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that a test moves, so that nothing waits and everything can be repeated.

    Args:
        start: The first time.
        step_seconds: How much later it is each time that somebody looks. So a job ends after so many questions.
    """

    def __init__(
        self,
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        *,
        step_seconds: float = 0.0,
    ) -> None:
        self._now = start
        self._step = timedelta(seconds=step_seconds)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The time, in UTC; it passes by looking."""
        with self._lock:
            self._now += self._step
            return self._now

    def advance(self, seconds: float) -> None:
        """Move on. What is due happens when the host is next asked."""
        with self._lock:
            self._now += timedelta(seconds=seconds)


class Agenda:
    """What is to happen when. Not for several threads at once: the model's lock is held."""

    def __init__(self) -> None:
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._made = 0
        self.changed: Callable[[], None] = lambda: None
        """Is called when there is more to do."""

    def at(self, when: datetime, what: Callable[[], None]) -> None:
        """Note something. Of two at one time the first noted comes first."""
        self._made += 1
        heapq.heappush(self._due, (when, self._made, what))
        self.changed()

    def next(self) -> datetime | None:
        """When there is something to do."""
        return self._due[0][0] if self._due else None

    def run(self, now: datetime) -> None:
        """Do all that is due, what becomes due by it too."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

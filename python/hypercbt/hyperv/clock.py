"""Waiting for a host: how long, how often, and by whose clock.

Everything that waits takes a clock, so that tests need no time.
"""

import time
from typing import Protocol

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
GROWTH = 1.5


class Clock(Protocol):
    """What time it is, and to let some of it pass."""

    def now(self) -> float:
        """Return seconds since some moment. Never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`. What a signal handler raises ends it."""
        ...


class SystemClock:
    """This machine's."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


class Pauses:
    """A bounded wait, in pauses that grow: short work is seen at once, long work costs few requests.

    Args:
        seconds: For how long.
        clock: By which clock.
        longest_pause: What the pauses grow to.
    """

    def __init__(
        self,
        seconds: float,
        clock: Clock = SYSTEM_CLOCK,
        *,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._clock = clock
        self._end = clock.now() + seconds
        self._pause = min(FIRST_PAUSE_SECONDS, longest_pause)
        self._longest_pause = longest_pause

    def pause(self) -> bool:
        """Let the next pause pass. False, at once, where the time is over."""
        left = self._end - self._clock.now()
        if left <= 0:
            return False
        self._clock.sleep(min(self._pause, left))
        self._pause = min(self._pause * GROWTH, self._longest_pause)
        return True

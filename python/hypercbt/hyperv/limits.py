"""How long a backup waits for what: everything in it that takes a host time is bounded here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from hypercbt.errors import HostJobError, HostUnreachableError, VmBusyError
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock, Pauses

Result = TypeVar("Result")

TRANSIENT = (HostJobError, HostUnreachableError, VmBusyError)
"""What may go away by itself while something is tidied up: 32775 comes before a former job has ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in seconds, and the clock that they are measured with."""

    busy_seconds: float = 600.0
    """For a machine that somebody else works on, before it is touched."""
    merge_seconds: float = 1800.0
    """For a merge to end."""
    settle_seconds: float = 30.0
    """For a machine that says it does nothing, and yet does not run on its former files: a merge may be about to begin."""
    tidy_seconds: float = 60.0
    """For a host that refuses to give a checkpoint back, or does not answer."""
    quiet_seconds: float = 10.0
    """For a host that may not have looked yet at the last request of a run that was interrupted."""
    clock: Clock = SYSTEM_CLOCK
    """Its `sleep` may raise, where somebody has asked for the end."""
    tidy_clock: Clock = SYSTEM_CLOCK
    """The one for tidying up, which goes on also then."""

    def tidying(self) -> "Limits":
        """Return the same for tidying up."""
        return replace(self, clock=self.tidy_clock)

    def until(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Ask again and again, at least once, and return whether it happened in time."""
        pauses = Pauses(seconds, self.clock)
        while not happened():
            if not pauses.pause():
                return False
        return True

    def persist(self, action: Callable[[], Result]) -> Result:
        """Do it, again and again while the host refuses or does not answer, for `tidy_seconds` at most.

        Raises:
            HyperVError: The last refusal.
        """
        pauses = Pauses(self.tidy_seconds, self.clock)
        while True:
            try:
                return action()
            except TRANSIENT:
                if not pauses.pause():
                    raise

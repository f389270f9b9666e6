"""The room on the host's volumes while a checkpoint is open: a volume that fills up pauses every machine on it.

Below the floor the audit and what it may widen to end first; below half of it the run ends. The checkpoint's own files
grow beside the disks, so the volumes of the disks are those that are watched.
"""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from hypercbt.errors import HostSpaceError

LEAST_BYTES = 20 << 30
LEAST_PERCENT = 10
LOOK_EVERY_SECONDS = 5.0


class Volumes(Protocol):
    """Somebody who knows how full a volume of the host is."""

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        """Return what is free and what there is in all."""
        ...


class Stoppable(Protocol):
    """A run whose audit can be told to end."""

    def stop_audit(self) -> None:
        """Let the audit end; what it did not read is owed."""
        ...


def floor_of(total_bytes: int) -> int:
    """Return how much of a volume must stay free where nobody said: 20 GiB or a tenth, whichever is more."""
    return max(LEAST_BYTES, total_bytes * LEAST_PERCENT // 100)


class SpaceWatch:
    """Looks now and then how much room is left.

    Args:
        volumes: Who knows.
        host_paths: Files whose volumes are watched.
        floor_bytes: What must stay free; None: `floor_of` each volume.
        clock: Counts seconds.
    """

    def __init__(
        self,
        volumes: Volumes,
        host_paths: Iterable[str],
        floor_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volumes = volumes
        self._paths = tuple(dict.fromkeys(host_paths))
        self._floor = floor_bytes
        self._clock = clock
        self._looked = clock()
        self.stopped_audit = False
        """Whether there was too little room to go on auditing."""

    def begin(self) -> None:
        """Look before the machine is touched.

        Raises:
            HostSpaceError: A volume is below its floor already.
        """
        for path, free, floor in self._measured():
            if free < floor:
                raise HostSpaceError(
                    f"the volume of {path} has {free} bytes free, and {floor} should stay free: no checkpoint was made"
                )

    def look(self, run: Stoppable) -> None:
        """Look, if the last look is old enough, and end the audit where room gets scarce.

        Raises:
            HostSpaceError: A volume is below half of its floor.
        """
        if self._clock() - self._looked < LOOK_EVERY_SECONDS:
            return
        self._looked = self._clock()
        for path, free, floor in self._measured():
            if free * 2 < floor:
                raise HostSpaceError(
                    f"the volume of {path} has only {free} bytes left, and {floor} should stay free: the backup was ended"
                )
            if free < floor and not self.stopped_audit:
                self.stopped_audit = True
                run.stop_audit()

    def _measured(self) -> Iterable[tuple[str, int, int]]:
        for path in self._paths:
            free, total = self._volumes.free_bytes(path)
            yield path, free, floor_of(total) if self._floor is None else self._floor

"""A guest at work: a thread that writes to the disks of a virtual machine."""

import random
import threading
from collections.abc import Callable

from hypercbt.closing import Closing
from hypercbt.errors import HypercbtError

SECTOR = 4096
LARGEST = 16 * SECTOR
OFF_SECONDS = 0.001
"""How long it waits at least before it tries again, where its machine does not run."""
FLUSHES = 8
"""After so many writes it wants them to be durable."""


class Guest(Closing):
    """Writes until it is closed, here and there, what a seed says.

    Args:
        disks: How large each disk is.
        write: Writes to one of them: which, offset, bytes; says whether it did: a machine that is off does not.
        flush: Makes one durable.
        seed: Which writes they are. When they happen is the scheduler's.
        pause_seconds: Between two writes.
    """

    def __init__(
        self,
        disks: list[int],
        write: Callable[[int, int, bytes], bool],
        flush: Callable[[int], None],
        *,
        seed: int,
        pause_seconds: float = 0.001,
    ) -> None:
        self._disks = disks
        self._write = write
        self._flush = flush
        self._random = random.Random(seed)
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._more = threading.Condition()
        self._written = 0
        self.error: Exception | None = None
        """What ended it before its time, such as a power cut, or a disk that was detached."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """How many writes it has done."""
        with self._more:
            return self._written

    def wait(self, writes: int, timeout_seconds: float = 60.0) -> None:
        """Return when it has done so many more, or has ended.

        Raises:
            TimeoutError: It takes too long.
        """
        with self._more:
            enough = self._written + writes
            if not self._more.wait_for(
                lambda: self._written >= enough or self.error is not None,
                timeout_seconds,
            ):
                raise TimeoutError("the guest does not get on")

    def close(self) -> None:
        """Let it end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause):
                self._one()
        except (HypercbtError, OSError, ValueError, LookupError) as error:
            with self._more:
                self.error = error
                self._more.notify_all()

    def _one(self) -> None:
        which = self._random.randrange(len(self._disks))
        sectors = self._disks[which] // SECTOR
        length = SECTOR * self._random.randint(1, min(LARGEST // SECTOR, sectors))
        offset = SECTOR * self._random.randint(0, sectors - length // SECTOR)
        if not self._write(which, offset, self._random.randbytes(length)):
            self._stop.wait(OFF_SECONDS)
            return
        if self._random.randrange(FLUSHES) == 0:
            self._flush(which)
        with self._more:
            self._written += 1
            self._more.notify_all()

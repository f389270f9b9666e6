"""Lets things happen on a lab host when their time has come, also where nobody asks."""

import threading
from collections.abc import Callable

from hypercbt.lab.model.host import Model


class Ticker:
    """A thread that waits for whatever is next on the agenda.

    Args:
        model: The host; its clock is this machine's.
        failed: Is told what went wrong with something that was due; what is due next comes all the same.
    """

    def __init__(self, model: Model, failed: Callable[[Exception], object]) -> None:
        self._model = model
        self._failed = failed
        self._wake = threading.Event()
        self._stopped = False
        model.world.agenda.changed = self._wake.set
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, what it is doing included."""
        self._stopped = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            with self._model.world.lock:
                due = self._model.world.agenda.next()
                now = self._model.world.clock.now()
            seconds = None if due is None else max(0.0, (due - now).total_seconds())
            if not self._wake.wait(seconds) and not self._stopped:
                try:
                    self._model.settle()
                except Exception as error:
                    # Else the power was cut in the middle of it.
                    if not self._model.world.dead:
                        self._failed(error)

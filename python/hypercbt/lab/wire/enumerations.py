"""Enumerations that clients have begun: what is still to come of each, until it has come or nobody asks any more."""

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hypercbt.lab.wire.refusals import Refused


@dataclass(slots=True)
class Enumeration:
    """One client's walk through the items of a class or a query. Items are rendered when they are pulled."""

    id: str
    user: str
    class_name: str
    items: deque[Callable[[], str]]
    touched: float
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pull(
        self, most_items: int, room_bytes: int, *, last_pull_empty: bool
    ) -> tuple[list[str], bool]:
        """Take the next items.

        Args:
            most_items: No more than so many.
            room_bytes: Nor more than fit here.
            last_pull_empty: Keep the end for a pull of its own.

        Returns:
            The items, and whether that was all.

        Raises:
            ProviderError: Not even one fits.
        """
        taken: list[str] = []
        with self.lock:
            empty_before = not self.items
            while self.items and len(taken) < most_items:
                text = self.items[0]()
                room_bytes -= len(text.encode())
                if room_bytes < 0:
                    break
                taken.append(text)
                self.items.popleft()
            if not taken and self.items:
                raise Refused.ENVELOPE.error()
            done = empty_before if last_pull_empty else not self.items
        return taken, done


class Enumerations:
    """All that are under way.

    Args:
        timeout_seconds: One that rests for longer is gone.
        most: So many may be under way for one user.
        clock: Seconds.
    """

    def __init__(
        self, timeout_seconds: float, most: int, clock: Callable[[], float]
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._most = most
        self._clock = clock
        self._open: dict[str, Enumeration] = {}
        self._lock = threading.Lock()

    def begin(
        self, user: str, class_name: str, items: Iterable[Callable[[], str]]
    ) -> Enumeration:
        """Begin one. It is kept only when `keep` is called: one that ends in its first answer has no context.

        Raises:
            ProviderError: `w:QuotaLimit`.
        """
        with self._lock:
            self._expire()
            mine = sum(1 for known in self._open.values() if known.user == user)
            if mine >= self._most:
                raise Refused.QUOTA.error()
        context = f"uuid:{str(uuid.uuid4()).upper()}"
        return Enumeration(context, user, class_name, deque(items), self._clock())

    def keep(self, enumeration: Enumeration) -> None:
        """Remember it until it ends or is forgotten."""
        with self._lock:
            enumeration.touched = self._clock()
            self._open[enumeration.id] = enumeration

    def find(self, id: str, user: str) -> Enumeration:
        """Return the one of this context.

        Raises:
            ProviderError: `n:InvalidEnumerationContext`: expired, ended, of somebody else, or never begun.
        """
        with self._lock:
            self._expire()
            found = self._open.get(id)
            if found is None or found.user != user:
                raise Refused.CONTEXT.error()
            return found

    def class_name(self, id: str) -> str | None:
        """Return what the enumeration of a context is about, or None: for the names of requests only."""
        with self._lock:
            found = self._open.get(id)
            return None if found is None else found.class_name

    def end(self, enumeration: Enumeration) -> None:
        """Forget it."""
        with self._lock:
            self._open.pop(enumeration.id, None)

    def _expire(self) -> None:
        oldest = self._clock() - self._timeout_seconds
        gone = [one.id for one in self._open.values() if one.touched < oldest]
        for context in gone:
            del self._open[context]

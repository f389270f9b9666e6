"""What the guest is told to do, and what its disk must therefore hold.

The guest answers when a thing is durable. So of each file it is known what it must hold at any later
moment, or that it is being changed: then it may hold anything, or not be there. The model keeps that,
per file, and nothing else.
"""

import random
from collections import deque

GONE = "gone"
"""In place of a checksum: the file was deleted."""

ANSWERS = {
    "new": "durable",
    "patch": "durable",
    "delete": "gone",
    "loose": "loose",
    "trim": "trimmed",
}
"""What the guest answers to each kind of order when it has done it."""


class Workload:
    """Seeded orders for at most `files` files of at most `blocks` blocks of 4 KiB each."""

    def __init__(self, rng: random.Random, files: int = 48, blocks: int = 256) -> None:
        self._rng = rng
        self._names = [f"f{number}" for number in range(files)]
        self._blocks = blocks
        self._known: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._open: deque[str] = deque()
        self.orders = 0

    def next_order(self) -> str:
        """Choose the next order. Until the guest has answered, its file may hold anything."""
        busy = {order.split()[1] for order in self._open}
        name = self._rng.choice([name for name in self._names if name not in busy])
        order = self._about(name)
        self._open.append(order)
        self._known.pop(order.split()[1], None)
        self.orders += 1
        return order

    def answered(self, answer: str) -> None:
        """Take the guest's answer to the oldest order that has none.

        Raises:
            ValueError: It is no answer to that order, or the guest could not do it.
        """
        order = self._open[0]
        kind, name = order.split()[:2]
        words = answer.split()
        length = 3 if ANSWERS[kind] == "durable" else 2
        if words[:2] != [ANSWERS[kind], name] or len(words) != length:
            raise ValueError(f"the guest was told {order!r} and answered {answer!r}")
        self._open.popleft()
        if words[0] == "durable":
            self._known[name] = words[2]
        elif kind == "delete":
            self._known[name] = GONE
            del self._sizes[name]

    @property
    def unanswered(self) -> int:
        """How many orders have no answer yet."""
        return len(self._open)

    def must_hold(self) -> dict[str, str]:
        """Return the SHA-256 of each file that is known now, or `GONE`."""
        return dict(self._known)

    def power_cut(self) -> None:
        """Forget the orders without an answer: nobody knows how far they came."""
        for order in self._open:
            self._sizes.pop(order.split()[1], None)
        self._open.clear()

    def _about(self, name: str) -> str:
        size = self._sizes.get(name)
        draw = self._rng.random()
        if draw < 0.1:
            return f"loose loose{self._rng.randrange(4)} {self._some_blocks()}"
        if draw < 0.15:
            # In pieces: a guest that gives up all that is free has changed all that is free.
            return f"trim {self._rng.randrange(32) << 24}"
        if size is None or draw < 0.4:
            self._sizes[name] = self._some_blocks()
            return f"new {name} {self._sizes[name]}"
        if draw < 0.55:
            return f"delete {name}"
        first = self._rng.randrange(size)
        return f"patch {name} {first} {self._rng.randint(1, size - first)}"

    def _some_blocks(self) -> int:
        """Small files are many, large ones move much: the exponent makes both happen."""
        return int(self._blocks ** self._rng.random())

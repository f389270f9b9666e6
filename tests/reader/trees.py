"""Disk trees: which chunk stands where on a disk (§4)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from .binary import expect, number, part, reserved

LEAF_CHILDREN: Final = 64
INNER_CHILDREN: Final = 256


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a disk tree: the ids of those children that are not null."""

    level: int
    children: dict[int, bytes]


def read_node(data: bytes) -> Node:
    """Return a node; there is one way only to write it."""
    level = number(data, 0, 1)
    reserved(data, 1, 3)
    width = LEAF_CHILDREN if level == 0 else INNER_CHILDREN
    bitmap = number(data, 8, width // 8)
    present = [child for child in range(width) if bitmap >> child & 1]
    count = number(data, 4, 4)
    expect(
        count == len(present) and count >= 1, "node: not as many children as it says"
    )
    ids_at = 8 + width // 8
    expect(len(data) == ids_at + 32 * count, "node: not as long as it says")
    return Node(
        level,
        {child: part(data, ids_at + 32 * n, 32) for n, child in enumerate(present)},
    )


def height(chunks: int) -> int:
    """Return the smallest height of a tree for so many chunks."""
    level = 0
    while LEAF_CHILDREN * INNER_CHILDREN**level < chunks:
        level += 1
    return level


def walk(
    root: bytes, chunks: int, fetch: Callable[[bytes], bytes]
) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the id of each chunk that is not null, in order of place."""
    yield from _below(root, height(chunks), 0, chunks, fetch)


def _below(
    id: bytes, level: int, first: int, chunks: int, fetch: Callable[[bytes], bytes]
) -> Iterator[tuple[int, bytes]]:
    node = read_node(fetch(id))
    expect(node.level == level, f"node: of level {node.level} where {level} belongs")
    span = LEAF_CHILDREN * INNER_CHILDREN ** (level - 1) if level else 1
    for child, child_id in node.children.items():
        start = first + child * span
        expect(start < chunks, "node: a child behind the end of the disk")
        if level == 0:
            yield start, child_id
        else:
            yield from _below(child_id, level - 1, start, chunks, fetch)

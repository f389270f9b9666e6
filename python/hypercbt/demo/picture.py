"""A small map of a disk: one character for each stretch of it."""

from hypercbt._native import Extents

COLUMNS = 64
ROWS = 8
EMPTY = "."
UNCHANGED = "-"
CLAIMED = "+"
CHANGED = "#"
LEGEND = (
    f"{CHANGED} changed   {CLAIMED} claimed but the same   "
    f"{UNCHANGED} in use, unchanged   {EMPTY} empty"
)


def disk_map(
    size: int, allocated: Extents, claimed: Extents, changed: Extents
) -> list[str]:
    """Return the rows of the map. A stretch shows the strongest thing that is true of a byte in it."""
    cells = [EMPTY] * (COLUMNS * ROWS)
    cell_bytes = max(1, -(-size // len(cells)))
    for extents, mark in (
        (allocated, UNCHANGED),
        (claimed, CLAIMED),
        (changed, CHANGED),
    ):
        for offset, length in extents:
            for cell in range(
                offset // cell_bytes, (offset + length - 1) // cell_bytes + 1
            ):
                if cell < len(cells):
                    cells[cell] = mark
    return ["".join(cells[row * COLUMNS :][:COLUMNS]) for row in range(ROWS)]

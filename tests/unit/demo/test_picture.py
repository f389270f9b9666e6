"""The map of a disk."""

from hypercbt import Extents
from hypercbt.demo.picture import COLUMNS, ROWS, disk_map

CELLS = COLUMNS * ROWS


def test_a_cell_shows_the_strongest_thing_in_it() -> None:
    rows = disk_map(
        CELLS * 100,
        Extents([(0, 400)]),
        Extents([(100, 200)]),
        Extents([(299, 1)]),
    )
    assert rows[0][:5] == "-+#-."
    assert set("".join(rows)[5:]) == {"."}
    assert [len(row) for row in rows] == [COLUMNS] * ROWS


def test_the_last_byte_is_in_the_last_cell() -> None:
    rows = disk_map(1001, Extents(), Extents(), Extents([(1000, 1)]))
    assert "".join(rows).count("#") == 1
    assert "#" in rows[-1]


def test_an_extent_past_the_end_is_clipped() -> None:
    rows = disk_map(CELLS, Extents(), Extents(), Extents([(CELLS - 1, 10_000)]))
    assert rows[-1][-1] == "#"

"""Extents through Python, against a set of bytes: a model too simple to be wrong."""

import array
import struct
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercbt import Extents

WORLD = 300
"""All extents of the model lie below this, so that a set of bytes stays small."""
TOP = 1 << 64

Pairs = list[tuple[int, int]]
pairs = st.lists(
    st.integers(0, WORLD - 1).flatmap(
        lambda at: st.tuples(st.just(at), st.integers(1, min(40, WORLD - at)))
    ),
    max_size=12,
)
grids = st.integers(1, 64)
some = settings(max_examples=100, deadline=None)


def bytes_of(extents: Extents | Pairs) -> set[int]:
    return {byte for at, length in extents for byte in range(at, at + length)}


def packed(given: Pairs) -> bytes:
    return b"".join(struct.pack("<QQ", *pair) for pair in given)


def numbers(given: Pairs) -> "array.array[int]":
    return array.array("Q", [number for pair in given for number in pair])


def rows(given: Pairs) -> object:
    """An (n, 2) view; without rows there is nothing that has a shape."""
    flat = memoryview(numbers(given))
    return flat.cast("B").cast("Q", (len(given), 2)) if given else flat


def in_the_middle_of_bytes(given: Pairs) -> memoryview:
    """Numbers that do not lie at a multiple of eight."""
    native = numbers(given).tobytes()
    return memoryview(bytearray(b"x" + native))[1:].cast("Q")


FORMS: dict[str, Callable[[Pairs], object]] = {
    "pairs": list,
    "an iterator": iter,
    "tuples of a set": set,
    "lists": lambda given: ((at, length) for at, length in given),
    "an array": numbers,
    "bytes": packed,
    "a bytearray": lambda given: bytearray(packed(given)),
    "a view of bytes": lambda given: memoryview(packed(given)),
    "an (n, 2) view": rows,
    "an unaligned view": in_the_middle_of_bytes,
    "extents": Extents,
}


def assert_normal(extents: Extents) -> None:
    """Sorted, disjoint, not adjacent, none empty."""
    listed = list(extents)
    assert all(length > 0 for _, length in listed)
    ends = [at + length for at, length in listed]
    assert all(end < at for end, (at, _) in zip(ends, listed[1:], strict=False))


@pytest.mark.parametrize("form", FORMS)
@some
@given(given=pairs)
def test_every_form_gives_the_same_bytes(form: str, given: Pairs) -> None:
    extents = Extents(FORMS[form](given))  # type: ignore[arg-type]
    assert_normal(extents)
    assert bytes_of(extents) == bytes_of(given)
    assert extents == Extents(given)
    assert extents.total_bytes == len(bytes_of(given))
    assert len(extents) == len(list(extents))


@some
@given(given=pairs)
def test_an_offset_is_in_it_as_in_the_set(given: Pairs) -> None:
    extents, model = Extents(given), bytes_of(given)
    assert [at in extents for at in range(WORLD)] == [
        at in model for at in range(WORLD)
    ]


@some
@given(given=pairs)
def test_items_are_those_of_a_list(given: Pairs) -> None:
    extents = Extents(given)
    listed = list(extents)
    for index in range(-len(listed), len(listed)):
        assert extents[index] == listed[index]
    for index in (len(listed), -len(listed) - 1):
        with pytest.raises(IndexError):
            extents[index]


@some
@given(given=pairs)
def test_the_buffer_out_is_two_columns_that_nobody_can_write(given: Pairs) -> None:
    extents = Extents(given)
    view = memoryview(extents)
    assert (view.format, view.itemsize, view.ndim) == ("Q", 8, 2)
    assert view.shape == (len(extents), 2)
    assert view.strides == (16, 8)
    assert view.readonly
    assert view.c_contiguous
    assert view.tobytes() == numbers(list(extents)).tobytes()
    assert view.tolist() == [list(extent) for extent in extents]  # type: ignore[comparison-overlap]
    if given:
        with pytest.raises(TypeError):
            view[0, 0] = 1
        assert Extents(view) == extents


def test_a_buffer_outlives_its_extents() -> None:
    view = memoryview(Extents([(1, 2), (5, 6)]))
    assert view.tobytes() == numbers([(1, 2), (5, 6)]).tobytes()


def test_what_was_given_may_change_afterwards() -> None:
    given = numbers([(0, 5)])
    extents = Extents(given)
    given[0] = 77
    assert list(extents) == [(0, 5)]


@some
@given(given=pairs, grid=grids)
def test_aligning_widens_to_the_grid_and_no_further(given: Pairs, grid: int) -> None:
    aligned = Extents(given).align(grid)
    model = {
        cell * grid + n
        for cell in {b // grid for b in bytes_of(given)}
        for n in range(grid)
    }
    assert bytes_of(aligned) == model
    assert_normal(aligned)
    assert aligned.align(grid) == aligned


@some
@given(given=pairs, gap=st.integers(0, 30))
def test_coalescing_fills_the_gaps_that_are_small_enough(
    given: Pairs, gap: int
) -> None:
    extents = Extents(given)
    joined = extents.coalesce(gap)
    model = bytes_of(given)
    listed = list(extents)
    for (at, length), (following, _) in pairwise(listed):
        if following - (at + length) <= gap:
            model |= set(range(at + length, following))
    assert bytes_of(joined) == model
    assert_normal(joined)
    assert joined.coalesce(gap) == joined


@some
@given(given=pairs, grid=grids)
def test_splitting_cuts_at_the_grid_and_loses_nothing(given: Pairs, grid: int) -> None:
    pieces = Extents(given).split(grid)
    assert all(length > 0 for _, length in pieces)
    assert all(at // grid == (at + length - 1) // grid for at, length in pieces)
    assert sum(length for _, length in pieces) == len(bytes_of(given))
    assert pieces == sorted(pieces)
    assert Extents(pieces) == Extents(given)


@some
@given(one=pairs, two=pairs)
def test_union_intersection_and_difference_are_those_of_sets(
    one: Pairs, two: Pairs
) -> None:
    first, second = Extents(one), Extents(two)
    a, b = bytes_of(one), bytes_of(two)
    for made, model in (
        (first.union(second), a | b),
        (first.intersect(second), a & b),
        (first.subtract(second), a - b),
    ):
        assert_normal(made)
        assert bytes_of(made) == model
    assert (list(first), list(second)) == (list(Extents(one)), list(Extents(two)))
    assert (first == second) == (a == b)


# Misuse, and the end of the number line.


@pytest.mark.parametrize(
    "given",
    [
        [(-1, 5)],
        [(0, -5)],
        [(0, 0)],
        [(5, 0)],
        [(TOP, 1)],
        [(0, TOP)],
        [(TOP - 1, 1)],
        [(TOP - 1, 2)],
        [(1, TOP - 1)],
        [(0, 1), (TOP - 5, 10)],
    ],
)
def test_what_is_no_extent_is_misuse(given: Pairs) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Extents(given)


@pytest.mark.parametrize(
    "given",
    [5, [5], [(1,)], [(1, 2, 3)], ["ab"], [(1.5, 2)], [("1", 2)], [None], {1: 2}],
)
def test_what_has_no_pairs_is_misuse(given: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Extents(given)  # type: ignore[arg-type]


def layout(given: object) -> str:
    """Name a case alike in every process: a memoryview's repr has its address."""
    if isinstance(given, memoryview):
        return f"memoryview{given.format}{given.shape}"
    return repr(given)


@pytest.mark.parametrize(
    "given",
    [
        b"\0",
        bytes(15),
        bytes(24),
        packed([(1, 2)])[:-1],
        packed([(1, 0)]),
        packed([(TOP - 1, 2)]),
        array.array("Q", [1]),
        array.array("Q", [1, 2, 3]),
        array.array("Q", [1, 0]),
        array.array("q", [1, 2]),
        array.array("I", [1, 2]),
        array.array("d", [1, 2]),
        memoryview(array.array("Q", range(6))).cast("B").cast("Q", (2, 3)),
        memoryview(array.array("Q", range(1, 9))).cast("B").cast("Q", (2, 2, 2)),
    ],
    ids=layout,
)
def test_a_buffer_of_something_else_is_misuse(given: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Extents(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [0, -1, TOP])
def test_a_grid_that_is_none_is_misuse(grid: int) -> None:
    extents = Extents([(0, 1)])
    for call in (extents.align, extents.split):
        with pytest.raises((ValueError, OverflowError)):
            call(grid)


def test_the_last_extent_that_there_can_be() -> None:
    last = Extents([(TOP - 2, 1)])
    assert list(last) == [(TOP - 2, 1)]
    assert list(last.union(Extents([(0, TOP - 2)]))) == [(0, TOP - 1)]
    assert TOP - 2 in last
    assert list(last.align(4096)) == [
        (TOP - 4096, 4095)
    ]  # clipped: no end lies past 2^64 - 1
    for outside in (-1, TOP):
        assert outside not in last


def test_extents_equal_nothing_else_and_have_no_hash() -> None:
    assert Extents([(0, 1)]) != [(0, 1)]
    assert Extents() == Extents([])
    with pytest.raises(TypeError):
        hash(Extents())

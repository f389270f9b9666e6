"""The log: what an entry may hold, and what makes it worthless (MS-VHDX 2.3)."""

import struct
from pathlib import Path

import pytest

from .format import MIB, PAGE, seal
from .generator import (
    Image,
    differences,
    dirty,
    journal,
    steps,
    with_blocks,
)
from .log import Data, Entry, Placed, Write, Zero, place, run
from .log_images import (
    AFTER_MANY,
    ALL,
    BEFORE,
    MANY_PAGES,
    STEPS,
    V0,
    V4,
    VERSIONS,
    assert_reads,
    assert_refused,
    entries,
    having,
    marked,
)
from .readers import Reader, check

# Case 13.


def test_an_entry_with_more_than_126_descriptors_is_replayed(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 13: two sectors of descriptors, and three with zero descriptors among them."""
    (step,) = steps(BEFORE, AFTER_MANY)
    assert len(step) == 130
    for more in (0, 200):
        zeros = tuple(
            Zero(V0.bat_at + (140 + n % 100) * PAGE, PAGE) for n in range(more)
        )
        log = place(run([zeros + step], file_bytes=AFTER_MANY.end))
        image = dirty(BEFORE, log, AFTER_MANY)
        check(reader, image.write(tmp_path), AFTER_MANY, *(n * MIB for n in MANY_PAGES))


@pytest.mark.parametrize("count", [125, 126, 127])
def test_descriptors_may_just_fill_a_sector(
    reader: Reader, tmp_path: Path, count: int
) -> None:
    """Case 13: 126 fit in the first sector."""
    after = with_blocks(
        BEFORE, {index: marked(f"at {index} ") for index in MANY_PAGES[1 : count + 1]}
    )
    image = journal(BEFORE, after)
    check(reader, image.write(tmp_path), after, *(n * MIB for n in MANY_PAGES))


def test_254_descriptors_fill_two_sectors(reader: Reader, tmp_path: Path) -> None:
    """Case 13: 128 fit in the second."""
    zeros = tuple(Zero(V0.bat_at + (128 + n % 64) * PAGE, PAGE) for n in range(254 - 1))
    for step in (zeros + STEPS[0], STEPS[0] + zeros):
        assert_reads(reader, tmp_path, place(entries(step)), 1)


def test_an_entry_without_descriptors_is_replayed(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 13: alone (a file opened, nothing written), between others, and as the head."""
    assert_reads(reader, tmp_path, place(entries(())))
    assert_reads(reader, tmp_path, place(entries(STEPS[0], (), STEPS[1])), 1, 2)
    assert_reads(reader, tmp_path, place(entries(STEPS[0], STEPS[1], ())), 1, 2)


# Case 14.


PAGE_ONE = Image(size=V0.size).bat_at + PAGE
"""The page of the BAT with the entry of block(1)."""


def test_a_zero_descriptor_clears_what_is_in_place(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 14: the BAT entry of block(1) is gone, so it reads as zeros."""
    cleared = entries((Zero(PAGE_ONE, PAGE),))
    image = dirty(V4, place(cleared))
    check(reader, image.write(tmp_path), having(2, 3, 4), *ALL)


def test_a_zero_descriptor_clears_many_pages(reader: Reader, tmp_path: Path) -> None:
    """Case 14."""
    image = dirty(V4, place(entries((Zero(PAGE_ONE, 3 * PAGE),))))
    check(reader, image.write(tmp_path), having(4), *ALL)


@pytest.mark.parametrize(
    ("writes", "over_holes", "over_data"),
    [
        ((Zero(PAGE_ONE, 4 * PAGE), *STEPS[1]), (2,), (2,)),
        ((*STEPS[1], Zero(PAGE_ONE, 4 * PAGE)), (), ()),
        ((*STEPS[0], *STEPS[2], Zero(PAGE_ONE, PAGE), *STEPS[3]), (3, 4), (2, 3, 4)),
        (
            (Zero(PAGE_ONE, 2 * PAGE), *STEPS[0], Zero(PAGE_ONE + PAGE, 3 * PAGE)),
            (1,),
            (1,),
        ),
        ((*STEPS[0], Zero(PAGE_ONE, PAGE), *STEPS[0]), (1,), (1, 2, 3, 4)),
        ((Zero(PAGE_ONE, PAGE), *STEPS[0], Zero(PAGE_ONE, PAGE)), (), (2, 3, 4)),
    ],
    ids=[
        "zero-data",
        "data-zero",
        "between",
        "around",
        "data-zero-data",
        "zero-data-zero",
    ],
)
def test_zero_and_data_descriptors_are_applied_in_order(
    reader: Reader,
    tmp_path: Path,
    writes: tuple[Write, ...],
    over_holes: tuple[int, ...],
    over_data: tuple[int, ...],
) -> None:
    """Case 14: over the same range, in one entry and in many, in a file without those blocks and
    in one that has them all."""
    for log in (entries(writes), entries(*[(write,) for write in writes])):
        for base, left in ((V0, over_holes), (V4, over_data)):
            image = dirty(base, place(log), *VERSIONS)
            check(reader, image.write(tmp_path), having(*left), *ALL)


def test_the_ends_of_a_page_are_in_its_descriptor(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 14: the first 8 bytes of a page, and its last 4, where a place past 4 GiB shows."""
    places = {512: 5 << 30, 1023: 6 << 30}
    after = with_blocks(V0, {index: marked("end ", at) for index, at in places.items()})
    (write,) = differences(V0, after)
    assert isinstance(write, Data)
    assert any(write.page[:8])
    assert any(write.page[-4:])
    check(
        reader,
        journal(V0, after).write(tmp_path),
        after,
        512 * MIB,
        1023 * MIB,
        1024 * MIB,
    )


def resealed(entry: Entry, at: int, data: bytes) -> list[Placed]:
    """The entry with some bytes changed and the checksum made right again."""
    raw = entry.encode()
    return [(0, seal(raw[:at] + data + raw[at + len(data) :]))]


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (PAGE + 4, struct.pack("<I", 1)),
        (2 * PAGE - 4, struct.pack("<I", 2)),
        (PAGE, b"atad"),
        (64, b"descc"[1:]),
        (64 + 24, struct.pack("<Q", 2)),
        (64 + 16, struct.pack("<Q", PAGE_ONE + 512)),
        (0, b"egol"),
        (8, struct.pack("<I", 2 * PAGE - 1)),
        (8, struct.pack("<I", 0)),
        (8, struct.pack("<I", PAGE)),
        (8, struct.pack("<I", 0xFFFF_F000)),
        (24, struct.pack("<I", 2)),
        (24, struct.pack("<I", 127)),
        (24, struct.pack("<I", 0xFFFF_FFFF)),
    ],
    ids=[
        "sequence-high",
        "sequence-low",
        "data-signature",
        "descriptor-signature",
        "descriptor-sequence",
        "descriptor-misaligned",
        "entry-signature",
        "length-misaligned",
        "length-zero",
        "length-without-data",
        "length-huge",
        "one-descriptor-more",
        "descriptors-more-than-fit",
        "descriptors-most",
    ],
)
def test_an_entry_with_a_wrong_field_is_invalid(
    reader: Reader, tmp_path: Path, at: int, data: bytes
) -> None:
    """Case 14: the checksum is right, and all the same."""
    (entry,) = entries(STEPS[0])
    assert_refused(reader, tmp_path, resealed(entry, at, data))


def test_an_entry_with_the_number_zero_is_invalid(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 14: everything in it says so, and a number must be greater than zero."""
    assert_refused(reader, tmp_path, place(entries(STEPS[0], sequence=0)))


@pytest.mark.parametrize(
    "write",
    [
        Zero(PAGE_ONE, PAGE + 1),
        Zero(PAGE_ONE + 1, PAGE),
        Zero(PAGE_ONE, (1 << 64) - PAGE),
        Zero((1 << 64) - PAGE, 2 * PAGE),
        Data((1 << 64) - PAGE, bytes(PAGE)),
    ],
    ids=[
        "length-misaligned",
        "misaligned",
        "length-overflows",
        "end-overflows",
        "at-the-end",
    ],
)
def test_a_descriptor_with_a_wrong_range_makes_its_entry_invalid(
    reader: Reader, tmp_path: Path, write: Write
) -> None:
    """Case 14 and case 25."""
    assert_refused(reader, tmp_path, place(entries((write,))))

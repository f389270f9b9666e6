"""The log: which sequence is alive, what it writes, and what makes it worthless (MS-VHDX 2.3).

The images V0 to V4 each have one block more than the one before, its BAT entry on a page of its own,
so that it shows which log entries were replayed and which were not.
"""

import hashlib
import os
import struct
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from uuid import UUID

import pytest

from . import format as f
from .format import MIB, PAGE, RegionTable, seal
from .generator import (
    PAGE_OF_BLOCKS,
    Block,
    Image,
    differences,
    dirty,
    full,
    journal,
    partial,
    steps,
    with_blocks,
)
from .log import LOG_GUID, Data, Entry, Placed, Write, Zero, data_sector, place, run
from .readers import Reader, check, check_refused

FOREIGN = UUID("f0f0f0f0-0000-4000-8000-000000000000")


def block(number: int) -> int:
    """The first block whose BAT entry is on this page."""
    return number * PAGE_OF_BLOCKS


def marked(seed: str, at: int | None = None) -> Block:
    return Block(f.FULL, {0: seed.encode() * 100}, at)


VERSIONS = list(
    accumulate(
        (1, 2, 3, 4),
        lambda image, number: with_blocks(
            image, {block(number): marked(f"block {number} ")}
        ),
        initial=Image(size=5 * PAGE_OF_BLOCKS * MIB, blocks={0: marked("block 0 ")}),
    )
)
V0, V1, V2, V3, V4 = VERSIONS
END = V4.end
STEPS = steps(*VERSIONS)
"""What leads from V0 to V1, from V1 to V2, and so on: one write each."""
ALL = [block(number) * MIB for number in range(5)]


def with_log(log: list[Placed], *, guid: UUID = LOG_GUID) -> Image:
    """V0 in place, the payload of all versions, and this log."""
    return dirty(V0, log, *VERSIONS, guid=guid)


def having(*numbers: int) -> Image:
    """The image with just these of the blocks that the log may bring, at their places."""
    places, _ = V4.places()
    at = {index: places[index] for index in V4.blocks}
    blocks = {
        block(n): replace(V4.blocks[block(n)], at=at[block(n)]) for n in (0, *numbers)
    }
    return replace(V0, blocks=blocks)


def assert_reads(
    reader: Reader, folder: Path, log: list[Placed], *numbers: int
) -> None:
    check(reader, with_log(log).write(folder), having(*numbers), *ALL)


def assert_refused(reader: Reader, folder: Path, log: list[Placed]) -> None:
    check_refused(reader, with_log(log).write(folder))


def entries(*writes: tuple[Write, ...], **more: int) -> list[Entry]:
    return run(writes, file_bytes=END, **more)  # type: ignore[arg-type]


# Case 6.


def test_a_live_log_is_replayed(reader: Reader, tmp_path: Path) -> None:
    """Case 6."""
    check(reader, journal(*VERSIONS).write(tmp_path), V4, *ALL)


def test_replay_leaves_the_file_as_it_was(reader: Reader, tmp_path: Path) -> None:
    """Case 6: read-only, and its bytes and times the same as before."""
    path = journal(*VERSIONS).write(tmp_path)
    path.chmod(0o400)
    before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
    check(reader, path, V4, *ALL)
    assert (
        hashlib.sha256(path.read_bytes()).digest(),
        path.stat().st_mtime_ns,
    ) == before


def test_without_a_log_guid_the_log_is_not_looked_at(
    reader: Reader, tmp_path: Path
) -> None:
    """A clean file may have valid entries left over, also of the GUID zero."""
    log = place(entries(*STEPS))
    check(reader, with_log(log, guid=f.NIL).write(tmp_path), having(), *ALL)
    log = place(run(STEPS, file_bytes=END, guid=f.NIL))
    check(reader, with_log(log, guid=f.NIL).write(tmp_path), having(), *ALL)


def test_the_sector_bitmap_in_the_log_counts(reader: Reader, tmp_path: Path) -> None:
    """Case 6, in a differencing file: bits and BAT entry come together."""
    parent = Image(
        size=4 * MIB, name="parent.vhdx", blocks={n: full(n) for n in range(4)}
    )
    old = Image(size=4 * MIB, parent=parent, blocks={1: partial("one", 0b1011)})
    new = replace(old, blocks={1: partial("one", 0b1110), 2: partial("two", 1 << 2047)})
    path = journal(old, new).write_chain(tmp_path)
    check(reader, path, new)


def test_the_log_is_replayed_before_anything_else_is_read(
    reader: Reader, tmp_path: Path
) -> None:
    """Region tables and metadata are logged too; in place they may be torn."""
    torn = replace(V0, tables=(None, None), items=())
    table, pages = V0.region_table().encode(), dict[int, bytes]()
    for at in f.TABLE_PLACES:
        f.put(pages, at, table)
    f.put(pages, V0.metadata_at, f.Metadata(V0.default_items()).encode())
    writes = tuple(Data(at, page) for at, page in pages.items())
    log = place(run([writes], file_bytes=V0.end))
    check(reader, dirty(torn, log).write(tmp_path), V0, *ALL)


def test_the_log_may_move_the_bat(reader: Reader, tmp_path: Path) -> None:
    moved = replace(V1, bat_at=20 * MIB, payload_at=V1.bat_at + MIB)
    table = moved.region_table().encode()
    writes = [Data(at, table[:PAGE]) for at in f.TABLE_PLACES]
    writes += [Data(at, page) for at, page in moved.pages().items()]
    log = place(run([writes], file_bytes=moved.end))
    old = replace(V0, file_bytes=moved.end)
    check(reader, dirty(old, log, moved).write(tmp_path), moved, *ALL)


def test_a_log_may_lie_anywhere_and_be_long(reader: Reader, tmp_path: Path) -> None:
    far = [replace(image, log_at=64 * MIB, log_bytes=3 * MIB) for image in VERSIONS]
    check(reader, journal(*far, at=2 * MIB).write(tmp_path), far[-1], *ALL)


# Case 7.


def test_a_log_guid_without_entries_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 7."""
    assert_refused(reader, tmp_path, [])


def test_a_log_with_foreign_entries_only_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 7."""
    assert_refused(reader, tmp_path, place(run(STEPS, file_bytes=END, guid=FOREIGN)))


def test_a_log_with_torn_entries_only_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 7."""
    log = [(at, data[:-1] + b"!") for at, data in place(entries(*STEPS))]
    assert_refused(reader, tmp_path, log)


def test_foreign_entries_do_not_belong_to_the_run(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 7: their numbers would fit."""
    own, *foreign = entries(*STEPS)
    foreign = [replace(entry, guid=FOREIGN) for entry in foreign]
    assert_reads(reader, tmp_path, place([own, *foreign]), 1)


# Case 8.


MANY_PAGES = [block(number) for number in range(130)]
BEFORE = Image(size=130 * PAGE_OF_BLOCKS * MIB, blocks={0: marked("block 0 ")})
AFTER_ONE = with_blocks(BEFORE, {1: marked("block 1 ")})
AFTER_MANY = with_blocks(
    AFTER_ONE, {index: marked(f"at {index} ") for index in MANY_PAGES[1:]}
)


def torn_at(sector: int, how: str) -> Image:
    """A log whose last entry, with 129 data sectors and two of descriptors, lacks one sector."""
    end = AFTER_MANY.end
    pair = run(steps(BEFORE, AFTER_ONE, AFTER_MANY), file_bytes=end)
    log = place(pair)
    if how == "zeros":
        lost = bytes(PAGE)
    elif how == "stale":
        lost = data_sector(b"\x77" * PAGE, 1)
    else:
        old = pair[1].encode()[sector * PAGE :][:PAGE]
        lost = old[:2048] + bytes(2048) if any(old[2048:]) else bytes(PAGE)
    log.append((pair[0].length + sector * PAGE, lost))
    return dirty(BEFORE, log, AFTER_MANY)


def test_the_entry_that_case_8_tears_counts_when_it_is_whole(
    reader: Reader, tmp_path: Path
) -> None:
    image = journal(BEFORE, AFTER_ONE, AFTER_MANY)
    check(
        reader,
        image.write(tmp_path),
        AFTER_MANY,
        *(index * MIB for index in MANY_PAGES),
    )


@pytest.mark.parametrize("how", ["zeros", "stale", "half"])
@pytest.mark.parametrize("sector", [0, 1, 2, 66, 130], ids=lambda s: f"sector{s}")
def test_a_torn_last_entry_does_not_count(
    reader: Reader, tmp_path: Path, sector: int, how: str
) -> None:
    """Case 8: torn in its header, second descriptor, first, middle, or last data sector."""
    path = torn_at(sector, how).write(tmp_path)
    check(
        reader,
        path,
        AFTER_ONE,
        0,
        *(index * MIB for index in MANY_PAGES[:3]),
        129 * 512 * MIB,
    )


@pytest.mark.parametrize("sector", [0, 1])
def test_a_torn_only_entry_is_refused(
    reader: Reader, tmp_path: Path, sector: int
) -> None:
    """Case 8: there is no state before it."""
    log = place(entries(STEPS[0]))
    assert_refused(reader, tmp_path, [*log, (sector * PAGE, bytes(PAGE))])


def test_a_torn_entry_in_the_middle_ends_the_run_before_it(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 8: entries behind it say with their tail that they cannot do without it."""
    log = place(entries(*STEPS))
    at, _ = log[2]
    assert_reads(reader, tmp_path, [*log, (at + PAGE, bytes(PAGE))], 1, 2)


# Case 9.


@pytest.mark.parametrize(
    "number", [1, 8, 9, 11, 12, 1 << 63], ids=lambda n: f"number{n}"
)
def test_a_stale_entry_after_the_newest_is_not_replayed(
    reader: Reader, tmp_path: Path, number: int
) -> None:
    """Case 9: valid in itself, but of another time (its tail is no longer there)."""
    newest = entries(STEPS[0], STEPS[1], sequence=8)
    stale = entries(STEPS[2], sequence=number, tail=100 * PAGE)
    assert_reads(reader, tmp_path, place([*newest, *stale]), 1, 2)


def test_an_older_entry_with_its_own_tail_is_not_replayed(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 9: the older one is a valid run; qemu replays it after the newest."""
    (newest,) = entries(STEPS[0], sequence=8)
    (stale,) = entries(STEPS[1], sequence=7, at=newest.length)
    assert_reads(reader, tmp_path, place([newest, stale]), 1)


def test_a_newer_run_whose_tail_is_lost_does_not_win(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 9: a run counts only if the tail of its head is the place of one of its entries."""
    older = place(entries(STEPS[0], sequence=5))
    newer = place(entries(STEPS[1], sequence=50, tail=40 * PAGE), 30 * PAGE)
    assert_reads(reader, tmp_path, older + newer, 1)


# Case 10.


@pytest.mark.parametrize(
    "newest_at", [0, 64 * PAGE], ids=["newest-first", "newest-last"]
)
def test_of_two_sequences_the_one_with_the_greater_head_counts(
    reader: Reader, tmp_path: Path, newest_at: int
) -> None:
    """Case 10: however long the other is."""
    older_at = 64 * PAGE - newest_at
    older = place(
        entries(STEPS[0], STEPS[1], STEPS[2], sequence=4, at=older_at), older_at
    )
    newest = place(entries(STEPS[3], sequence=20, at=newest_at), newest_at)
    assert_reads(reader, tmp_path, older + newest, 4)


def test_numbers_beyond_32_bits_are_whole(reader: Reader, tmp_path: Path) -> None:
    """Case 10: the high and the low half of the number are apart in a data sector."""
    older = place(entries(STEPS[0], sequence=0xFFFF_FFF0))
    newest = place(entries(*STEPS[1:3], sequence=0xFFFF_FFFF, at=64 * PAGE), 64 * PAGE)
    assert_reads(reader, tmp_path, older + newest, 2, 3)


def test_the_head_of_a_run_decides_and_not_its_first_entry(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 10: two runs, one from 4 to 7, one from 6 alone."""
    long = place(entries(*STEPS[:3], (), sequence=4))
    short = place(entries(STEPS[3], sequence=6, at=64 * PAGE), 64 * PAGE)
    assert_reads(reader, tmp_path, long + short, 1, 2, 3)


# Case 11.


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_entries_before_the_tail_are_not_replayed(
    reader: Reader, tmp_path: Path, first: int
) -> None:
    """Case 11: they have long been written in place; only the head's tail counts."""
    whole = entries(*STEPS)
    places = [at for at, _ in place(whole)]
    whole[-1] = replace(whole[-1], tail=places[first])
    assert_reads(reader, tmp_path, place(whole), *range(first + 1, 5))


def test_the_tail_of_an_entry_before_the_head_does_not_count(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 11: it may be no place of an entry at all."""
    whole = entries(*STEPS)
    whole[0] = replace(whole[0], tail=99 * PAGE)
    whole[1] = replace(whole[1], tail=whole[0].length)
    assert_reads(reader, tmp_path, place(whole), 1, 2, 3, 4)


@pytest.mark.parametrize("tail", [PAGE, 8 * PAGE, MIB - PAGE, 1, MIB, 0xFFFF_F000])
def test_a_tail_that_is_no_place_of_an_entry_makes_the_run_invalid(
    reader: Reader, tmp_path: Path, tail: int
) -> None:
    """Case 11: inside an entry, behind the run, before it, misaligned, outside the log."""
    assert_refused(reader, tmp_path, place(entries(*STEPS, tail=tail)))


# Case 12.


@pytest.mark.parametrize("sectors_before_end", [1, 2, 3, 4, 5, 6, 7])
def test_a_sequence_wraps_past_the_end_of_the_log(
    reader: Reader, tmp_path: Path, sectors_before_end: int
) -> None:
    """Case 12: between entries, and in the middle of one."""
    image = journal(*VERSIONS, at=MIB - sectors_before_end * PAGE)
    check(reader, image.write(tmp_path), V4, *ALL)


@pytest.mark.parametrize("sectors_before_end", [1, 2, 3, 100, 130])
def test_a_single_entry_wraps_past_the_end_of_the_log(
    reader: Reader, tmp_path: Path, sectors_before_end: int
) -> None:
    """Case 12: after its header, among its descriptors, among its data."""
    image = journal(BEFORE, AFTER_MANY, at=MIB - sectors_before_end * PAGE)
    check(
        reader,
        image.write(tmp_path),
        AFTER_MANY,
        *(n * MIB for n in MANY_PAGES[::16]),
        65 * 1024 * MIB,
    )


def test_a_sequence_may_fill_the_whole_ring(reader: Reader, tmp_path: Path) -> None:
    """Case 12: the entry after the head is then the first again, with too low a number."""
    (step,) = steps(V0, V1)
    fill = [step] * 127 + [differences(V1, V2)]
    image = dirty(V0, place(run(fill, file_bytes=END, at=MIB - PAGE), MIB - PAGE), V2)
    image = replace(image, file_bytes=END)
    check(reader, image.write(tmp_path), V2, *ALL)


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


# Case 15.


def test_the_log_may_write_past_the_end_of_the_file(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 15: a BAT that was moved to the new end, and of which nothing was in place yet."""
    moved = replace(V1, bat_at=60 * MIB, payload_at=V1.bat_at + MIB)
    table = moved.region_table().encode()
    writes: list[Write] = [Data(at, table[:PAGE]) for at in f.TABLE_PLACES]
    writes += [Zero(moved.bat_at, MIB)]
    writes += [Data(at, page) for at, page in moved.pages().items()]
    log = place(run([writes], file_bytes=V1.end, last=61 * MIB))
    image = replace(dirty(V0, log, V1), file_bytes=V1.end)
    check(reader, image.write(tmp_path), moved, *ALL)


def test_after_replay_the_file_is_as_long_as_the_head_says(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 15: a block past the file's end, whose payload never arrived, is zeros."""
    end = V0.end
    grown = with_blocks(V0, {block(1): Block(f.FULL, at=end)})
    log = place(run(steps(V0, grown), file_bytes=end, last=end + MIB))
    check(reader, dirty(V0, log).write(tmp_path), grown, *ALL)


def test_a_block_past_what_the_head_says_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 15."""
    end = V0.end
    grown = with_blocks(V0, {block(1): Block(f.FULL, at=end + MIB)})
    log = place(run(steps(V0, grown), file_bytes=end, last=end + MIB))
    check_refused(reader, dirty(V0, log).write(tmp_path), block(1) * MIB)


def test_a_file_shorter_than_was_flushed_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 15: it was cut since, so its content cannot be known."""
    log = place(entries(STEPS[0]))
    path = with_log(log).write(tmp_path)
    os.truncate(path, END - MIB)
    check_refused(reader, path)
    assert_refused(reader, tmp_path, place(entries(STEPS[0], flushed=END + MIB)))
    assert_refused(reader, tmp_path, place(entries(STEPS[0], flushed=(1 << 64) - MIB)))


def test_only_the_lengths_of_the_head_count(reader: Reader, tmp_path: Path) -> None:
    """Case 15: the file was longer when the first entry was written."""
    first, head = entries(STEPS[0], STEPS[1])
    first = replace(first, flushed=END + 9 * MIB, last=END + 9 * MIB)
    assert_reads(reader, tmp_path, place([first, head]), 1, 2)


def test_a_length_that_only_an_earlier_entry_says_is_none(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 15: a block behind what the head says is past the end."""
    end = V0.end
    grown = with_blocks(V0, {block(1): Block(f.FULL, at=end)})
    first, head = run([*steps(V0, grown), ()], file_bytes=end)
    first = replace(first, last=end + MIB)
    path = dirty(V0, place([first, head])).write(tmp_path)
    check_refused(reader, path, block(1) * MIB)


@pytest.mark.parametrize(
    "write",
    [
        Data(0, b"x" * PAGE),
        Data(f.HEADER_PLACES[0], bytes(PAGE)),
        Data(f.HEADER_PLACES[1], bytes(PAGE)),
        Data(188 << 10, bytes(PAGE)),
        Zero(0, PAGE),
        Zero(188 << 10, 2 * PAGE),
        Data(MIB, bytes(PAGE)),
        Data(2 * MIB - PAGE, bytes(PAGE)),
        Zero(MIB - PAGE, 2 * PAGE),
        Zero(f.TABLE_PLACES[0], 4 * MIB),
    ],
    ids=[
        "identifier",
        "header-1",
        "header-2",
        "before-tables",
        "zero-identifier",
        "zero-into-tables",
        "log",
        "end-of-log",
        "zero-into-log",
        "zero-over-log",
    ],
)
def test_a_log_that_writes_to_headers_or_itself_is_refused(
    reader: Reader, tmp_path: Path, write: Write
) -> None:
    """Case 15."""
    assert_refused(reader, tmp_path, place(entries((write,))))


def test_pages_next_to_headers_and_log_may_be_written(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 15: the first region table, the reserved rest of the head, the page behind the log."""
    table = RegionTable(V0.region_table().regions).encode()
    writes = (
        Data(f.TABLE_PLACES[0], table[:PAGE]),
        Zero(MIB - PAGE, PAGE),
        Data(2 * MIB, f.Metadata(V0.default_items()).encode()[:PAGE]),
    )
    assert_reads(reader, tmp_path, place(entries(writes)))


def test_a_zero_descriptor_for_terabytes_costs_no_memory(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: the file ends far before it, and grows to hold it."""
    far = 1 << 40
    log = place(entries((*STEPS[0], Zero(END, far)), last=END + far))
    assert_reads(reader, tmp_path, log, 1)

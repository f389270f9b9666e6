"""The log: which sequence is alive, and what does not belong to it (MS-VHDX 2.3)."""

from dataclasses import replace
from pathlib import Path

import pytest

from .format import MIB, PAGE
from .generator import (
    Image,
    differences,
    dirty,
    journal,
    steps,
)
from .log import data_sector, place, run
from .log_images import (
    AFTER_MANY,
    AFTER_ONE,
    ALL,
    BEFORE,
    END,
    MANY_PAGES,
    STEPS,
    V0,
    V1,
    V2,
    V4,
    VERSIONS,
    assert_reads,
    assert_refused,
    entries,
)
from .readers import Reader, check

# Case 8.


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

"""The log: what replay writes, where it may write, and how long the file is then (MS-VHDX 2.3)."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from . import format as f
from .format import MIB, PAGE, RegionTable
from .generator import (
    Block,
    Image,
    dirty,
    full,
    journal,
    partial,
    steps,
    with_blocks,
)
from .log import Data, Write, Zero, place, run
from .log_images import (
    ALL,
    END,
    STEPS,
    V0,
    V1,
    V4,
    VERSIONS,
    assert_reads,
    assert_refused,
    block,
    entries,
    having,
    with_log,
)
from .readers import Reader, check, check_refused

FOREIGN = UUID("f0f0f0f0-0000-4000-8000-000000000000")


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

"""Files made to do harm: refused with a typed error, quickly, and with nothing read (case 25)."""

import os
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from . import format as f
from .format import FULL, GIB, HEADER_PLACES, MIB, PAGE, TABLE_PLACES, TIB, seal
from .generator import Bitmap, Block, Image, full, journal, partial, with_blocks
from .readers import Reader, check, check_refused

TWO = Image(size=4 * MIB, blocks={0: full("a", at=8 * MIB), 1: full("b", at=9 * MIB)})


def placed(at: int, **more: object) -> Image:
    """A disk whose block 1 claims to lie at `at`."""
    blocks = {0: full("a", at=8 * MIB), 1: Block(FULL, at=at)}
    return replace(TWO, blocks=blocks, file_bytes=16 * MIB, **more)  # type: ignore[arg-type]


def test_the_file_without_harm_is_read(reader: Reader, tmp_path: Path) -> None:
    """So that what follows is refused for what is wrong with it."""
    check(reader, placed(9 * MIB).write(tmp_path), placed(9 * MIB))


@pytest.mark.parametrize(
    "at",
    [0, MIB, 2 * MIB, 3 * MIB, 8 * MIB, 16 * MIB, 17 * MIB, TIB, 1 << 63],
    ids=[
        "headers",
        "log",
        "metadata",
        "bat",
        "another-block",
        "at-eof",
        "past-eof",
        "far-past-eof",
        "sign-bit",
    ],
)
def test_a_block_out_of_place_is_refused(
    reader: Reader, tmp_path: Path, at: int
) -> None:
    """Case 25: below 1 MiB (FULL with offset 0), over another object, past the end."""
    check_refused(reader, placed(at).write(tmp_path), MIB)


def test_a_block_half_past_the_end_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 25: the file is long enough for its first sectors only."""
    image = replace(placed(15 * MIB), file_bytes=15 * MIB + 512)
    check_refused(reader, image.write(tmp_path), 2 * MIB - 512)
    check_refused(reader, image.write(tmp_path), MIB)


@pytest.mark.parametrize("second", [9, 11])
def test_blocks_that_overlap_in_part_are_refused(
    reader: Reader, tmp_path: Path, second: int
) -> None:
    """Case 25: places are multiples of a MiB, blocks may be longer."""
    block = 2 * MIB
    blocks = {0: full("a", at=10 * MIB), 1: full("b", at=second * MIB)}
    image = Image(size=2 * block, block_bytes=block, blocks=blocks)
    check_refused(reader, image.write(tmp_path), 0)
    good = replace(image, blocks={**blocks, 1: full("b", at=12 * MIB)})
    check(reader, good.write(tmp_path), good)


def test_a_block_that_reaches_into_a_region_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: it begins in front of it."""
    image = Image(
        size=4 * MIB,
        block_bytes=4 * MIB,
        bat_at=8 * MIB,
        blocks={0: full("a", at=5 * MIB)},
    )
    check_refused(reader, image.write(tmp_path))
    good = replace(image, blocks={0: full("a", at=4 * MIB)})
    check(reader, good.write(tmp_path), good)


def test_a_block_in_an_unknown_region_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25 and case 4."""
    more = f.Region(f.INCOMPLETE_FILE, 9 * MIB, MIB, required=0)
    table = TWO.region_table(more)
    check_refused(reader, replace(TWO, tables=(table, table)).write(tmp_path), MIB)


def test_a_block_over_a_sector_bitmap_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25."""
    parent = Image(size=4 * MIB, name="parent.vhdx")
    child = Image(
        size=4 * MIB,
        parent=parent,
        blocks={0: partial("a", 1, at=8 * MIB), 1: full("b", at=6 * MIB)},
        bitmaps={0: Bitmap(FULL, 6 * MIB)},
    )
    check_refused(reader, child.write_chain(tmp_path), MIB)


def test_two_bitmaps_at_one_place_are_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 25."""
    size, block = 8 * GIB, 256 * MIB
    parent = Image(size=size, name="parent.vhdx", block_bytes=block)
    bits = Block(f.PARTIAL, bits=1)
    child = replace(
        parent,
        name="child.vhdx",
        parent=parent,
        blocks={0: bits, 16: bits},
        bitmaps={0: Bitmap(FULL, 6 * MIB), 1: Bitmap(FULL, 6 * MIB)},
    )
    check_refused(reader, child.write_chain(tmp_path), 16 * block)


def test_two_entries_far_apart_with_one_place_are_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: in different chunks, so that no neighbour shows it."""
    blocks = {0: full("a", at=8 * MIB), 9000: full("b", at=8 * MIB)}
    image = Image(size=9001 * MIB, blocks=blocks)
    check_refused(reader, image.write(tmp_path), 9000 * MIB)


def test_a_disk_that_claims_more_blocks_than_its_bat_holds_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: 64 TiB with blocks of 1 MiB, and a region of 1 MiB; nothing large is allocated."""
    check_refused(reader, Image(size=64 * TIB, bat_bytes=MIB).write(tmp_path))


def test_a_bat_region_of_four_gigabytes_costs_no_memory(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: legal, all holes; only the entries that the disk needs are looked at."""
    image = replace(TWO, bat_at=16 * MIB, bat_bytes=0xFFF0_0000)
    check(reader, image.write(tmp_path), image)


def test_a_log_of_four_gigabytes_without_a_guid_costs_nothing(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: legal; nobody looks into it."""
    image = replace(TWO, log_at=16 * MIB, log_bytes=0xFFF0_0000)
    check(reader, image.write(tmp_path), image)


DIRTY = journal(TWO, with_blocks(TWO, {2: full("c"), 3: full("d")}))
STRUCTURES = [
    *((at, 80) for at in HEADER_PLACES),
    *((at, 80) for at in TABLE_PLACES),
    (DIRTY.log_at, 96),
    (DIRTY.log_at + PAGE, 40),
    (DIRTY.metadata_at, 32 * 6),
    (DIRTY.metadata_at + 64 * 1024, 40),
    (DIRTY.bat_at, 32),
]
SEALED = {
    HEADER_PLACES[0]: PAGE,
    HEADER_PLACES[1]: PAGE,
    TABLE_PLACES[0]: f.TABLE_BYTES,
    TABLE_PLACES[1]: f.TABLE_BYTES,
    DIRTY.log_at: 2 * PAGE,
}
"""Structures with a checksum, which a hostile file has right."""


@pytest.mark.parametrize("seed", range(8))
def test_a_file_with_wrong_bytes_is_read_or_refused(
    reader: Reader, tmp_path: Path, seed: int
) -> None:
    """Case 25: no panic, no other error, no read outside, whatever the numbers say."""
    chance = random.Random(seed)
    path = DIRTY.write(tmp_path)
    whole = path.read_bytes()
    edges = [
        b"\0",
        b"\xff",
        b"\x80",
        b"\x7f",
        b"\x01",
        b"\0" * 4,
        b"\xff" * 4,
        b"\xff" * 8,
    ]
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            at, length = chance.choice(STRUCTURES)
            place = at + chance.randrange(length)
            change = chance.choice([*edges, chance.randbytes(2)])
            data[place : place + len(change)] = change
        for at, length in SEALED.items():
            data[at : at + length] = seal(bytes(data[at : at + length]))
        path.write_bytes(data)
        try:
            disk = reader.open(path)
            size = min(disk.size, 8 * MIB)
            assert len(disk.read(0, size)) == size
            assert len(disk.read(disk.size - 512, 512)) == 512
        except reader.refusals:
            continue


@pytest.mark.parametrize("seed", range(3))
def test_a_file_cut_anywhere_is_read_or_refused(
    reader: Reader, tmp_path: Path, seed: int
) -> None:
    """Case 25: and what is read is right, for a block that is there is there whole."""
    chance = random.Random(seed)
    content = TWO.expected(0, TWO.size)
    for _ in range(15):
        path = TWO.write(tmp_path)
        os.truncate(path, chance.choice([chance.randrange(TWO.end), TWO.end - 512]))
        try:
            assert reader.open(path).read(0, TWO.size) == content
        except reader.refusals:
            continue


@pytest.mark.parametrize("content", [b"", b"\0", b"vhdxfile", b"MZ" * 999], ids=repr)
def test_a_file_that_is_no_disk_is_refused(
    reader: Reader, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "disk.vhdx"
    path.write_bytes(content)
    check_refused(reader, path, length=0)


def test_zeroes_where_the_first_bat_page_was_are_absent_blocks(
    reader: Reader, tmp_path: Path
) -> None:
    """A BAT without checksum cannot be told from one that is empty: the bytes are zeros, no junk."""
    image = replace(TWO, patches=((TWO.bat_at, struct.pack("<QQ", 0, 0)),))
    check(reader, image.write(tmp_path), replace(TWO, blocks={}))

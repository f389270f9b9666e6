"""Legacy VHD files made to do harm: refused with a typed error, and with nothing read."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from .generator import noise
from .readers import Reader, check, check_refused
from .vhd_generator import (
    DIFFERENCING,
    NO_HEADER,
    SECTOR,
    Block,
    VhdImage,
    full,
)

MIB = 1 << 20
SPAN = 2 * MIB // SECTOR + 1

TWO = VhdImage(
    size=6 * MIB,
    blocks={0: full("a", 2 * MIB, 15), 1: full("b", 2 * MIB, 15 + SPAN)},
    footer_at=8 * MIB,
)


def placed(sector: int) -> VhdImage:
    """A disk whose block 2 claims to lie at a sector."""
    return replace(TWO, entries={2: sector})


def test_the_file_without_harm_is_read(vhd_reader: Reader, tmp_path: Path) -> None:
    """So that what follows is refused for what is wrong with it."""
    good = replace(TWO, blocks={**TWO.blocks, 2: Block(at=15 + 2 * SPAN)})
    check(vhd_reader, good.write(tmp_path), good)


@pytest.mark.parametrize(
    "sector",
    [
        0,
        1,
        2,
        3,
        14,
        15,
        16,
        14 + SPAN,
        14 + 2 * SPAN,
        8 * MIB // SECTOR - SPAN + 1,
        8 * MIB // SECTOR,
        0xFFFFFFFE,
    ],
)
def test_a_block_out_of_place_is_refused(
    vhd_reader: Reader, tmp_path: Path, sector: int
) -> None:
    """On the footer, the header, the table, another block, past the footer and the file's end."""
    check_refused(vhd_reader, placed(sector).write(tmp_path), 4 * MIB)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"size": 1000},
        {"size": (2040 << 30) + SECTOR},
        {"size": 1 << 63},
        {"kind": 0},
        {"kind": 1},
        {"kind": 5},
        {"version": 0x00020000},
        {"header_at": 0},
        {"header_at": 513},
        {"header_at": 8 * MIB - SECTOR},
        {"header_at": 1 << 62},
        {"header_at": NO_HEADER},
        {"kind": DIFFERENCING},
    ],
    ids=str,
)
def test_a_footer_that_says_what_cannot_be_is_refused(
    vhd_reader: Reader, tmp_path: Path, changes: dict[str, int]
) -> None:
    footer = TWO.with_footer(**changes).footer
    assert footer is not None
    # The header stays where it was, and only the two footers change.
    path = TWO.write(tmp_path)
    with path.open("r+b") as file:
        file.write(footer.encode())
        file.seek(TWO.end)
        file.write(footer.encode())
    check_refused(vhd_reader, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": b"cxsparsf"},
        {"wrong_by": 1},
        {"version": 0},
        {"block_bytes": 0},
        {"block_bytes": 256},
        {"block_bytes": 3 * MIB},
        {"block_bytes": 0xFFFFFFFF},
        {"block_bytes": 512},
        {"max_entries": 2},
        {"max_entries": 0},
        {"table_at": 0},
        {"table_at": 100},
        {"table_at": 1024},
        {"table_at": 8 * MIB},
        {"table_at": 1 << 63},
        {"table_at": NO_HEADER - 511},
    ],
    ids=str,
)
def test_a_header_that_says_what_cannot_be_is_refused(
    vhd_reader: Reader, tmp_path: Path, changes: dict[str, int]
) -> None:
    path = TWO.write(tmp_path)
    header = TWO.with_header(**changes).header
    assert header is not None
    with path.open("r+b") as file:
        file.seek(SECTOR)
        file.write(header.encode())
    check_refused(vhd_reader, path)


@pytest.mark.parametrize("length", [0, 1, 100, 511, 512, 1000, 1536, 2048, 10_000])
def test_a_file_that_ends_early_is_refused(
    vhd_reader: Reader, tmp_path: Path, length: int
) -> None:
    path = TWO.write(tmp_path)
    with path.open("r+b") as file:
        file.truncate(length)
    check_refused(vhd_reader, path)


def test_more_blocks_than_any_real_disk_has_are_refused(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    """2^23 of them would ask for memory and time that no disk is worth."""
    size = 2040 << 30
    image = VhdImage(size=size).with_header(block_bytes=256 << 10, max_entries=1 << 24)
    table = (1536, b"\xff" * (size // (256 << 10) * 4))
    image = replace(image, patches=(table,), footer_at=64 * MIB)
    check_refused(vhd_reader, image.write(tmp_path))


def test_a_table_of_zeros_names_the_footer_and_is_refused(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    table = (1536, bytes(3 * 4))
    check_refused(vhd_reader, replace(TWO, patches=(table,)).write(tmp_path))


@pytest.mark.parametrize(
    ("at", "length"),
    [(4096, 7), (4096, 65_536), (8 * MIB - 10, 30), (1 << 63, 30), (NO_HEADER, 30)],
)
def test_a_locator_out_of_place_is_refused(
    vhd_reader: Reader, tmp_path: Path, at: int, length: int
) -> None:
    parent = VhdImage(size=2 * MIB, name="parent.vhd", content={0: noise("p", SECTOR)})
    child = VhdImage(size=2 * MIB, parent=parent, footer_at=8 * MIB)
    check(vhd_reader, child.write_chain(tmp_path), child)
    path = child.write(tmp_path)
    header = child.default_header()
    (first, second) = header.locators
    wrong = replace(header, locators=(replace(first, at=at, length=length), second))
    with path.open("r+b") as file:
        file.seek(SECTOR)
        file.write(wrong.encode())
    check_refused(vhd_reader, path)


def test_flipped_bits_of_metadata_are_refused_or_read_as_before(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    """One bit anywhere in footer or header: either a checksum sees it, or the other copy serves."""
    path = TWO.write(tmp_path)
    whole = path.read_bytes()
    refusals = 0
    for bit in range(0, (512 + 1024) * 8, 37):
        data = bytearray(whole[: 2 * 4096])
        data[bit // 8] ^= 1 << bit % 8
        with path.open("r+b") as file:
            file.write(data)
        try:
            disk = vhd_reader.open(path)
        except vhd_reader.refusals:
            refusals += 1
            assert bit >= 512 * 8
        else:
            assert disk.read(0, SECTOR) == TWO.expected(0, SECTOR)
            assert bit < 512 * 8
    assert refusals > 100


def test_the_structures_have_the_sizes_of_the_format() -> None:
    assert len(TWO.default_footer().encode()) == 512
    assert len(TWO.default_header().encode()) == 1024
    assert struct.calcsize(">4sIIIQ") == 24

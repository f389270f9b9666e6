"""The limits of the format: the largest disks, blocks, places and numbers (MS-VHDX 2.6.2)."""

from dataclasses import replace
from pathlib import Path

import pytest

from .format import FULL, GIB, KIB, MIB, TIB, ZERO
from .generator import Block, Image, full, full_at_ends, noise, partial
from .readers import Reader, check, check_refused

EDGE = 64 * KIB


def test_blocks_of_one_and_of_256_mib_are_read(reader: Reader, tmp_path: Path) -> None:
    """Case 24: with 512 and with 4096 byte sectors."""
    for sector in (512, 4096):
        for block in (MIB, 256 * MIB):
            blocks = {n: full_at_ends(n, block) for n in (3, 0, 2)}
            size = 4 * block - sector
            image = Image(
                size=size, block_bytes=block, sector_bytes=sector, blocks=blocks
            )
            path = image.write(tmp_path)
            check(reader, path, image, *(n * block for n in range(4)), size)


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("block", [MIB, 256 * MIB])
def test_bitmaps_of_the_smallest_and_largest_blocks_are_read(
    reader: Reader, tmp_path: Path, sector: int, block: int
) -> None:
    """Case 24: 32 bytes of bits for a block, and 64 KiB."""
    parent = Image(
        size=3 * block,
        name="parent.vhdx",
        block_bytes=block,
        sector_bytes=sector,
        blocks={n: full_at_ends(("p", n), block) for n in range(3)},
    )
    sectors = block // sector
    first, last = 0b0110_1001, 0b1001_0110 << sectors - 8
    ends = {0: noise("first", EDGE), block - EDGE: noise("last", EDGE)}
    blocks = {n: Block(7, ends, bits=first | last) for n in (1, 2, 0)}
    child = replace(parent, name="child.vhdx", parent=parent, blocks=blocks)
    check(reader, child.write_chain(tmp_path), child, *(n * block for n in range(4)))


@pytest.mark.parametrize(
    ("size", "block", "sector"),
    [
        (2 * TIB, 32 * MIB, 512),
        (2 * TIB, 2 * MIB, 4096),
        (64 * TIB, 256 * MIB, 512),
        (64 * TIB, 32 * MIB, 512),
        (64 * TIB, 32 * MIB, 4096),
        (64 * TIB, 2 * MIB, 512),
        (64 * TIB, MIB, 512),
    ],
    ids=lambda value: f"{value // TIB}TiB" if value >= TIB else str(value),
)
def test_a_present_block_at_the_very_end_of_a_large_disk_is_read(
    reader: Reader, tmp_path: Path, size: int, block: int, sector: int
) -> None:
    """Case 24: with a BAT of up to 513 MiB that is nearly all holes."""
    last = size // block - 1
    places = [0, 1, last // 2, last - 1, last]
    blocks = {n: full_at_ends(n, block) for n in (last, 0, last // 2)}
    blocks[last - 1] = Block(ZERO)
    image = Image(size=size, block_bytes=block, sector_bytes=sector, blocks=blocks)
    check(reader, image.write(tmp_path), image, *(n * block for n in places), size)


def test_a_chain_of_the_largest_disks_is_read(reader: Reader, tmp_path: Path) -> None:
    """Case 24: sector bits of the last of 16,384 chunks."""
    size, block = 64 * TIB, 32 * MIB
    last = size // block - 1
    parent = Image(
        size=size,
        name="parent.vhdx",
        block_bytes=block,
        blocks={n: full_at_ends(("p", n), block) for n in (0, last)},
    )
    ends = {0: noise("first", EDGE), 2 * MIB - EDGE: noise("last", EDGE)}
    bits = int.from_bytes(b"\x99" * 512, "little")
    own = {n: Block(7, ends, bits=bits) for n in (size // (2 * MIB) - 1, 0)}
    child = Image(size=size, block_bytes=2 * MIB, parent=parent, blocks=own)
    path = child.write_chain(tmp_path)
    check(
        reader, path, child, 0, 2 * MIB, 32 * MIB, size - 32 * MIB, size - 2 * MIB, size
    )


def test_one_byte_more_than_64_tib_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 24: and exactly 64 TiB was read above."""
    image = Image(size=64 * TIB + 4096, block_bytes=256 * MIB)
    check_refused(reader, image.write(tmp_path))


@pytest.mark.parametrize("block_bytes", [MIB, 2 * MIB, 256 * MIB])
@pytest.mark.parametrize(
    "at",
    [
        (1 << 64) - MIB,
        (1 << 64) - 2 * MIB,
        (1 << 64) - 256 * MIB,
        1 << 63,
        (1 << 63) - MIB,
        (1 << 63) - 256 * MIB,
        1 << 62,
    ],
    ids=hex,
)
def test_a_place_near_the_greatest_is_refused(
    reader: Reader, tmp_path: Path, at: int, block_bytes: int
) -> None:
    """Case 24: the end of the block lies past 2^63 or 2^64, where sums wrap."""
    block = Block(FULL, at=at)
    image = Image(size=2 * block_bytes, block_bytes=block_bytes, blocks={1: block})
    image = replace(image, file_bytes=GIB)
    check_refused(reader, image.write(tmp_path), block_bytes)


@pytest.mark.parametrize("at", [(1 << 64) - MIB, (1 << 63) - MIB, 1 << 63], ids=hex)
def test_a_partial_place_near_the_greatest_is_refused(
    reader: Reader, tmp_path: Path, at: int
) -> None:
    """Case 24: the same in a child."""
    parent = Image(size=4 * MIB, name="parent.vhdx", blocks={1: full("p")})
    own = {1: replace(partial("own", 1), at=at, data={})}
    child = Image(size=4 * MIB, parent=parent, blocks=own, file_bytes=9 * MIB)
    check_refused(reader, child.write_chain(tmp_path), MIB)


def test_a_file_of_terabytes_is_read_at_its_end(reader: Reader, tmp_path: Path) -> None:
    """Case 24: places that need more than 32 bits of MiB shifted by 20, up to 8 TiB."""
    places = {n: (1 << power) + 3 * MIB for n, power in enumerate(range(32, 44))}
    blocks = {n: full(n, 4 * KIB, at) for n, at in places.items()}
    image = Image(size=len(blocks) * MIB, blocks=blocks)
    check(reader, image.write(tmp_path), image)

"""Payload blocks of a disk without a parent: places, states, borders and ends (MS-VHDX 2.5)."""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from . import format as f
from .format import (
    FULL,
    GIB,
    KIB,
    MIB,
    NOT_PRESENT,
    PARTIAL,
    UNDEFINED,
    UNMAPPED,
    ZERO,
    Item,
)
from .generator import Block, Image, fixed_image, full, full_at_ends, noise
from .readers import Disk, Reader, check, check_refused


def check_reads(disk: Disk, image: Image, reads: list[tuple[int, int]]) -> None:
    for offset, length in reads:
        assert disk.read(offset, length) == image.expected(offset, length), (
            offset,
            length,
        )


# Case 16.


def chunk_border(*, sector: int, block: int, fixed: bool) -> Image:
    """A disk of a chunk and two blocks, with data in the three blocks about the border."""
    ratio = (sector << 23) // block
    present = {
        ratio - 2: full_at_ends("before last", block),
        ratio - 1: full_at_ends("last of the chunk", block),
        ratio: full_at_ends("first of the next", block),
        ratio + 1: full_at_ends("and the next", block),
    }
    size = (ratio + 2) * block
    if fixed:
        return fixed_image(size, present, block_bytes=block, sector_bytes=sector)
    return Image(size=size, block_bytes=block, sector_bytes=sector, blocks=present)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed"])
@pytest.mark.parametrize(
    ("sector", "block"),
    [
        (512, MIB),
        (512, 2 * MIB),
        (512, 32 * MIB),
        (512, 256 * MIB),
        (4096, 2 * MIB),
        (4096, 32 * MIB),
        (4096, 256 * MIB),
    ],
)
def test_reads_about_the_border_of_a_chunk_find_their_blocks(
    reader: Reader, tmp_path: Path, sector: int, block: int, fixed: bool
) -> None:
    """Case 16: before, across and after 4 GiB (512) and 32 GiB (4096)."""
    image = chunk_border(sector=sector, block=block, fixed=fixed)
    path = image.write(tmp_path)
    border = sector << 23
    check(
        reader,
        path,
        image,
        border - 2 * block,
        border - block,
        border,
        border + block,
        image.size,
    )
    disk = reader.open(path)
    reads = [(border - 512, 512), (border, 512), (border - 512, 1024), (border - 1, 2)]
    check_reads(
        disk,
        image,
        [*reads, (border - block - 512, 1024), (border + block - 512, 1024)],
    )
    if block <= 2 * MIB:
        check_reads(disk, image, [(border - 2 * block, 4 * block)])


def test_a_disk_of_exactly_one_chunk_needs_no_bitmap_entry(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 16: the last payload entry is the last of the table."""
    image = Image(size=4 * GIB, blocks={4095: full("last"), 0: full("first")})
    assert image.bat_entries == 4096
    check(reader, image.write(tmp_path), image, 0, 4095 * MIB, image.size)


def test_bitmap_entries_of_a_dynamic_disk_shift_all_later_blocks(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 16: far behind, where a reader that forgets them is off by many."""
    far = 20 * 4096 + 7
    image = Image(size=21 * 4 * GIB, blocks={far + n: full(n) for n in range(-3, 4)})
    path = image.write(tmp_path)
    check(reader, path, image, *((far + n) * MIB for n in range(-24, 25)))


# Case 17.


ORDERS = {
    "adjacent": [0, 1, 2, 3, 4, 5],
    "descending": [5, 4, 3, 2, 1, 0],
    "scattered": [7, 0, 11, 3, 30, 1],
    "pairs": [4, 5, 2, 3, 0, 1],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("sector", [512, 4096])
def test_reads_go_from_the_middle_of_a_block_across_others(
    reader: Reader, tmp_path: Path, order: list[int], sector: int
) -> None:
    """Case 17: wherever the blocks lie in the file."""
    blocks = {n: full(n, at=(4 + place) * MIB) for n, place in enumerate(order)}
    image = Image(size=6 * MIB, sector_bytes=sector, blocks=blocks)
    disk = reader.open(image.write(tmp_path))
    half = MIB // 2
    check_reads(
        disk, image, [(0, 6 * MIB), (half, 5 * MIB), (half + 4096, MIB), (half, half)]
    )
    check_reads(
        disk, image, [(MIB - 1, 2), (3 * MIB - 513, 2 * MIB + 1026), (5 * MIB + 7, 99)]
    )
    chance = random.Random(17)
    for _ in range(50):
        offset = chance.randrange(image.size)
        check_reads(disk, image, [(offset, chance.randint(0, image.size - offset))])


def test_reads_go_across_present_and_absent_blocks(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 17."""
    image = Image(size=7 * MIB, blocks={5: full("5"), 1: full("1"), 3: full("3")})
    disk = reader.open(image.write(tmp_path))
    check_reads(
        disk,
        image,
        [(0, 7 * MIB), (MIB // 2, 6 * MIB), (4 * MIB - 1, 2), (2 * MIB, MIB)],
    )


def test_a_read_of_no_bytes_gives_none(reader: Reader, tmp_path: Path) -> None:
    """Case 17: also at the very end."""
    image = Image(size=4 * MIB, blocks={1: full("a")})
    disk = reader.open(image.write(tmp_path))
    for offset in (0, 1, MIB, 2 * MIB, image.size):
        assert disk.read(offset, 0) == b""


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (4 * MIB, 1),
        (4 * MIB - 1, 2),
        (0, 4 * MIB + 1),
        (1 << 62, 1),
        ((1 << 64) - 1, 1),
        (1, (1 << 63) - 1),
    ],
)
def test_a_read_past_the_end_is_misuse(
    reader: Reader, tmp_path: Path, offset: int, length: int
) -> None:
    """Case 17: an error, not a short answer; the sum may overflow."""
    disk = reader.open(Image(size=4 * MIB, blocks={3: full("a")}).write(tmp_path))
    with pytest.raises(ValueError, match="outside the disk"):
        disk.read(offset, length)


# Case 18.


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("block", [MIB, 2 * MIB, 32 * MIB])
@pytest.mark.parametrize("rest", [4096, MIB - 4096, MIB // 2 + 4096])
def test_a_disk_ends_inside_its_last_block(
    reader: Reader, tmp_path: Path, sector: int, block: int, rest: int
) -> None:
    """Case 18: the block is there whole in the file."""
    image = Image(
        size=2 * block + rest,
        block_bytes=block,
        sector_bytes=sector,
        blocks={2: full("last", MIB), 1: full_at_ends("before", block)},
    )
    check(reader, image.write(tmp_path), image, 0, block, 2 * block, image.size)


@pytest.mark.parametrize("state", [NOT_PRESENT, FULL])
@pytest.mark.parametrize("size", [512, 4096, MIB, 4 * MIB, 32 * MIB - 512])
def test_a_disk_is_smaller_than_a_block(
    reader: Reader, tmp_path: Path, size: int, state: int
) -> None:
    """Case 18: Windows makes a file of 36 MiB for a disk of 4 MiB."""
    data = {n * MIB: noise(n, 16 * KIB) for n in range(32)}
    blocks = {0: Block(state, data)}
    image = Image(size=size, block_bytes=32 * MIB, blocks=blocks)
    check(reader, image.write(tmp_path), image, 0, size // 2, size)


@pytest.mark.parametrize("kept", [MIB // 2, MIB // 2 + 512, MIB - 512])
def test_the_last_block_may_be_cut_where_the_disk_has_ended(
    reader: Reader, tmp_path: Path, kept: int
) -> None:
    """Case 18: as old qemu images are."""
    image = Image(size=2 * MIB + MIB // 2, blocks={0: full("a"), 2: full("b")})
    path = image.write(tmp_path)
    os.truncate(path, image.end - MIB + kept)
    check(reader, path, image)


def test_a_block_that_is_not_the_last_must_not_be_cut(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 18."""
    image = Image(size=2 * MIB + MIB // 2, blocks={2: full("b"), 0: full("a")})
    path = image.write(tmp_path)
    os.truncate(path, image.end - 512)
    check_refused(reader, path, MIB - 512)


@pytest.mark.parametrize("kept", [0, 512, MIB // 2 - 512, MIB // 2 - 1])
def test_the_last_block_must_not_be_cut_where_the_disk_goes_on(
    reader: Reader, tmp_path: Path, kept: int
) -> None:
    """Case 18: the bytes are lost, and zeros would be a guess."""
    image = Image(size=2 * MIB + MIB // 2, blocks={0: full("a"), 2: full("b")})
    path = image.write(tmp_path)
    os.truncate(path, image.end - MIB + kept)
    check_refused(reader, path, 2 * MIB, MIB // 2)


def test_bytes_behind_the_end_of_the_disk_are_not_read(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 18."""
    image = Image(size=MIB + 512, blocks={1: full("last")})
    disk = reader.open(image.write(tmp_path))
    assert disk.size == MIB + 512
    with pytest.raises(ValueError, match="outside the disk"):
        disk.read(MIB, 1024)


# Case 19.


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed"])
@pytest.mark.parametrize("state", [NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED])
@pytest.mark.parametrize(
    "stale_at",
    [None, 8 * MIB, 6 * MIB, MIB, 1 << 40, (1 << 64) - MIB],
    ids=["no-offset", "old-data", "others-data", "the-log", "past-eof", "greatest"],
)
def test_blocks_in_a_state_without_data_read_as_zeros(
    reader: Reader, tmp_path: Path, state: int, stale_at: int | None, fixed: bool
) -> None:
    """Case 19: whatever offset is left in their entry."""
    old = {0: noise("old", MIB)} if stale_at == 8 * MIB else {}
    blocks = {
        0: full("before", at=5 * MIB),
        1: Block(state, old, stale_at),
        2: full("after", at=6 * MIB),
    }
    image = Image(size=3 * MIB, blocks=blocks, fixed=fixed, file_bytes=9 * MIB)
    assert not any(image.expected(MIB, MIB))
    check(reader, image.write(tmp_path), image)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed"])
def test_a_fully_present_block_reads_from_the_file(
    reader: Reader, tmp_path: Path, fixed: bool
) -> None:
    """Case 19: state 6."""
    image = Image(size=2 * MIB, blocks={0: full("a"), 1: full("b")}, fixed=fixed)
    check(reader, image.write(tmp_path), image)


@pytest.mark.parametrize("at", [0, 5 * MIB], ids=["no-offset", "offset"])
@pytest.mark.parametrize("state", [4, 5])
def test_states_four_and_five_are_refused(
    reader: Reader, tmp_path: Path, state: int, at: int
) -> None:
    """Case 19."""
    image = Image(size=2 * MIB, blocks={1: Block(state, at=at)}, file_bytes=9 * MIB)
    check_refused(reader, image.write(tmp_path), MIB)


@pytest.mark.parametrize("state", [NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULL])
@pytest.mark.parametrize("bit", [0, 8, 16])
def test_reserved_bits_of_an_entry_are_refused(
    reader: Reader, tmp_path: Path, state: int, bit: int
) -> None:
    """Case 19: bits 3 to 19."""
    block = Block(state, at=4 * MIB, reserved=1 << bit)
    image = Image(size=2 * MIB, blocks={1: block}, file_bytes=9 * MIB)
    check_refused(reader, image.write(tmp_path), MIB)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed"])
def test_a_partially_present_block_without_a_parent_is_refused(
    reader: Reader, tmp_path: Path, fixed: bool
) -> None:
    """Case 19: state 7, at a good place."""
    image = Image(size=2 * MIB, blocks={1: Block(PARTIAL, {0: b"part"})}, fixed=fixed)
    check_refused(reader, image.write(tmp_path), MIB)


def test_a_partially_present_block_without_a_parent_is_refused_with_its_bitmap(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 19: also where the chunk has a sector bitmap, as if there had been a parent once."""
    block = 256 * MIB
    blocks = {1: Block(PARTIAL, {0: b"part"}, bits=1)}
    image = Image(size=17 * block, block_bytes=block, blocks=blocks)
    assert image.bitmap_entry(0) < image.bat_entries
    check_refused(reader, image.write(tmp_path), block)


def test_a_locator_in_a_disk_without_a_parent_does_not_matter(
    reader: Reader, tmp_path: Path
) -> None:
    image = Image(size=2 * MIB, blocks={1: full("a")})
    locator = Item(
        guid=f.PARENT_LOCATOR, data=f.encode_locator([("relative_path", ".\\no.vhdx")])
    )
    check(
        reader,
        replace(image, items=(*image.default_items(), locator)).write(tmp_path),
        image,
    )


def test_a_block_may_lie_far_in_the_file(reader: Reader, tmp_path: Path) -> None:
    """Places past 4 GiB and past 1 TiB, as in the file of a large disk."""
    places = {0: 5 * GIB, 1: (1 << 40) + 3 * MIB, 2: 4 * GIB - MIB, 3: 4 * GIB}
    image = Image(size=4 * MIB, blocks={n: full(n, at=at) for n, at in places.items()})
    check(reader, image.write(tmp_path), image)

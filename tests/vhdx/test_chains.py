"""Differencing disks: which level a sector is read from (MS-VHDX 2.4, 2.5.1)."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

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
)
from .generator import (
    Bitmap,
    Block,
    Image,
    fixed_image,
    full,
    full_at_ends,
    noise,
    partial,
)
from .readers import Reader, check, check_refused

SECTORS = MIB // 512
"""Sectors of 512 bytes in a block of 1 MiB."""
ALL_BITS = (1 << SECTORS) - 1

PARENT = Image(
    size=4 * MIB, name="parent.vhdx", blocks={n: full(("p", n)) for n in range(4)}
)


def child_of(parent: Image, blocks: dict[int, Block], **more: object) -> Image:
    return Image(size=parent.size, parent=parent, blocks=blocks, **more)  # type: ignore[arg-type]


def bit_numbers(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


# Case 20.


@pytest.mark.parametrize(
    "bits",
    [
        0,
        ALL_BITS,
        bit_numbers(0),
        bit_numbers(1),
        bit_numbers(7),
        bit_numbers(8),
        bit_numbers(7, 8),
        bit_numbers(0, 7, 8),
        bit_numbers(6, 9),
        bit_numbers(15, 16, 17),
        bit_numbers(63, 64),
        bit_numbers(31, 32, 33),
        bit_numbers(SECTORS - 1),
        bit_numbers(SECTORS - 8),
        ALL_BITS ^ 1,
        ALL_BITS ^ bit_numbers(7, 8),
        ALL_BITS ^ bit_numbers(SECTORS - 1),
        int.from_bytes(b"\x55" * (SECTORS // 8), "little"),
        int.from_bytes(b"\xf0" * (SECTORS // 8), "little"),
        random.Random(1).getrandbits(SECTORS),
        random.Random(2).getrandbits(SECTORS) & random.Random(3).getrandbits(SECTORS),
        random.Random(4).getrandbits(SECTORS) | random.Random(5).getrandbits(SECTORS),
    ],
    ids=lambda bits: (
        hex(bits)[:18] if bits.bit_count() < 64 else f"{bits.bit_count()}bits"
    ),
)
def test_each_sector_of_a_partially_present_block_comes_from_where_its_bit_says(
    reader: Reader, tmp_path: Path, bits: int
) -> None:
    """Case 20: single bits, about the borders of bytes and words, least significant bit first."""
    image = child_of(
        PARENT, {1: partial("own", bits), 2: partial("next", ~bits & ALL_BITS)}
    )
    path = image.write_chain(tmp_path)
    check(reader, path, image)
    disk = reader.open(path)
    for sector in (0, 1, 6, 7, 8, 9, 16, SECTORS - 1, SECTORS, SECTORS + 7):
        at = MIB + sector * 512
        for start, length in ((at, 512), (at + 100, 300), (at - 10, 20)):
            assert disk.read(start, length) == image.expected(start, length)


def test_reads_start_and_end_inside_the_runs_of_a_bitmap(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 20."""
    chance = random.Random(20)
    bits = chance.getrandbits(SECTORS)
    image = child_of(PARENT, {1: partial("own", bits), 2: full("full")})
    disk = reader.open(image.write_chain(tmp_path))
    for _ in range(100):
        offset = chance.randrange(image.size)
        length = min(chance.randint(1, 20 * KIB), image.size - offset)
        assert disk.read(offset, length) == image.expected(offset, length)


@pytest.mark.parametrize("bits", [0, 1, random.Random(6).getrandbits(SECTORS)])
def test_a_fully_present_block_is_its_own_whatever_the_bits(
    reader: Reader, tmp_path: Path, bits: int
) -> None:
    """Case 20: the bitmap must not be looked at."""
    blocks = {0: partial("there is a bitmap", 1), 1: replace(full("own"), bits=bits)}
    image = child_of(PARENT, blocks)
    assert image.expected(MIB, MIB) == noise("own", MIB)
    check(reader, image.write_chain(tmp_path), image)


@pytest.mark.parametrize("at", [None, 12 * MIB], ids=["no-offset", "stale-offset"])
@pytest.mark.parametrize("bits", [1, ALL_BITS, random.Random(7).getrandbits(SECTORS)])
def test_a_block_that_is_not_present_is_the_parents_whatever_the_bits(
    reader: Reader, tmp_path: Path, bits: int, at: int | None
) -> None:
    """Case 20: they are stale."""
    stale = Block(NOT_PRESENT, {0: noise("stale", MIB)} if at else {}, at, bits)
    image = child_of(
        PARENT, {0: partial("there is a bitmap", 1), 1: stale}, file_bytes=13 * MIB
    )
    assert image.expected(MIB, MIB) == PARENT.expected(MIB, MIB)
    check(reader, image.write_chain(tmp_path), image)


@pytest.mark.parametrize("block", [MIB, 2 * MIB, 32 * MIB])
@pytest.mark.parametrize("sector", [512, 4096])
def test_the_bits_of_a_block_lie_behind_those_of_the_blocks_before(
    reader: Reader, tmp_path: Path, sector: int, block: int
) -> None:
    """Case 20 and case 24: for every size of block and sector."""
    parent = Image(
        size=6 * block,
        name="parent.vhdx",
        block_bytes=block,
        sector_bytes=sector,
        blocks={n: full_at_ends(("p", n), block) for n in range(6)},
    )
    sectors = block // sector
    chance = random.Random(block + sector)
    blocks = {
        n: partial(("c", n), chance.getrandbits(sectors), length=64 * KIB)
        for n in (5, 1, 2, 4)
    }
    image = child_of(parent, blocks, block_bytes=block, sector_bytes=sector)
    path = image.write_chain(tmp_path)
    check(reader, path, image, *(n * block for n in range(7)))
    check(reader, path, image, *(n * block + 56 * KIB for n in range(6)))


@pytest.mark.parametrize(("sector", "block"), [(512, 2 * MIB), (4096, 32 * MIB)])
def test_each_chunk_has_a_bitmap_of_its_own(
    reader: Reader, tmp_path: Path, sector: int, block: int
) -> None:
    """Case 20 past one chunk: three chunks, bitmaps in the first and the last."""
    ratio = (sector << 23) // block
    numbers = [0, ratio - 1, ratio, ratio + 1, 2 * ratio - 1, 2 * ratio, 2 * ratio + 3]
    size = (2 * ratio + 4) * block
    parent = fixed_image(
        size,
        {n: full_at_ends(("p", n), block) for n in numbers},
        name="parent.vhdx",
        block_bytes=block,
        sector_bytes=sector,
    )
    bits = random.Random(ratio).getrandbits(block // sector)
    blocks = {
        n: partial(("c", n), bits >> n % 7, 64 * KIB)
        for n in numbers
        if n not in (ratio, ratio + 1)
    }
    blocks[ratio] = full_at_ends("middle chunk", block)
    del blocks[2 * ratio - 1]
    image = child_of(parent, blocks, block_bytes=block, sector_bytes=sector)
    assert image.bat_entries == 3 * (ratio + 1)
    check(
        reader, image.write_chain(tmp_path), image, *(n * block for n in numbers), size
    )


# Case 21.


@pytest.mark.parametrize(
    "bits", [None, 0, ALL_BITS], ids=["no-bitmap", "bits-clear", "bits-set"]
)
@pytest.mark.parametrize("at", [None, 12 * MIB], ids=["no-offset", "soft-anchor"])
@pytest.mark.parametrize("state", [ZERO, UNMAPPED, UNDEFINED])
def test_a_block_without_data_hides_the_parent(
    reader: Reader, tmp_path: Path, state: int, at: int | None, bits: int | None
) -> None:
    """Case 21: zeros, never the parent's data, nor what lies at the place that is kept."""
    kept = {0: noise("kept", MIB)} if at else {}
    image = child_of(PARENT, {1: Block(state, kept, at, bits)}, file_bytes=13 * MIB)
    assert not any(image.expected(MIB, MIB))
    assert any(image.expected(0, MIB))
    check(reader, image.write_chain(tmp_path), image)


def test_a_zero_in_the_middle_of_a_chain_hides_all_below(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 21."""
    middle = child_of(PARENT, {1: Block(ZERO), 2: Block(UNMAPPED)}, name="middle.vhdx")
    top = child_of(middle, {2: partial("own", 0b10)})
    check(reader, top.write_chain(tmp_path), top)


def test_a_chunk_without_a_bitmap_block_is_read(reader: Reader, tmp_path: Path) -> None:
    """Case 21: as long as nothing in it is partially present."""
    blocks = {0: Block(ZERO), 1: full("own"), 3: Block(UNMAPPED)}
    image = child_of(PARENT, blocks)
    assert image.bitmap_entry(0) not in image.bat()
    check(reader, image.write_chain(tmp_path), image)


@pytest.mark.parametrize("state", [0, 1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("at", [0, 5 * MIB], ids=["no-offset", "offset"])
def test_a_partially_present_block_without_a_present_bitmap_is_refused(
    reader: Reader, tmp_path: Path, state: int, at: int
) -> None:
    """Case 21: 6 is the only state in which a bitmap is there."""
    image = child_of(
        PARENT,
        {1: partial("own", 1, at=6 * MIB)},
        bitmaps={0: Bitmap(state, at)},
        file_bytes=9 * MIB,
    )
    check_refused(reader, image.write_chain(tmp_path), MIB)


@pytest.mark.parametrize(
    "at",
    [0, 1 << 40, (1 << 64) - MIB, 3 * MIB, 6 * MIB, 2 * MIB, MIB, 8 * MIB],
    ids=["zero", "past-eof", "overflow", "bat", "payload", "metadata", "log", "cut"],
)
def test_a_bitmap_out_of_place_is_refused(
    reader: Reader, tmp_path: Path, at: int
) -> None:
    """Case 21 and case 25: below 1 MiB, past the end, or over something else."""
    image = child_of(
        PARENT,
        {1: partial("own", 1, at=6 * MIB)},
        bitmaps={0: Bitmap(FULL, at)},
        file_bytes=8 * MIB + 4096,
    )
    check_refused(reader, image.write_chain(tmp_path), MIB)


@pytest.mark.parametrize("bit", [0, 16])
def test_reserved_bits_of_a_bitmap_entry_are_refused(
    reader: Reader, tmp_path: Path, bit: int
) -> None:
    bitmap = Bitmap(FULL, 5 * MIB, reserved=1 << bit)
    image = child_of(PARENT, {1: partial("own", 1)}, bitmaps={0: bitmap})
    check_refused(reader, image.write_chain(tmp_path), MIB)


def test_a_bitmap_that_no_block_uses_does_not_matter(
    reader: Reader, tmp_path: Path
) -> None:
    """Merged and trimmed children keep them."""
    image = child_of(
        PARENT, {1: full("own")}, bitmaps={0: Bitmap(FULL, 8 * MIB)}, file_bytes=9 * MIB
    )
    image = replace(image, patches=((8 * MIB, b"\xff" * 4096),))
    check(reader, image.write_chain(tmp_path), image)


# Case 22.


def random_level(
    parent: Image, chance: random.Random, name: str, **more: object
) -> Image:
    """A child with every state in it, its bytes sparse enough for large blocks."""
    image = Image(size=parent.size, parent=parent, name=name, **more)  # type: ignore[arg-type]
    blocks: dict[int, Block] = {}
    numbers = list(range(image.payload_blocks))
    chance.shuffle(numbers)
    sectors = image.block_bytes // image.sector_bytes
    for number in numbers:
        state = chance.choice(
            [NOT_PRESENT, NOT_PRESENT, PARTIAL, PARTIAL, FULL, ZERO, UNMAPPED]
        )
        at_random = {
            chance.randrange(0, image.block_bytes - 8192, 512): noise(
                (name, number, piece), 8192
            )
            for piece in range(3)
        }
        bits = chance.getrandbits(sectors) if state in (PARTIAL, NOT_PRESENT) else None
        blocks[number] = Block(
            state, at_random if state in (PARTIAL, FULL) else {}, bits=bits
        )
    return replace(image, blocks=blocks)


@pytest.mark.parametrize("levels", [3, 4, 6, 10])
@pytest.mark.parametrize("sector", [512, 4096])
def test_a_sector_is_read_through_many_levels(
    reader: Reader, tmp_path: Path, levels: int, sector: int
) -> None:
    """Case 22."""
    chance = random.Random(levels)
    base = {n: full(("base", n)) for n in range(6)}
    image = Image(size=6 * MIB, name="level0.vhdx", sector_bytes=sector, blocks=base)
    for level in range(1, levels):
        image = random_level(image, chance, f"level{level}.vhdx", sector_bytes=sector)
    check(reader, image.write_chain(tmp_path), image)


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize(
    "sizes",
    [(32, 2, 1), (32, 2, 2, 2), (1, 2, 32), (2, 32, 1), (256, 1, 2)],
    ids=lambda sizes: "over".join(map(str, reversed(sizes))),
)
def test_levels_with_blocks_of_different_sizes_are_read(
    reader: Reader, tmp_path: Path, sizes: tuple[int, ...], sector: int
) -> None:
    """Case 22: checkpoints are 2 MiB over 32 MiB."""
    chance = random.Random(repr(sizes))
    size = 37 * MIB + 12 * KIB
    places = {n * MIB: noise(("base", n), 64 * KIB) for n in range(min(sizes[0], 37))}
    block = sizes[0] * MIB
    blocks = {n: Block(FULL, places) for n in range(-(-size // block))}
    image = Image(
        size=size,
        name="level0.vhdx",
        block_bytes=block,
        sector_bytes=sector,
        blocks=blocks,
    )
    for level, mib in enumerate(sizes[1:], 1):
        name = f"level{level}.vhdx"
        image = random_level(
            image, chance, name, block_bytes=mib * MIB, sector_bytes=sector
        )
    check(reader, image.write_chain(tmp_path), image)


def test_levels_with_different_chunk_ratios_are_read_past_their_borders(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 22: the chunk's border is at 4 GiB for all, but at other entries of each BAT."""
    size = 8 * GIB + 96 * MIB
    borders = [4 * GIB, 8 * GIB]
    image: Image | None = None
    for level, block in enumerate([32 * MIB, 2 * MIB, MIB, 16 * MIB]):
        bits = random.Random(level).getrandbits(block // 512) if image else None
        blocks = {}
        for border in borders:
            for n in (border // block - 1, border // block):
                data = {
                    0: noise((level, n), 32 * KIB),
                    block - 32 * KIB: noise((n, level), 32 * KIB),
                }
                blocks[n] = Block(PARTIAL if image else FULL, data, bits=bits)
        name = f"level{level}.vhdx"
        image = Image(
            size=size, name=name, block_bytes=block, parent=image, blocks=blocks
        )
    assert image is not None
    around = [border + step for border in borders for step in (-24 * KIB, 0, 24 * KIB)]
    check(reader, image.write_chain(tmp_path), image, *around, size)


@pytest.mark.parametrize("parent_size", [512, MIB - 512, 2 * MIB + 1536, 3 * MIB])
@pytest.mark.parametrize("parent_block", [MIB, 2 * MIB])
def test_a_child_larger_than_its_parent_is_zeros_past_the_parents_end(
    reader: Reader, tmp_path: Path, parent_size: int, parent_block: int
) -> None:
    """Case 22: also inside a partially present block, and where the parent's file has more."""
    blocks = {
        n: full(("p", n), parent_block) for n in range(-(-parent_size // parent_block))
    }
    parent = Image(
        size=parent_size, name="parent.vhdx", block_bytes=parent_block, blocks=blocks
    )
    every_other = int.from_bytes(b"\xaa" * (SECTORS // 8), "little")
    own = {2: partial("own", every_other), 4: full("new"), 5: partial("far", 0b110)}
    image = Image(size=6 * MIB + 512, parent=parent, blocks=own)
    assert not any(image.expected(3 * MIB, MIB))
    check(reader, image.write_chain(tmp_path), image)


@pytest.mark.parametrize("size", [512, MIB + 512, 3 * MIB])
def test_a_child_smaller_than_its_parent_ends_where_it_says(
    reader: Reader, tmp_path: Path, size: int
) -> None:
    """Case 22."""
    blocks = {0: partial("own", 0b1)} if size > MIB else {}
    image = Image(size=size, parent=PARENT, blocks=blocks)
    check(reader, image.write_chain(tmp_path), image)


def test_a_large_child_over_a_small_one_over_a_large_parent_does_not_see_through(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 22: what the middle level has cut off stays cut off."""
    middle = Image(size=2 * MIB + 512, name="middle.vhdx", parent=PARENT)
    top = Image(size=4 * MIB, parent=middle, blocks={3: partial("own", 0b1)})
    assert not any(top.expected(2 * MIB + 512, MIB - 512))
    check(reader, top.write_chain(tmp_path), top)


def test_a_child_of_a_fixed_disk_is_read(reader: Reader, tmp_path: Path) -> None:
    """As in the corpus; the parent is all there."""
    parent = fixed_image(4 * MIB, {n: full(n) for n in range(4)}, name="parent.vhdx")
    image = child_of(parent, {1: partial("own", 0xF0F0), 2: Block(ZERO)})
    check(reader, image.write_chain(tmp_path), image)

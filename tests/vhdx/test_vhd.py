"""Legacy VHD: which footer counts, and what bits and places mean."""

from dataclasses import replace
from pathlib import Path

import pytest

from .generator import noise
from .readers import Reader, check, check_refused
from .vhd_generator import DYNAMIC, FIXED, SECTOR, Block, Footer, VhdImage, full

MIB = 1 << 20
GIB = 1 << 30

DISK = VhdImage(
    size=7 * MIB + 512,
    blocks={2: full("2", 2 * MIB), 0: full("0", 2 * MIB), 3: full("3", 2 * MIB)},
)
PLAIN = VhdImage(size=2 * MIB, content={0: noise("fixed", 2 * MIB)})
WRONG = DISK.default_footer()


def test_a_dynamic_and_a_fixed_disk_read_as_their_tables_say(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    check(vhd_reader, DISK.write(tmp_path), DISK)
    check(vhd_reader, PLAIN.write(tmp_path), PLAIN)


@pytest.mark.parametrize("image", [DISK, PLAIN], ids=["dynamic", "fixed"])
def test_a_footer_with_a_wrong_checksum_is_refused(
    vhd_reader: Reader, tmp_path: Path, image: VhdImage
) -> None:
    check_refused(vhd_reader, image.with_footer(wrong_by=1).write(tmp_path))


@pytest.mark.parametrize(
    "image",
    [
        replace(DISK, has_footer=False),
        replace(DISK.with_footer(wrong_by=1), copy=DISK.default_footer().encode()),
        replace(DISK, copy=bytes(SECTOR)),
        replace(DISK, copy=replace(WRONG, wrong_by=1).encode()),
        replace(DISK, copy=replace(WRONG, creator=b"vpc ", time=7).encode()),
    ],
    ids=["cut", "damaged", "no-copy", "damaged-copy", "other-time"],
)
def test_one_valid_footer_is_enough(
    vhd_reader: Reader, tmp_path: Path, image: VhdImage
) -> None:
    check(vhd_reader, image.write(tmp_path), DISK)


@pytest.mark.parametrize(
    "change",
    [{"size": 6 * MIB}, {"kind": FIXED + 2}, {"header_at": 1024}],
    ids=["size", "kind", "header"],
)
def test_two_valid_footers_that_contradict_each_other_are_refused(
    vhd_reader: Reader, tmp_path: Path, change: dict[str, int]
) -> None:
    copy = DISK.with_footer(**change).footer
    assert copy is not None
    check_refused(vhd_reader, replace(DISK, copy=copy.encode()).write(tmp_path))


def test_a_footer_of_511_bytes_is_read(vhd_reader: Reader, tmp_path: Path) -> None:
    for image in (DISK, PLAIN):
        check(vhd_reader, replace(image, footer_bytes=511).write(tmp_path), image)


def test_what_stands_at_the_start_of_a_fixed_disk_is_its_guests(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    """A whole dynamic disk, as a guest could write it: the footer at the end says what the file is."""
    inner = DISK.write(tmp_path).read_bytes()
    outer = VhdImage(size=len(inner), name="outer.vhd", content={0: inner})
    check(vhd_reader, outer.write(tmp_path), outer)
    signature = VhdImage(size=4096, name="x.vhd", content={0: b"vhdxfile"})
    check(vhd_reader, signature.write(tmp_path), signature)


@pytest.mark.parametrize("creator", [b"vpc ", b"qemu", b"qem2", b"win ", b"d2v\0"])
def test_the_current_size_counts_not_the_geometry_nor_the_original_size(
    vhd_reader: Reader, tmp_path: Path, creator: bytes
) -> None:
    image = DISK.with_footer(
        creator=creator, geometry=(100, 4, 17), original_size=3 * MIB
    )
    check(vhd_reader, image.write(tmp_path), image)


@pytest.mark.parametrize(
    "bits",
    [
        bytes([0b1000_0000]),
        bytes([0b0000_0001]),
        bytes([0b0101_1010, 0b1111_0000, 0b0000_1111, 0b1000_0001]),
        bytes(511) + b"\x01",
        bytes(512),
    ],
    ids=["first", "eighth", "mixed", "last", "none"],
)
def test_bits_of_a_dynamic_disk_are_read_from_the_most_significant_one_on(
    vhd_reader: Reader, tmp_path: Path, bits: bytes
) -> None:
    """Clear ones are zeros, whatever lies there."""
    image = VhdImage(
        size=5 * MIB, blocks={1: Block({0: noise("stale", 2 * MIB)}, bits)}
    )
    assert image.expected(2 * MIB, 2 * MIB).count(0) > MIB
    check(vhd_reader, image.write(tmp_path), image)


def test_data_that_are_not_aligned_are_read(vhd_reader: Reader, tmp_path: Path) -> None:
    """As qemu and Disk2vhd leave them: blocks one behind the other, right after the table."""
    span = 2 * MIB // SECTOR + 1
    blocks = {
        number: full(number, 2 * MIB, 4 + place * span)
        for place, number in enumerate([3, 0, 2])
    }
    image = replace(DISK, blocks=blocks)
    check(vhd_reader, image.write(tmp_path), image)


@pytest.mark.parametrize("block_bytes", [512, 4096, 512 << 10, 16 * MIB])
def test_blocks_of_any_power_of_two_are_read(
    vhd_reader: Reader, tmp_path: Path, block_bytes: int
) -> None:
    image = VhdImage(size=3 * block_bytes - 512 or 512, block_bytes=block_bytes)
    image = replace(image, blocks={1: full("1", min(block_bytes, 4096))})
    around = (block_bytes, image.size - 512)
    check(vhd_reader, image.write(tmp_path), image, *around)


def test_the_largest_disk_has_its_last_sector(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    size = 2040 * GIB
    last = size // (2 * MIB) - 1
    image = VhdImage(size=size, blocks={last: full("end", 2 * MIB)})
    check(vhd_reader, image.write(tmp_path), image, 0, GIB, size)


def test_a_table_longer_than_the_disk_needs_is_left_over(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    image = DISK.with_header(max_entries=500)
    check(vhd_reader, image.write(tmp_path), image)


def test_the_kinds_are_what_the_tests_say() -> None:
    assert (DISK.kind, PLAIN.kind) == (DYNAMIC, FIXED)
    assert len(Footer(512, FIXED, DISK.unique_id).encode()) == SECTOR

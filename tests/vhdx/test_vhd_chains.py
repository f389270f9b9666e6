"""Differencing legacy VHD files: bits, parents and where they are looked for."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from .generator import Image, noise
from .readers import Reader, check, check_refused
from .vhd_generator import SECTOR, Block, Locator, VhdImage, full

MIB = 1 << 20
SIZE = 5 * MIB + 512

PARENT = VhdImage(
    size=SIZE,
    name="parent.vhd",
    blocks={0: full("0", 2 * MIB), 2: full("2", 2 * MIB)},
)
CHILD = VhdImage(
    size=SIZE,
    name="child.avhd",
    parent=PARENT,
    blocks={
        1: full("own 1", 2 * MIB),
        0: Block({0: noise("own 0", 2 * MIB)}, noise("bits", 512)),
    },
)


def test_a_clear_bit_and_an_absent_block_are_the_parents(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    check(vhd_reader, CHILD.write_chain(tmp_path), CHILD)


def test_zeros_that_a_child_holds_hide_its_parent(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    """The format has no other way to say zero."""
    image = replace(CHILD, blocks={0: Block({}, b"\xff" * 256)})
    assert image.expected(0, MIB) == bytes(MIB)
    check(vhd_reader, image.write_chain(tmp_path), image)


@pytest.mark.parametrize("levels", [3, 5])
def test_a_chain_over_a_fixed_disk_reads_through_all_levels(
    vhd_reader: Reader, tmp_path: Path, levels: int
) -> None:
    image = VhdImage(size=SIZE, name="0.vhd", content={0: noise("base", SIZE)})
    for level in range(1, levels):
        bits = noise(("bits", level), 512)
        image = VhdImage(
            size=SIZE,
            name=f"{level}.avhd",
            parent=image,
            block_bytes=[512 << 10, MIB, 2 * MIB][level % 3],
            blocks={level % 3: Block({0: noise(level, 512 << 10)}, bits)},
        )
    check(vhd_reader, image.write_chain(tmp_path), image)


def test_a_parent_with_another_unique_id_is_refused(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    path = CHILD.write_chain(tmp_path)
    PARENT.with_footer(unique_id=UUID(int=7)).write(tmp_path)
    check_refused(vhd_reader, path)


def test_a_parent_that_was_written_later_is_no_error(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    """The time stamp is only worth a warning, and Windows 10 leaves it zero."""
    path = CHILD.with_header(parent_time=1).write(tmp_path)
    PARENT.with_footer(time=99).write(tmp_path)
    check(vhd_reader, path, CHILD)


@pytest.mark.parametrize("size", [SIZE - 512, SIZE + 512])
def test_a_parent_of_another_size_is_refused(
    vhd_reader: Reader, tmp_path: Path, size: int
) -> None:
    path = CHILD.write_chain(tmp_path)
    replace(PARENT, size=size).write(tmp_path)
    check_refused(vhd_reader, path)


def test_a_missing_parent_and_a_parent_of_another_format_are_refused(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    path = CHILD.write(tmp_path)
    check_refused(vhd_reader, path)
    Image(size=SIZE, name="parent.vhd").write(tmp_path)
    check_refused(vhd_reader, path)
    (tmp_path / "parent.vhd").write_bytes(bytes(SIZE))
    check_refused(vhd_reader, path)


def test_a_parent_that_is_itself_or_its_own_child_is_refused(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    itself = replace(CHILD.with_footer(unique_id=PARENT.unique_id), name="parent.vhd")
    check_refused(vhd_reader, itself.write(tmp_path))
    one = CHILD.write(tmp_path)
    two = CHILD.with_footer(unique_id=PARENT.unique_id)
    two = two.with_header(
        parent_id=CHILD.unique_id,
        locators=(Locator(b"W2ru", 4096, ".\\child.avhd".encode("utf-16-le")),),
    )
    replace(two, name="parent.vhd").write(tmp_path)
    check_refused(vhd_reader, one)


@pytest.mark.parametrize("kept", ["relative", "absolute", "name"])
def test_each_of_the_three_paths_finds_the_parent(
    vhd_reader: Reader, tmp_path: Path, kept: str
) -> None:
    absolute, relative = CHILD.default_header().locators
    child = {
        "relative": CHILD.with_header(locators=(relative,), parent_name=""),
        "absolute": CHILD.with_header(locators=(absolute,), parent_name=""),
        "name": CHILD.with_header(locators=()),
    }[kept]
    PARENT.write(tmp_path)
    check(vhd_reader, child.write(tmp_path), CHILD, 0, 2 * MIB)


def test_a_name_beyond_ascii_is_found(vhd_reader: Reader, tmp_path: Path) -> None:
    parent = replace(PARENT, name="Größe 磁盘 😀.vhd")
    child = replace(CHILD, parent=parent)
    check(vhd_reader, child.write_chain(tmp_path), child, 0)


def test_a_parent_elsewhere_must_be_allowed(vhd_reader: Reader, tmp_path: Path) -> None:
    inside, outside = tmp_path / "vm", tmp_path / "base"
    inside.mkdir()
    outside.mkdir()
    relative = Locator(b"W2ru", 4096, "..\\base\\parent.vhd".encode("utf-16-le"))
    path = CHILD.with_header(locators=(relative,)).write(inside)
    parent = PARENT.write(outside)
    check_refused(vhd_reader, path)
    expected = CHILD.expected(0, MIB)
    assert vhd_reader.open(path, folders=[outside]).read(0, MIB) == expected
    moved = parent.rename(outside / "moved.vhd")
    assert vhd_reader.open(path, parents=[moved]).read(0, MIB) == expected


def test_a_child_without_a_parent_id_is_refused(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    CHILD.write_chain(tmp_path)
    parent = PARENT.with_footer(unique_id=UUID(int=0))
    parent.write(tmp_path)
    path = CHILD.with_header(parent_id=UUID(int=0)).write(tmp_path)
    check_refused(vhd_reader, path)


def test_locators_of_other_systems_mean_nothing(
    vhd_reader: Reader, tmp_path: Path
) -> None:
    header = CHILD.default_header()
    other = Locator(b"MacX", 7 * SECTOR + 4096, b"file:///elsewhere/other.vhd")
    path = CHILD.with_header(locators=(other, *header.locators)).write(tmp_path)
    PARENT.write(tmp_path)
    check(vhd_reader, path, CHILD, 0)

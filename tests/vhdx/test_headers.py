"""Identifier and headers: which header counts, and what is no VHDX file at all (MS-VHDX 2.2)."""

import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from .format import HEADER_PLACES, KIB, MIB, NIL, TABLE_PLACES, Header
from .generator import Image, full, journal, with_blocks
from .readers import Reader, check, check_refused

CLEAN = Image(size=4 * MIB, blocks={1: full("a")})
LATER = with_blocks(CLEAN, {2: full("b")})
DIRTY = journal(CLEAN, LATER)
"""Read through its log it is LATER; by a header without a log it is CLEAN."""

TORN = 2000, b"torn"


def torn(place: int) -> tuple[int, bytes]:
    """Damage in the middle of a header, past all its fields, that only the checksum shows."""
    return place + TORN[0], TORN[1]


def two_headers(first: Header | None, second: Header | None) -> Image:
    return replace(DIRTY, headers=(first, second))


def without_log(sequence: int) -> Header:
    return replace(DIRTY.header(sequence), log_guid=NIL)


@pytest.mark.parametrize("newer", [0, 1], ids=["newer-first", "newer-second"])
def test_the_header_with_the_greater_number_counts(
    reader: Reader, tmp_path: Path, newer: int
) -> None:
    """Case 1, undamaged."""
    pair = [without_log(6), without_log(6)]
    pair[newer] = DIRTY.header(7)
    check(reader, two_headers(*pair).write(tmp_path), LATER)
    pair = [DIRTY.header(6), DIRTY.header(6)]
    pair[newer] = without_log(7)
    check(reader, two_headers(*pair).write(tmp_path), CLEAN)


@pytest.mark.parametrize("newer", [0, 1], ids=["newer-first", "newer-second"])
def test_a_torn_newer_header_leaves_the_older_one(
    reader: Reader, tmp_path: Path, newer: int
) -> None:
    """Case 1."""
    damage = (torn(HEADER_PLACES[newer]),)
    pair = [DIRTY.header(6), DIRTY.header(6)]
    pair[newer] = without_log(7)
    check(
        reader,
        replace(two_headers(*pair), patches=DIRTY.patches + damage).write(tmp_path),
        LATER,
    )
    pair = [without_log(6), without_log(6)]
    pair[newer] = DIRTY.header(7)
    check(
        reader,
        replace(two_headers(*pair), patches=DIRTY.patches + damage).write(tmp_path),
        CLEAN,
    )


@pytest.mark.parametrize("absent", [0, 1])
def test_one_header_alone_is_enough(
    reader: Reader, tmp_path: Path, absent: int
) -> None:
    """Case 1, where the other slot was never written."""
    pair: list[Header | None] = [CLEAN.header(1), CLEAN.header(1)]
    pair[absent] = None
    image = replace(CLEAN, headers=(pair[0], pair[1]))
    check(reader, image.write(tmp_path), image)


def test_a_header_with_a_wrong_signature_does_not_count(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 1: the checksum may be right all the same."""
    pair = DIRTY.header(6), replace(without_log(7), signature=b"daeh")
    check(reader, two_headers(*pair).write(tmp_path), LATER)


def test_two_torn_headers_are_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 1."""
    damage = tuple(torn(place) for place in HEADER_PLACES)
    check_refused(reader, replace(CLEAN, patches=damage).write(tmp_path))
    check_refused(reader, replace(CLEAN, headers=(None, None)).write(tmp_path))


def test_two_identical_headers_are_accepted(reader: Reader, tmp_path: Path) -> None:
    """Case 2: Disk2vhd writes number 1 twice."""
    image = replace(CLEAN, headers=(CLEAN.header(1), CLEAN.header(1)))
    check(reader, image.write(tmp_path), image)
    check(reader, two_headers(DIRTY.header(1), DIRTY.header(1)).write(tmp_path), LATER)


def test_of_two_different_headers_with_one_number_the_first_counts(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 2: the specification is silent; we take header 1, as OpenVMM does."""
    check(reader, two_headers(DIRTY.header(5), without_log(5)).write(tmp_path), LATER)
    check(reader, two_headers(without_log(5), DIRTY.header(5)).write(tmp_path), CLEAN)


def test_the_greatest_possible_number_counts(reader: Reader, tmp_path: Path) -> None:
    pair = DIRTY.header((1 << 64) - 1), without_log(1)
    check(reader, two_headers(*pair).write(tmp_path), LATER)


def test_numbers_are_compared_without_sign(reader: Reader, tmp_path: Path) -> None:
    pair = DIRTY.header(1 << 63), without_log((1 << 63) - 1)
    check(reader, two_headers(*pair).write(tmp_path), LATER)


@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_a_version_other_than_one_is_refused(
    reader: Reader, tmp_path: Path, version: int
) -> None:
    pair = [replace(CLEAN.header(n), version=version) for n in (10, 11)]
    check_refused(reader, replace(CLEAN, headers=(pair[0], pair[1])).write(tmp_path))


def test_an_unknown_log_version_is_refused_if_there_is_a_log(
    reader: Reader, tmp_path: Path
) -> None:
    pair = [replace(DIRTY.header(n), log_version=1) for n in (10, 11)]
    check_refused(reader, two_headers(pair[0], pair[1]).write(tmp_path))


def test_an_unknown_log_version_does_not_matter_without_a_log(
    reader: Reader, tmp_path: Path
) -> None:
    pair = [replace(CLEAN.header(n), log_version=1) for n in (10, 11)]
    check(reader, replace(CLEAN, headers=(pair[0], pair[1])).write(tmp_path), CLEAN)


@pytest.mark.parametrize(
    "identifier", [b"vhdxfilf", b"elifxdhv", b"conectix", bytes(8)], ids=repr
)
def test_a_wrong_identifier_is_refused(
    reader: Reader, tmp_path: Path, identifier: bytes
) -> None:
    path = replace(CLEAN, patches=((0, identifier),)).write(tmp_path)
    with pytest.raises(reader.refusals):
        reader.open_as_vhdx(path)


@pytest.mark.parametrize("name", ["disk.vhdx", "disk.avhdx", "DISK.VHDX"])
def test_a_file_that_is_called_vhdx_and_is_none_is_not_taken_for_a_raw_disk(
    reader: Reader, tmp_path: Path, name: str
) -> None:
    """Section 1.8: a bad identifier is refused. A backup of the container's bytes as if they were
    the disk's would look fine and be worth nothing."""
    path = replace(CLEAN, name=name, patches=((0, bytes(8)),)).write(tmp_path)
    check_refused(reader, path)


def test_the_creator_may_be_anything(reader: Reader, tmp_path: Path) -> None:
    """It is diagnostic, need not end in NUL, and may be no text at all."""
    image = replace(CLEAN, patches=((8, b"\xd8" * 512),))
    check(reader, image.write(tmp_path), image)


@pytest.mark.parametrize(
    "length",
    [
        8,
        520,
        64 * KIB,
        *HEADER_PLACES,
        128 * KIB + 4095,
        *TABLE_PLACES,
        MIB - 1,
        MIB,
        2 * MIB,
    ],
)
def test_a_file_that_ends_in_its_head_is_refused(
    reader: Reader, tmp_path: Path, length: int
) -> None:
    """Also where it ends before the log, the metadata or the BAT."""
    path = CLEAN.write(tmp_path)
    os.truncate(path, length)
    check_refused(reader, path)


@pytest.mark.parametrize("is_dirty", [False, True], ids=["clean", "dirty"])
@pytest.mark.parametrize(
    ("at", "length"),
    [
        (MIB + 4096, MIB),
        (MIB, MIB + 4096),
        (0, MIB),
        (512 * KIB, MIB),
        (1 << 40, MIB),
        ((1 << 64) - MIB, MIB),
        (MIB, 0xFFF0_0000),
    ],
    ids=[
        "at",
        "length",
        "in-head",
        "in-head-unaligned",
        "past-eof",
        "overflow",
        "huge",
    ],
)
def test_a_log_out_of_place_is_refused(
    reader: Reader, tmp_path: Path, at: int, length: int, is_dirty: bool
) -> None:
    """Section 1.8: misaligned, in the head of the file, or past its end."""
    guid = DIRTY.log_guid if is_dirty else NIL
    pair = [
        replace(CLEAN.header(n), log_at=at, log_bytes=length, log_guid=guid)
        for n in (10, 11)
    ]
    check_refused(reader, two_headers(pair[0], pair[1]).write(tmp_path))


def test_a_live_log_without_room_is_refused(reader: Reader, tmp_path: Path) -> None:
    pair = [replace(DIRTY.header(n), log_bytes=0) for n in (10, 11)]
    check_refused(reader, two_headers(pair[0], pair[1]).write(tmp_path))


def test_guids_in_the_header_do_not_matter_to_the_content(
    reader: Reader, tmp_path: Path
) -> None:
    odd = UUID(int=(1 << 128) - 1)
    pair = [replace(CLEAN.header(n), file_guid=odd, data_guid=NIL) for n in (10, 11)]
    check(reader, replace(CLEAN, headers=(pair[0], pair[1])).write(tmp_path), CLEAN)

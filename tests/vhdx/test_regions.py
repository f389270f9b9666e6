"""Region tables and metadata: what a reader needs, may ignore, and must refuse (MS-VHDX 2.2.3, 2.6)."""

import struct
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from . import format as f
from .format import (
    GIB,
    KIB,
    MIB,
    REQUIRED,
    TIB,
    USER,
    Item,
    Metadata,
    Region,
    RegionTable,
)
from .generator import Block, Image, full, partial
from .readers import Reader, check, check_refused

IMAGE = Image(size=4 * MIB, blocks={0: full("a"), 2: full("b")})
FOREIGN = UUID("0f0e0d0c-0b0a-4909-8807-060504030201")
FREE_AT = 16 * MIB
"""Where nothing of IMAGE lies."""

ITEMS = {item.guid: item for item in IMAGE.default_items()}


def with_table(table: RegionTable, **more: object) -> Image:
    return replace(IMAGE, tables=(table, table), **more)  # type: ignore[arg-type]


def with_regions(*regions: Region) -> Image:
    return with_table(RegionTable(regions), file_bytes=32 * MIB)


def with_items(*items: Item) -> Image:
    return replace(IMAGE, items=items)


def with_item(item: Item) -> Image:
    """The image with one item of its own replaced, or a foreign one more."""
    return with_items(*{**ITEMS, item.guid: item}.values())


BAT, METADATA = IMAGE.region_table().regions


# Case 3.


def test_a_damaged_first_region_table_leaves_the_second(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 3: by checksum, by signature, and never written."""
    good = IMAGE.region_table()
    torn = replace(IMAGE, patches=((f.TABLE_PLACES[0] + 60_000, b"torn"),))
    check(reader, torn.write(tmp_path), IMAGE)
    for first in (replace(good, signature=b"xxxx"), None):
        check(reader, replace(IMAGE, tables=(first, good)).write(tmp_path), IMAGE)


def test_a_damaged_second_region_table_does_not_matter(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 3."""
    image = replace(IMAGE, tables=(IMAGE.region_table(), None))
    check(reader, image.write(tmp_path), IMAGE)


def test_the_first_region_table_counts_if_both_are_good(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 3: the second is a copy for the case of damage, not a newer one."""
    elsewhere = RegionTable((replace(BAT, at=FREE_AT), METADATA))
    image = replace(
        IMAGE, tables=(IMAGE.region_table(), elsewhere), file_bytes=32 * MIB
    )
    check(reader, image.write(tmp_path), IMAGE)


def test_two_damaged_region_tables_are_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 3."""
    torn = tuple((place + 60_000, b"torn") for place in f.TABLE_PLACES)
    check_refused(reader, replace(IMAGE, patches=torn).write(tmp_path))
    check_refused(reader, replace(IMAGE, tables=(None, None)).write(tmp_path))


# Case 4.


def test_an_unknown_required_region_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 4."""
    check_refused(
        reader,
        with_regions(BAT, METADATA, Region(FOREIGN, FREE_AT, MIB)).write(tmp_path),
    )


def test_an_unknown_optional_region_is_ignored(reader: Reader, tmp_path: Path) -> None:
    """Case 4."""
    image = with_regions(Region(FOREIGN, FREE_AT, 2 * MIB, required=0), BAT, METADATA)
    check(reader, image.write(tmp_path), IMAGE)


@pytest.mark.parametrize(
    "at", [IMAGE.log_at, IMAGE.metadata_at, IMAGE.bat_at, 4 * MIB, 0]
)
def test_the_space_of_an_unknown_region_is_taken(
    reader: Reader, tmp_path: Path, at: int
) -> None:
    """Case 4: it must not overlap log, metadata, BAT, a payload block, or the headers."""
    image = with_regions(BAT, METADATA, Region(FOREIGN, at, MIB, required=0))
    check_refused(reader, image.write(tmp_path))


@pytest.mark.parametrize("flags", [REQUIRED, REQUIRED | 2])
def test_an_unknown_required_item_is_refused(
    reader: Reader, tmp_path: Path, flags: int
) -> None:
    """Case 4."""
    image = with_item(Item(guid=FOREIGN, data=b"what?", flags=flags))
    check_refused(reader, image.write(tmp_path))


@pytest.mark.parametrize("flags", [0, 2, USER, USER | 2])
def test_an_unknown_optional_or_user_item_is_ignored(
    reader: Reader, tmp_path: Path, flags: int
) -> None:
    """Case 4: also an empty one."""
    image = with_item(Item(guid=FOREIGN, data=noise_free(5000), flags=flags))
    check(reader, image.write(tmp_path), IMAGE)
    check(
        reader,
        with_item(Item(guid=FOREIGN, data=b"", flags=flags)).write(tmp_path),
        IMAGE,
    )


def noise_free(length: int) -> bytes:
    return b"\xee" * length


def test_a_user_item_with_the_id_of_a_known_one_is_another_item(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 4: items are known by id and the user bit together."""
    user = replace(ITEMS[f.VIRTUAL_DISK_SIZE], data=struct.pack("<Q", 512), flags=USER)
    check(reader, with_items(*ITEMS.values(), user).write(tmp_path), IMAGE)
    check(reader, with_items(user, *ITEMS.values()).write(tmp_path), IMAGE)


def test_a_user_item_does_not_stand_in_for_a_known_one(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 4."""
    user = replace(ITEMS[f.VIRTUAL_DISK_SIZE], flags=USER)
    check_refused(reader, with_item(user).write(tmp_path))


@pytest.mark.parametrize("flags", [0, USER])
def test_the_space_of_an_unknown_item_is_taken(
    reader: Reader, tmp_path: Path, flags: int
) -> None:
    """Case 4."""
    item = Item(guid=FOREIGN, data=bytes(8), flags=flags, at=f.TABLE_BYTES + 4)
    check_refused(reader, with_item(item).write(tmp_path))


def test_an_unfinished_file_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 4: OpenVMM marks a file that it is still creating with an empty required item."""
    image = with_item(Item(guid=f.INCOMPLETE_FILE, data=b"", flags=REQUIRED))
    check_refused(reader, image.write(tmp_path))


# Case 5.


@pytest.mark.parametrize("extra", [0, 512])
def test_a_file_as_qemu_writes_it_is_read(
    reader: Reader, tmp_path: Path, extra: int
) -> None:
    """Case 5: nothing marked required, BAT before metadata, 512 bytes past a MiB (Disk2vhd)."""
    image = replace(IMAGE, bat_at=2 * MIB, metadata_at=3 * MIB, payload_at=8 * MIB)
    bat, metadata = (
        replace(region, required=0) for region in image.region_table().regions
    )
    table = RegionTable((bat, metadata))
    image = replace(image, tables=(table, table), file_bytes=10 * MIB + extra)
    check(reader, image.write(tmp_path), image)


@pytest.mark.parametrize("places", [(9, 3, 6), (3, 6, 9), (6, 9, 3), (9, 6, 3)])
def test_objects_come_in_any_order(
    reader: Reader, tmp_path: Path, places: tuple[int, int, int]
) -> None:
    """Case 5: with payload before and after them."""
    log, metadata, bat = (MIB * place for place in places)
    blocks = {0: full("a", at=12 * MIB), 1: full("b", at=MIB), 3: full("c", at=4 * MIB)}
    image = replace(IMAGE, log_at=log, metadata_at=metadata, bat_at=bat, blocks=blocks)
    regions = RegionTable(image.region_table().regions[::-1])
    check(reader, replace(image, tables=(regions, regions)).write(tmp_path), image)


def test_items_come_in_any_order_and_anywhere(reader: Reader, tmp_path: Path) -> None:
    """Case 5."""
    check(reader, with_items(*reversed(ITEMS.values())).write(tmp_path), IMAGE)
    places = {guid: 1000 * KIB - 100 * n for n, guid in enumerate(ITEMS)}
    spread = tuple(replace(item, at=places[item.guid]) for item in ITEMS.values())
    bodies = tuple((IMAGE.metadata_at + places[i.guid], i.data) for i in ITEMS.values())
    check(reader, replace(IMAGE, items=spread, patches=bodies).write(tmp_path), IMAGE)


def test_required_does_not_matter_on_known_items(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 5: tolerant where makers differ."""
    optional = [replace(item, flags=item.flags & ~REQUIRED) for item in ITEMS.values()]
    check(reader, with_items(*optional).write(tmp_path), IMAGE)


# Section 1.8 and case 25: the region table.


@pytest.mark.parametrize(
    "regions",
    [
        (METADATA,),
        (BAT,),
        (),
        (BAT, METADATA, BAT),
        (BAT, METADATA, replace(METADATA, at=FREE_AT)),
        (BAT, METADATA, *[Region(FOREIGN, (16 + n) * MIB, MIB, 0) for n in (0, 1)]),
        (replace(BAT, at=BAT.at + 4096), METADATA),
        (BAT, replace(METADATA, at=METADATA.at + 512 * KIB)),
        (replace(BAT, length=MIB - 4096), METADATA),
        (replace(BAT, length=0), METADATA),
        (BAT, replace(METADATA, length=0)),
        (BAT, METADATA, Region(FOREIGN, FREE_AT, 0, 0)),
        (replace(BAT, at=METADATA.at), METADATA),
        (replace(BAT, at=IMAGE.log_at), METADATA),
        (replace(BAT, at=0), METADATA),
        (BAT, replace(METADATA, length=2 * MIB)),
        (replace(BAT, at=1 << 40), METADATA),
        (BAT, replace(METADATA, at=32 * MIB)),
        (replace(BAT, length=0xFFF0_0000), METADATA),
        (replace(BAT, at=(1 << 64) - MIB), METADATA),
        (replace(BAT, at=(1 << 63) - MIB), METADATA),
        (replace(BAT, at=(1 << 64) - MIB, length=0xFFF0_0000), METADATA),
    ],
    ids=[
        "no-bat",
        "no-metadata",
        "none",
        "same-bat-twice",
        "metadata-twice",
        "optional-twice",
        "bat-misaligned",
        "metadata-misaligned",
        "bat-length-misaligned",
        "bat-empty",
        "metadata-empty",
        "optional-empty",
        "bat-on-metadata",
        "bat-on-log",
        "bat-on-headers",
        "metadata-into-bat",
        "bat-past-eof",
        "metadata-past-eof",
        "bat-longer-than-file",
        "bat-end-overflows",
        "bat-end-overflows-sign",
        "bat-overflows-far",
    ],
)
def test_a_wrong_region_is_refused(
    reader: Reader, tmp_path: Path, regions: tuple[Region, ...]
) -> None:
    """Case 25 and section 1.8."""
    check_refused(reader, with_regions(*regions).write(tmp_path))


def test_2047_regions_are_read(reader: Reader, tmp_path: Path) -> None:
    """Case 25: the greatest number that is allowed."""
    more = [Region(UUID(int=n), (16 + n) * MIB, MIB, 0) for n in range(2045)]
    table = RegionTable((*more, BAT, METADATA))
    check(reader, with_table(table, file_bytes=3 * GIB).write(tmp_path), IMAGE)


@pytest.mark.parametrize("count", [2048, 0xFFFF_FFFF])
def test_more_than_2047_regions_are_refused(
    reader: Reader, tmp_path: Path, count: int
) -> None:
    """Case 25."""
    more = [Region(UUID(int=n), (16 + n) * MIB, MIB, 0) for n in range(2045)]
    table = RegionTable((BAT, METADATA, *more), count=count)
    check_refused(reader, with_table(table, file_bytes=3 * GIB).write(tmp_path))


# Section 1.8 and case 25: the metadata.


def sized(guid: UUID, form: str, *values: int) -> Image:
    return with_item(replace(ITEMS[guid], data=struct.pack(form, *values)))


@pytest.mark.parametrize("guid", ITEMS)
def test_a_missing_item_is_refused(reader: Reader, tmp_path: Path, guid: UUID) -> None:
    items = [item for item in ITEMS.values() if item.guid != guid]
    check_refused(reader, with_items(*items).write(tmp_path))


@pytest.mark.parametrize("guid", ITEMS)
@pytest.mark.parametrize("change", [-1, 1, "empty"])
def test_an_item_of_a_wrong_length_is_refused(
    reader: Reader, tmp_path: Path, guid: UUID, change: int | str
) -> None:
    data = ITEMS[guid].data
    wrong = b"" if isinstance(change, str) else (data + b"\0")[: len(data) + change]
    check_refused(reader, with_item(replace(ITEMS[guid], data=wrong)).write(tmp_path))


@pytest.mark.parametrize(
    "image",
    [
        sized(f.FILE_PARAMETERS, "<II", 0, 0),
        sized(f.FILE_PARAMETERS, "<II", MIB // 2, 0),
        sized(f.FILE_PARAMETERS, "<II", 3 * MIB, 0),
        sized(f.FILE_PARAMETERS, "<II", MIB + 512, 0),
        sized(f.FILE_PARAMETERS, "<II", 512 * MIB, 0),
        sized(f.FILE_PARAMETERS, "<II", 1 << 31, 0),
        sized(f.LOGICAL_SECTOR_SIZE, "<I", 0),
        sized(f.LOGICAL_SECTOR_SIZE, "<I", 1024),
        sized(f.LOGICAL_SECTOR_SIZE, "<I", 8192),
        sized(f.PHYSICAL_SECTOR_SIZE, "<I", 0),
        sized(f.PHYSICAL_SECTOR_SIZE, "<I", 2048),
        sized(f.VIRTUAL_DISK_SIZE, "<Q", 4 * MIB + 1),
        sized(f.VIRTUAL_DISK_SIZE, "<Q", 64 * TIB + 512),
        sized(f.VIRTUAL_DISK_SIZE, "<Q", (1 << 63) - 512),
        sized(f.VIRTUAL_DISK_SIZE, "<Q", 1 << 63),
        sized(f.VIRTUAL_DISK_SIZE, "<Q", (1 << 64) - 512),
        sized(f.VIRTUAL_DISK_SIZE, "<Q", (1 << 64) - 1),
    ],
)
def test_a_size_out_of_range_is_refused(
    reader: Reader, tmp_path: Path, image: Image
) -> None:
    """Case 25: also sizes that overflow 64 bits when rounded up to a block."""
    check_refused(reader, image.write(tmp_path))


def test_a_size_that_is_no_multiple_of_a_4096_byte_sector_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    check_refused(reader, Image(size=4 * MIB + 512, sector_bytes=4096).write(tmp_path))


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (Item(guid=FOREIGN, data=bytes(8), flags=0, at=0), "no place"),
        (Item(guid=FOREIGN, data=bytes(8), flags=0, at=32), "in the table"),
        (
            Item(guid=FOREIGN, data=bytes(8), flags=0, at=f.TABLE_BYTES - 4),
            "half in the table",
        ),
        (
            Item(guid=FOREIGN, data=bytes(8), flags=0, at=MIB - 4),
            "half past the region",
        ),
        (Item(guid=FOREIGN, data=bytes(8), flags=0, at=MIB), "past the region"),
        (
            Item(guid=FOREIGN, data=bytes(8), flags=0, at=0xFFFF_FFFC),
            "overflows 32 bits",
        ),
        (Item(guid=FOREIGN, data=b"", flags=0, at=512 * KIB), "empty, with a place"),
        (Item(guid=FOREIGN, data=bytes(8), flags=0, length=MIB + 1), "too long"),
        (Item(guid=FOREIGN, data=bytes(8), flags=0, length=0xFFFF_FFFF), "huge"),
        (Item(guid=FOREIGN, data=bytes(8), flags=8), "reserved flag"),
        (Item(guid=FOREIGN, data=bytes(8), flags=1 << 31), "last reserved flag"),
        (Item(guid=FOREIGN, data=bytes(8), flags=0, reserved=1), "reserved field"),
        (
            replace(ITEMS[f.VIRTUAL_DISK_SIZE], at=MIB - 4),
            "known, half past the region",
        ),
        (replace(ITEMS[f.VIRTUAL_DISK_SIZE], at=f.TABLE_BYTES), "known, over another"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_item_out_of_place_is_refused(
    reader: Reader, tmp_path: Path, item: Item, why: str
) -> None:
    check_refused(reader, with_item(item).write(tmp_path))


@pytest.mark.parametrize("flags", [0, USER], ids=["system", "user"])
def test_an_item_that_is_there_twice_is_refused(
    reader: Reader, tmp_path: Path, flags: int
) -> None:
    twice = [Item(guid=FOREIGN, data=bytes(8), flags=flags)] * 2
    check_refused(reader, with_items(*ITEMS.values(), *twice).write(tmp_path))


def test_a_known_item_that_is_there_twice_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    again = ITEMS[f.VIRTUAL_DISK_SIZE]
    check_refused(reader, with_items(*ITEMS.values(), again).write(tmp_path))


@pytest.mark.parametrize(
    "patch",
    [(0, b"metadatb"), (8, b"\1"), (9, b"\1")],
    ids=["signature", "reserved", "reserved-high"],
)
def test_a_corrupt_metadata_table_is_refused(
    reader: Reader, tmp_path: Path, patch: tuple[int, bytes]
) -> None:
    at, data = patch
    image = replace(IMAGE, patches=((IMAGE.metadata_at + at, data),))
    check_refused(reader, image.write(tmp_path))


def many_items(count: int, flags: int) -> tuple[Item, ...]:
    return tuple(Item(guid=UUID(int=n), data=b"", flags=flags) for n in range(count))


def test_2047_items_are_read(reader: Reader, tmp_path: Path) -> None:
    """Case 25: the greatest number that is allowed."""
    image = with_items(*many_items(2042, 0), *ITEMS.values())
    check(reader, image.write(tmp_path), IMAGE)


@pytest.mark.parametrize("count", [2048, 0xFFFF])
def test_more_than_2047_items_are_refused(
    reader: Reader, tmp_path: Path, count: int
) -> None:
    """Case 25."""
    items = *ITEMS.values(), *many_items(2042, 0)
    image = replace(IMAGE, metadata=Metadata(items, count=count))
    check_refused(reader, image.write(tmp_path))


def test_at_most_1024_user_items_are_read(reader: Reader, tmp_path: Path) -> None:
    """Case 25 and MS-VHDX 2.6.1.2."""
    good = with_items(*ITEMS.values(), *many_items(1024, USER))
    check(reader, good.write(tmp_path), IMAGE)
    check_refused(
        reader, with_items(*ITEMS.values(), *many_items(1025, USER)).write(tmp_path)
    )


# Case 25: the BAT in its region.


def test_a_bat_region_with_just_enough_room_is_read(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: one MiB holds 131,072 entries; 131,040 blocks of 1 MiB and their 31 bitmaps."""
    blocks = 131_041
    image = Image(size=blocks * MIB, blocks={blocks - 1: full("last")}, bat_bytes=MIB)
    assert image.bat_entries == 131_072
    check(reader, image.write(tmp_path), image, image.size)


def test_a_bat_region_too_short_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 25: one block more than fits."""
    image = Image(size=131_042 * MIB, blocks={0: full("first")}, bat_bytes=MIB)
    check_refused(reader, image.write(tmp_path))


def test_a_bat_region_too_short_for_the_bitmaps_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 25: a child needs the last bitmap entry, behind payload entries that it does not use."""
    parent = Image(size=131_041 * MIB, name="parent.vhdx")
    child = Image(size=parent.size, parent=parent, bat_bytes=MIB)
    child = replace(child, blocks={0: partial("first", 1)})
    check_refused(reader, child.write_chain(tmp_path))


def test_entries_behind_the_table_do_not_matter(reader: Reader, tmp_path: Path) -> None:
    """The rest of the region is reserved, not checked: drivers leave entries of a larger disk."""
    behind = IMAGE.bat_at + 8 * IMAGE.bat_entries
    junk = struct.pack("<Q", 1 << 40 | Block(f.FULL).state)
    check(reader, replace(IMAGE, patches=((behind, junk),)).write(tmp_path), IMAGE)

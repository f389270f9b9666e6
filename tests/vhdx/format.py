"""The structures of a VHDX file as bytes, written from MS-VHDX.

Each structure is a frozen dataclass with `encode`; a test that wants a wrong one replaces a field.
Nothing here knows what a structure means: that is `generator.py`.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40
PAGE: Final = 4096
"""The unit in which the log describes changes (MS-VHDX 2.3)."""

NIL: Final = UUID(int=0)

BAT_REGION: Final = UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA_REGION: Final = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")

FILE_PARAMETERS: Final = UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
VIRTUAL_DISK_SIZE: Final = UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
VIRTUAL_DISK_ID: Final = UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL_SECTOR_SIZE: Final = UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL_SECTOR_SIZE: Final = UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT_LOCATOR: Final = UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
INCOMPLETE_FILE: Final = UUID("71CC85F0-1B69-4E28-9558-C3BF83AE75D3")
"""OpenVMM's marker for a file that is still being created."""

VHDX_LOCATOR: Final = UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")

HEADER_PLACES: Final = (64 * KIB, 128 * KIB)
TABLE_PLACES: Final = (192 * KIB, 256 * KIB)
TABLE_BYTES: Final = 64 * KIB

NOT_PRESENT: Final = 0
UNDEFINED: Final = 1
ZERO: Final = 2
UNMAPPED: Final = 3
FULL: Final = 6
PARTIAL: Final = 7

USER: Final = 1
VIRTUAL_DISK: Final = 2
REQUIRED: Final = 4


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


@lru_cache(maxsize=512)
def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of `data`; remembered, as most tables are the same in most files."""
    table, crc = _CRC_TABLE, 0xFFFF_FFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFF_FFFF


def seal(structure: bytes) -> bytes:
    """`structure` with the checksum at its offset 4 made right."""
    blank = structure[:4] + bytes(4) + structure[8:]
    return blank[:4] + struct.pack("<I", crc32c(blank)) + blank[8:]


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


@dataclass(frozen=True, kw_only=True)
class Header:
    """One of the two headers (MS-VHDX 2.2.2)."""

    sequence: int
    file_guid: UUID
    data_guid: UUID
    log_guid: UUID = NIL
    log_version: int = 0
    version: int = 1
    log_bytes: int = MIB
    log_at: int = MIB
    signature: bytes = b"head"

    def encode(self) -> bytes:
        fields = struct.pack(
            "<4sIQ16s16s16sHHIQ",
            self.signature,
            0,
            self.sequence,
            self.file_guid.bytes_le,
            self.data_guid.bytes_le,
            self.log_guid.bytes_le,
            self.log_version,
            self.version,
            self.log_bytes,
            self.log_at,
        )
        return seal(fields.ljust(PAGE, b"\0"))


@dataclass(frozen=True)
class Region:
    """An entry of the region table (MS-VHDX 2.2.3.2)."""

    guid: UUID
    at: int
    length: int
    required: int = 1

    def encode(self) -> bytes:
        return struct.pack(
            "<16sQII", self.guid.bytes_le, self.at, self.length, self.required
        )


@dataclass(frozen=True)
class RegionTable:
    """The region table (MS-VHDX 2.2.3); `count` is the number that it claims."""

    regions: tuple[Region, ...]
    count: int | None = None
    signature: bytes = b"regi"

    def encode(self) -> bytes:
        count = len(self.regions) if self.count is None else self.count
        head = struct.pack("<4sIII", self.signature, 0, count, 0)
        table = head + b"".join(region.encode() for region in self.regions)
        return seal(table[:TABLE_BYTES].ljust(TABLE_BYTES, b"\0"))


@dataclass(frozen=True, kw_only=True)
class Item:
    """A metadata item (MS-VHDX 2.6.1.2); `at` and `length` override where it is said to be."""

    guid: UUID
    data: bytes
    flags: int = REQUIRED
    at: int | None = None
    length: int | None = None
    reserved: int = 0


@dataclass(frozen=True)
class Metadata:
    """The metadata region (MS-VHDX 2.6): the table, then the items packed from 64 KiB."""

    items: tuple[Item, ...]
    count: int | None = None
    signature: bytes = b"metadata"

    def encode(self) -> bytes:
        count = len(self.items) if self.count is None else self.count
        table = bytearray(struct.pack("<8sHH20x", self.signature, 0, count))
        body = bytearray()
        for item in self.items:
            at = TABLE_BYTES + len(body) if item.data else 0
            if item.at is None:
                body += item.data
            table += struct.pack(
                "<16sIIII",
                item.guid.bytes_le,
                at if item.at is None else item.at,
                len(item.data) if item.length is None else item.length,
                item.flags,
                item.reserved,
            )
        return bytes(table[:TABLE_BYTES]).ljust(TABLE_BYTES, b"\0") + bytes(body)


def encode_locator(
    pairs: Iterable[tuple[str, str]], kind: UUID = VHDX_LOCATOR
) -> bytes:
    """The parent locator (MS-VHDX 2.6.2.6) with these keys and values, in this order."""
    texts = [
        (key.encode("utf-16-le"), value.encode("utf-16-le")) for key, value in pairs
    ]
    at = 20 + 12 * len(texts)
    entries, strings = b"", b""
    for key, value in texts:
        key_at, value_at = at + len(strings), at + len(strings) + len(key)
        entries += struct.pack("<IIHH", key_at, value_at, len(key), len(value))
        strings += key + value
    return kind.bytes_le + struct.pack("<HH", 0, len(texts)) + entries + strings


def put(pages: dict[int, bytes], at: int, data: bytes) -> None:
    """Writes `data` at the file offset `at` into `pages`, a map from offset to 4-KiB page."""
    while data:
        page_at = at - at % PAGE
        inside = at - page_at
        part = data[: PAGE - inside]
        page = bytearray(pages.get(page_at, bytes(PAGE)))
        page[inside : inside + len(part)] = part
        pages[page_at] = bytes(page)
        at, data = at + len(part), data[len(part) :]


def without_zero_pages(pages: Mapping[int, bytes]) -> dict[int, bytes]:
    return {at: page for at, page in pages.items() if any(page)}

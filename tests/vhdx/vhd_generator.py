"""Writes legacy VHD files from a description, and knows what they must read as.

As `generator.py` does for VHDX: a `VhdImage` is a table of blocks, `write` makes the file and `expected`
says what the disk holds, from the table alone. Everything that is not said is what Windows 10 writes.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self
from uuid import NAMESPACE_OID, UUID, uuid5

from .format import NIL
from .generator import noise

MIB: Final = 1 << 20
SECTOR: Final = 512
PAGE: Final = 4096

FIXED: Final = 2
DYNAMIC: Final = 3
DIFFERENCING: Final = 4

ABSENT: Final = 0xFFFFFFFF
NO_HEADER: Final = 0xFFFFFFFFFFFFFFFF


def checksum(data: bytes) -> int:
    """The complement of the sum of all bytes, of which the checksum's own must be zero."""
    return ~sum(data) & 0xFFFFFFFF


def round_up(number: int, to: int) -> int:
    return -(-number // to) * to


@dataclass(frozen=True)
class Footer:
    """512 bytes at the end of the file, and but for fixed disks at its start."""

    size: int
    kind: int
    unique_id: UUID
    header_at: int = SECTOR
    signature: bytes = b"conectix"
    version: int = 0x00010000
    time: int = 0x2715AB0A
    creator: bytes = b"win "
    original_size: int | None = None
    geometry: tuple[int, int, int] = (120, 4, 17)
    wrong_by: int = 0
    """Added to the right checksum."""

    def encode(self) -> bytes:
        original = self.size if self.original_size is None else self.original_size
        head = struct.pack(
            ">8sIIQI4sI4sQQHBBI",
            self.signature,
            2,
            self.version,
            self.header_at,
            self.time,
            self.creator,
            0x000A0000,
            b"Wi2k",
            original,
            self.size,
            *self.geometry,
            self.kind,
        )
        tail = self.unique_id.bytes_le + bytes(428)
        sum_ = checksum(head + bytes(4) + tail) + self.wrong_by & 0xFFFFFFFF
        return head + struct.pack(">I", sum_) + tail


@dataclass(frozen=True)
class Locator:
    """One way to the parent: where its text lies, and how long it says that the text is."""

    platform: bytes
    at: int
    text: bytes
    length: int | None = None

    def encode(self) -> bytes:
        length = len(self.text) if self.length is None else self.length
        return struct.pack(">4sIIIQ", self.platform, PAGE, length, 0, self.at)


@dataclass(frozen=True)
class Header:
    """The dynamic header, 1024 bytes."""

    table_at: int
    max_entries: int
    block_bytes: int
    parent_id: UUID = NIL
    parent_time: int = 0
    parent_name: str = ""
    locators: tuple[Locator, ...] = ()
    signature: bytes = b"cxsparse"
    version: int = 0x00010000
    wrong_by: int = 0

    def encode(self) -> bytes:
        head = struct.pack(
            ">8sQQIII",
            self.signature,
            NO_HEADER,
            self.table_at,
            self.version,
            self.max_entries,
            self.block_bytes,
        )
        name = self.parent_name.encode("utf-16-be").ljust(512, b"\0")[:512]
        locators = b"".join(locator.encode() for locator in self.locators)
        tail = self.parent_id.bytes_le + struct.pack(">II", self.parent_time, 0) + name
        tail += locators.ljust(8 * 24, b"\0") + bytes(256)
        sum_ = checksum(head + bytes(4) + tail) + self.wrong_by & 0xFFFFFFFF
        return head + struct.pack(">I", sum_) + tail


@dataclass(frozen=True)
class Block:
    """A block that is in the file: its bytes, its bits (the first sector's uppermost), its place.

    Without bits all are set. `at` is the sector of the bitmap; without one, the block goes behind the
    others, its data at a multiple of 4 KiB.
    """

    data: Mapping[int, bytes] = field(default_factory=dict)
    bits: bytes | None = None
    at: int | None = None


def full(seed: object, length: int, at: int | None = None) -> Block:
    """A block of noise, all of it there."""
    return Block({0: noise(seed, length)}, None, at)


@dataclass(frozen=True, kw_only=True)
class VhdImage:
    """A VHD file and the disk that it holds."""

    size: int
    name: str = "disk.vhd"
    block_bytes: int = 2 * MIB
    parent: Self | None = None
    blocks: Mapping[int, Block] = field(default_factory=dict)
    content: Mapping[int, bytes] | None = None
    """The bytes of a fixed disk, by offset."""

    footer: Footer | None = None
    copy: bytes | None = None
    """The first 512 bytes, where they are not the footer."""
    has_footer: bool = True
    footer_bytes: int = SECTOR
    header: Header | None = None
    entries: Mapping[int, int] = field(default_factory=dict)
    """Entries of the table that are not what the blocks ask for."""
    footer_at: int | None = None
    patches: tuple[tuple[int, bytes], ...] = ()

    @property
    def kind(self) -> int:
        if self.content is not None:
            return FIXED
        return DYNAMIC if self.parent is None else DIFFERENCING

    @property
    def unique_id(self) -> UUID:
        if self.footer is not None:
            return self.footer.unique_id
        return uuid5(NAMESPACE_OID, f"unique id {self.name}")

    @property
    def bitmap_bytes(self) -> int:
        return round_up(self.block_bytes // SECTOR, 8 * SECTOR) // 8

    @property
    def block_count(self) -> int:
        return -(-self.size // self.block_bytes)

    def default_footer(self) -> Footer:
        header_at = NO_HEADER if self.kind == FIXED else SECTOR
        return Footer(self.size, self.kind, self.unique_id, header_at)

    def default_header(self) -> Header:
        if self.parent is None:
            return Header(3 * SECTOR, self.block_count, self.block_bytes)
        path = f"C:\\vm\\{self.parent.name}"
        return Header(
            2 * PAGE,
            self.block_count,
            self.block_bytes,
            self.parent.unique_id,
            parent_name=path,
            locators=(
                Locator(b"W2ku", PAGE, path.encode("utf-16-le")),
                Locator(
                    b"W2ru",
                    PAGE + 3 * SECTOR,
                    f".\\{self.parent.name}".encode("utf-16-le"),
                ),
            ),
        )

    def places(self) -> dict[int, int]:
        """The sector of each block's bitmap; given out in the order of the table."""
        header = self.header or self.default_header()
        free = round_up(header.table_at + 4 * self.block_count, PAGE)
        step = self.bitmap_bytes + self.block_bytes
        places = {}
        for index, block in self.blocks.items():
            if block.at is None:
                data_at = round_up(free + self.bitmap_bytes, PAGE)
                places[index] = (data_at - self.bitmap_bytes) // SECTOR
            else:
                places[index] = block.at
            free = max(free, places[index] * SECTOR + step)
        return places

    @property
    def end(self) -> int:
        """Where the footer goes."""
        if self.footer_at is not None:
            return self.footer_at
        if self.kind == FIXED:
            return self.size
        header = self.header or self.default_header()
        step = self.bitmap_bytes + self.block_bytes
        ends = [at * SECTOR + step for at in self.places().values()]
        table_end = round_up(header.table_at + 4 * self.block_count, SECTOR)
        return max([table_end, *ends])

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Everything in the file but the footer, with its offset; later pieces lie over earlier ones."""
        if self.content is not None:
            yield from self.content.items()
            yield from self.patches
            return
        footer = self.footer or self.default_footer()
        header = self.header or self.default_header()
        places = self.places()
        entries = {**places, **self.entries}
        table = [entries.get(index, ABSENT) for index in range(self.block_count)]
        for index, block in self.blocks.items():
            at = places[index] * SECTOR
            set_ = b"\xff" * self.bitmap_bytes
            yield at, set_ if block.bits is None else block.bits
            for inside, data in block.data.items():
                yield at + self.bitmap_bytes + inside, data
        yield 0, footer.encode() if self.copy is None else self.copy
        if footer.header_at < self.end:
            yield footer.header_at, header.encode()
        for locator in header.locators:
            yield locator.at, locator.text
        yield header.table_at, struct.pack(f">{len(table)}I", *table)
        yield from self.patches

    def write(self, folder: Path) -> Path:
        """Writes this file alone, under its name, sparse where nothing was said."""
        path = folder / self.name
        footer = (self.footer or self.default_footer()).encode()
        with path.open("wb") as file:
            for at, data in self.pieces():
                os.pwrite(file.fileno(), data, at)
            file.truncate(self.end)
            if self.has_footer:
                os.pwrite(file.fileno(), footer[: self.footer_bytes], self.end)
        return path

    def write_chain(self, folder: Path) -> Path:
        """Writes this file and all its parents beside it."""
        if self.parent is not None:
            self.parent.write_chain(folder)
        return self.write(folder)

    def with_footer(self, **changes: object) -> Self:
        footer = self.footer or self.default_footer()
        return replace(self, footer=replace(footer, **changes))  # type: ignore[arg-type]

    def with_header(self, **changes: object) -> Self:
        header = self.header or self.default_header()
        return replace(self, header=replace(header, **changes))  # type: ignore[arg-type]

    # What it must read as.

    def expected(self, offset: int, length: int) -> bytes:
        """The bytes of the disk, through the parents."""
        assert offset + length <= self.size
        if self.content is not None:
            return lay(bytes(length), offset, self.content)
        if self.parent is None:
            out = bytearray(length)
        else:
            out = bytearray(self.parent.expected(offset, length))
        per_block = self.block_bytes // SECTOR
        for sector in range(offset // SECTOR, -(-(offset + length) // SECTOR)):
            index, inside = divmod(sector, per_block)
            block = self.blocks.get(index)
            if block is None or not is_set(block.bits, inside):
                continue
            own = lay(bytes(SECTOR), inside * SECTOR, block.data)
            low = max(offset, sector * SECTOR)
            high = min(offset + length, (sector + 1) * SECTOR)
            start = sector * SECTOR
            out[low - offset : high - offset] = own[low - start : high - start]
        return bytes(out)


def is_set(bits: bytes | None, sector: int) -> bool:
    """Whether a sector is in the file: bit 7 of byte 0 is sector 0. What is not said is clear."""
    if bits is None:
        return True
    byte, bit = divmod(sector, 8)
    return byte < len(bits) and bool(bits[byte] >> (7 - bit) & 1)


def lay(under: bytes, offset: int, pieces: Mapping[int, bytes]) -> bytes:
    """The bytes from `offset` on, with the pieces laid over them."""
    out = bytearray(under)
    for at, data in pieces.items():
        low, high = max(offset, at), min(offset + len(under), at + len(data))
        if low < high:
            out[low - offset : high - offset] = data[low - at : high - at]
    return bytes(out)

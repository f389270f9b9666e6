"""Writes VHDX files from a description, and knows what they must read as.

An `Image` is a table of blocks: state, place in the file, sector bits, bytes. `write` makes the file
and `expected` says what the disk holds, from the table alone: no reader, ours or another, has a say.
Everything that is not said is what Windows writes; everything can be said, also what is wrong.

A dirty file is made from several images by `journal`: the first is what lies in place, the others are
what its log leads to.
"""

import os
import random
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Final, Self
from uuid import NAMESPACE_OID, UUID, uuid5

from . import format as f
from .format import (
    FULL,
    MIB,
    NIL,
    PAGE,
    PARTIAL,
    Header,
    Item,
    Metadata,
    Region,
    RegionTable,
)
from .log import LOG_GUID, Data, Placed, Write, Zero, place, ring, run


def noise(seed: object, length: int) -> bytes:
    """Bytes that occur nowhere else, and are the same in every run."""
    return random.Random(repr(seed)).randbytes(length)


@dataclass(frozen=True)
class Block:
    """A payload block: its BAT entry, its bits in the sector bitmap, and the bytes at its place.

    `at` is the place in the file. Without one, a present block is put behind the others; any other
    state with one has a stale offset, with `data` lying there unused. Bit k of `bits` is sector k.
    """

    state: int
    data: Mapping[int, bytes] = field(default_factory=dict)
    at: int | None = None
    bits: int | None = None
    reserved: int = 0

    @property
    def is_present(self) -> bool:
        return self.state in (FULL, PARTIAL)


def full(seed: object, length: int = MIB, at: int | None = None) -> Block:
    """A FULLY_PRESENT block of noise."""
    return Block(FULL, {0: noise(seed, length)}, at)


def full_at_ends(seed: object, length: int, at: int | None = None) -> Block:
    """A FULLY_PRESENT block with noise in its first and last sector of 4 KiB and a hole between."""
    ends = {0: noise((seed, "first"), 4096), length - 4096: noise((seed, "last"), 4096)}
    return Block(FULL, ends, at)


def partial(seed: object, bits: int, length: int = MIB, at: int | None = None) -> Block:
    """A PARTIALLY_PRESENT block of noise, also where the bits are clear."""
    return Block(PARTIAL, {0: noise(seed, length)}, at, bits)


@dataclass(frozen=True)
class Bitmap:
    """A sector bitmap entry of the BAT, where it is not what the blocks ask for."""

    state: int
    at: int | None = None
    reserved: int = 0


@dataclass(frozen=True, kw_only=True)
class Image:
    """A VHDX file and the disk that it holds."""

    size: int
    name: str = "disk.vhdx"
    block_bytes: int = MIB
    sector_bytes: int = 512
    physical_bytes: int = 4096
    fixed: bool = False
    parent: Self | None = None
    blocks: Mapping[int, Block] = field(default_factory=dict)
    bitmaps: Mapping[int, Bitmap] = field(default_factory=dict)

    data_guid: UUID | None = None
    locator: Mapping[str, str] | None = None
    items: tuple[Item, ...] | None = None
    metadata: Metadata | None = None
    headers: tuple[Header | None, Header | None] | None = None
    tables: tuple[RegionTable | None, RegionTable | None] | None = None

    log_at: int = MIB
    log_bytes: int = MIB
    log: tuple[Placed, ...] = ()
    log_guid: UUID = NIL
    metadata_at: int = 2 * MIB
    bat_at: int = 3 * MIB
    bat_bytes: int | None = None
    payload_at: int | None = None

    file_bytes: int | None = None
    patches: tuple[tuple[int, bytes], ...] = ()
    """Bytes written last, whatever was there: payload of a later state, or damage."""

    # The arithmetic of MS-VHDX 2.4 and 2.5.

    @property
    def chunk_ratio(self) -> int:
        return (self.sector_bytes << 23) // self.block_bytes

    @property
    def payload_blocks(self) -> int:
        return -(-self.size // self.block_bytes)

    @property
    def bat_entries(self) -> int:
        chunks = -(-self.payload_blocks // self.chunk_ratio)
        if self.parent is not None:
            return chunks * (self.chunk_ratio + 1)
        return self.payload_blocks + (self.payload_blocks - 1) // self.chunk_ratio

    @property
    def bat_region_bytes(self) -> int:
        return self.bat_bytes or f.round_up(8 * max(self.bat_entries, 1), MIB)

    def payload_entry(self, block: int) -> int:
        return block + block // self.chunk_ratio

    def bitmap_entry(self, chunk: int) -> int:
        return (chunk + 1) * self.chunk_ratio + chunk

    # Where things are.

    def places(self) -> tuple[dict[int, int], dict[int, int]]:
        """The file offsets of the present payload blocks, and of the sector bitmaps of chunks.

        Given out in the order of the table, a chunk's bitmap before the first block that needs it,
        so that an image with more blocks at the end has the others where they were.
        """
        step = self.block_bytes // MIB
        taken: set[int] = set()
        for block in self.blocks.values():
            if block.at is not None and block.is_present:
                taken.update(range(block.at // MIB, block.at // MIB + step))
        taken.update(bitmap.at // MIB for bitmap in self.bitmaps.values() if bitmap.at)
        after_bat = self.bat_at + self.bat_region_bytes
        free = (self.payload_at or max(after_bat, self.metadata_at + MIB)) // MIB

        def allot(count: int) -> int:
            nonlocal free
            while not taken.isdisjoint(range(free, free + count)):
                free += 1
            free += count
            return (free - count) * MIB

        payload: dict[int, int] = {}
        bitmaps: dict[int, int] = {}
        for index, block in self.blocks.items():
            chunk = index // self.chunk_ratio
            if block.bits is not None and chunk not in bitmaps:
                wanted = self.bitmaps.get(chunk, Bitmap(FULL))
                bitmaps[chunk] = allot(1) if wanted.at is None else wanted.at
            if block.is_present:
                payload[index] = allot(step) if block.at is None else block.at
        return payload, bitmaps

    def bat(self) -> dict[int, int]:
        """The entries of the BAT that are not zero."""
        payload, bitmaps = self.places()
        entries = {}
        for index, block in self.blocks.items():
            at = payload.get(index, block.at or 0)
            entries[self.payload_entry(index)] = at | block.reserved << 3 | block.state
        for chunk in bitmaps.keys() | self.bitmaps.keys():
            bitmap = self.bitmaps.get(chunk, Bitmap(FULL))
            at = bitmaps.get(chunk, bitmap.at or 0) if bitmap.state else bitmap.at or 0
            entries[self.bitmap_entry(chunk)] = at | bitmap.reserved << 3 | bitmap.state
        return {entry: value for entry, value in entries.items() if value}

    # What is written there.

    def header(self, sequence: int = 11) -> Header:
        return Header(
            sequence=sequence,
            file_guid=uuid5(NAMESPACE_OID, f"file {self.name} {sequence}"),
            data_guid=self.linkage,
            log_guid=self.log_guid,
            log_at=self.log_at,
            log_bytes=self.log_bytes,
        )

    @property
    def linkage(self) -> UUID:
        """The DataWriteGuid, by which a child knows this file."""
        return self.data_guid or uuid5(NAMESPACE_OID, f"data {self.name}")

    def region_table(self, *more: Region) -> RegionTable:
        bat = Region(f.BAT_REGION, self.bat_at, self.bat_region_bytes)
        return RegionTable(
            (bat, Region(f.METADATA_REGION, self.metadata_at, MIB), *more)
        )

    def windows_locator(self) -> dict[str, str]:
        """What Windows 10 writes (it leaves out the prefix that the specification demands)."""
        assert self.parent is not None
        return {
            "parent_linkage": f"{{{self.parent.linkage}}}",
            "parent_linkage2": f"{{{NIL}}}",
            "relative_path": f".\\{self.parent.name}",
            "volume_path": f"\\\\?\\Volume{{{UUID(int=7)}}}\\vm\\{self.parent.name}",
            "absolute_win32_path": f"C:\\vm\\{self.parent.name}",
        }

    def default_items(self) -> tuple[Item, ...]:
        flags = int(self.fixed) | (self.parent is not None) << 1
        disk = f.REQUIRED | f.VIRTUAL_DISK
        disk_id = uuid5(NAMESPACE_OID, "disk")
        items = [
            Item(
                guid=f.FILE_PARAMETERS, data=struct.pack("<II", self.block_bytes, flags)
            ),
            Item(
                guid=f.VIRTUAL_DISK_SIZE, data=struct.pack("<Q", self.size), flags=disk
            ),
            Item(
                guid=f.LOGICAL_SECTOR_SIZE,
                data=struct.pack("<I", self.sector_bytes),
                flags=disk,
            ),
            Item(
                guid=f.PHYSICAL_SECTOR_SIZE,
                data=struct.pack("<I", self.physical_bytes),
                flags=disk,
            ),
            Item(guid=f.VIRTUAL_DISK_ID, data=disk_id.bytes_le, flags=disk),
        ]
        if self.parent is not None:
            pairs = self.windows_locator() if self.locator is None else self.locator
            items.append(
                Item(guid=f.PARENT_LOCATOR, data=f.encode_locator(pairs.items()))
            )
        return tuple(items)

    def pages(self) -> dict[int, bytes]:
        """The 4-KiB pages, not all zero, of BAT and sector bitmaps: what a driver logs."""
        pages: dict[int, bytes] = {}
        sectors = self.block_bytes // self.sector_bytes
        _, bitmaps = self.places()
        for index, block in self.blocks.items():
            if block.bits is not None:
                chunk, inside = divmod(index, self.chunk_ratio)
                bits = block.bits.to_bytes(sectors // 8, "little")
                f.put(pages, bitmaps[chunk] + inside * len(bits), bits)
        for entry, value in self.bat().items():
            f.put(pages, self.bat_at + 8 * entry, struct.pack("<Q", value))
        return f.without_zero_pages(pages)

    def payload(self) -> Iterator[tuple[int, bytes]]:
        payload, _ = self.places()
        for index, block in self.blocks.items():
            at = payload.get(index, block.at)
            for inside, data in block.data.items():
                if at is not None:
                    yield at + inside, data

    @property
    def end(self) -> int:
        """The file's length: whole blocks, as Windows leaves it."""
        if self.file_bytes is not None:
            return self.file_bytes
        payload, bitmaps = self.places()
        return max(
            self.bat_at + self.bat_region_bytes,
            self.metadata_at + MIB,
            self.log_at + self.log_bytes,
            *(at + self.block_bytes for at in payload.values()),
            *(at + MIB for at in bitmaps.values()),
            *(at + len(data) for at, data in self.payload()),
        )

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Everything that is in the file, with its offset; later pieces lie over earlier ones.

        Where a table puts blocks over structures, the structures are what is there.
        """
        yield from self.payload()
        yield from self.pages().items()
        yield 0, b"vhdxfile" + "second opinion".encode("utf-16-le")
        headers = self.headers or (self.header(10), self.header(11))
        for at, header in zip(f.HEADER_PLACES, headers, strict=True):
            yield at, header.encode() if header else b""
        tables = self.tables or (self.region_table(),) * 2
        for at, table in zip(f.TABLE_PLACES, tables, strict=True):
            yield at, table.encode() if table else b""
        items = self.default_items() if self.items is None else self.items
        yield self.metadata_at, (self.metadata or Metadata(items)).encode()
        for at, sector in ring(self.log, self.log_bytes).items():
            yield self.log_at + at, sector
        yield from self.patches

    def write(self, folder: Path) -> Path:
        """Writes this file alone, under its name, sparse where nothing was said."""
        path = folder / self.name
        with path.open("wb") as file:
            for at, data in self.pieces():
                if at < self.end:
                    os.pwrite(file.fileno(), data, at)
            file.truncate(self.end)
        return path

    def write_chain(self, folder: Path) -> Path:
        """Writes this file and all its parents beside it."""
        if self.parent is not None:
            self.parent.write_chain(folder)
        return self.write(folder)

    # What it must read as.

    def expected(self, offset: int, length: int) -> bytes:
        """The bytes of the disk, through the parents; zeros past the end of the disk."""
        out = bytearray(length)
        for index in range(
            offset // self.block_bytes, -(-(offset + length) // self.block_bytes)
        ):
            at = index * self.block_bytes
            start = max(offset, at)
            end = min(offset + length, at + self.block_bytes, self.size)
            if start < end:
                out[start - offset : end - offset] = self._expected_block(
                    index, start, end
                )
        return bytes(out)

    def _expected_block(self, index: int, start: int, end: int) -> bytes:
        block = self.blocks.get(index, Block(f.NOT_PRESENT))
        if block.state == FULL:
            return self._own(index, start, end)
        if block.state == f.NOT_PRESENT and self.parent is not None:
            return self.parent.expected(start, end - start)
        if block.state != PARTIAL:
            return bytes(end - start)
        assert self.parent is not None
        assert block.bits is not None
        per_block = self.block_bytes // self.sector_bytes
        bitmap = block.bits.to_bytes(per_block // 8, "little")
        first = index * per_block

        def is_own(sector: int) -> bool:
            byte, bit = divmod(sector - first, 8)
            return bool(bitmap[byte] >> bit & 1)

        sectors = range(start // self.sector_bytes, -(-end // self.sector_bytes))
        out = []
        for own, group in groupby(sectors, is_own):
            same = list(group)
            low = max(start, same[0] * self.sector_bytes)
            high = min(end, (same[-1] + 1) * self.sector_bytes)
            source = self._own if own else self._parents
            out.append(source(index, low, high))
        return b"".join(out)

    def _parents(self, _: int, start: int, end: int) -> bytes:
        assert self.parent is not None
        return self.parent.expected(start, end - start)

    def _own(self, index: int, start: int, end: int) -> bytes:
        base = index * self.block_bytes
        out = bytearray(end - start)
        for inside, data in self.blocks[index].data.items():
            low, high = max(start, base + inside), min(end, base + inside + len(data))
            if low < high:
                out[low - start : high - start] = data[
                    low - base - inside : high - base - inside
                ]
        return bytes(out)


def with_blocks(image: Image, blocks: Mapping[int, Block]) -> Image:
    """`image` with these blocks, new ones placed behind the others."""
    return replace(image, blocks={**image.blocks, **blocks})


def fixed_image(size: int, blocks: Mapping[int, Block], **more: object) -> Image:
    """A fixed disk: every block is there, in order, those not in `blocks` full of zeros."""
    image = Image(size=size, fixed=True, **more)  # type: ignore[arg-type]
    every = {
        index: blocks.get(index, Block(FULL)) for index in range(image.payload_blocks)
    }
    return replace(image, blocks=every)


def differences(before: Image, after: Image) -> tuple[Write, ...]:
    """What a log entry says to make the structures of `before` into those of `after`."""
    old, new = before.pages(), after.pages()
    writes: list[Write] = []
    for at in sorted(old.keys() | new.keys()):
        if at not in new:
            writes.append(Zero(at, PAGE))
        elif new[at] != old.get(at):
            writes.append(Data(at, new[at]))
    return tuple(writes)


def steps(*images: Image) -> list[tuple[Write, ...]]:
    """What the log entries say that lead from each image to the next."""
    return [differences(images[i], images[i + 1]) for i in range(len(images) - 1)]


def dirty(
    before: Image, log: Iterable[Placed], *payload: Image, guid: UUID = LOG_GUID
) -> Image:
    """The file of `before` with a live log, and the payload (which is never logged) of others."""
    patches = tuple(piece for image in payload for piece in image.payload())
    end = max(before.end, *(image.end for image in payload)) if payload else before.end
    return replace(
        before,
        log=tuple(log),
        log_guid=guid,
        file_bytes=end,
        patches=before.patches + patches,
    )


def journal(before: Image, *later: Image, at: int = 0, sequence: int = 1) -> Image:
    """The file of `before`, with a log that leads to the last of `later`."""
    end = max(image.end for image in (before, *later))
    entries = run(
        steps(before, *later),
        file_bytes=end,
        at=at,
        sequence=sequence,
        log_bytes=before.log_bytes,
    )
    return dirty(before, place(entries, at), *later)


PAGE_OF_BLOCKS: Final = PAGE // 8
"""Payload blocks whose BAT entries share one 4-KiB page (in the first chunk)."""

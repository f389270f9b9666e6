"""A slow VHDX reader that follows MS-VHDX sentence by sentence: a second opinion.

It reads the allocation table once for the rules and again for every request, applies the log to
every read, and asks bitmaps bit by bit. What it is for is being right, on its own.
"""

import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Final
from uuid import UUID

from . import format as f
from .format import FULL, MIB, NIL, PARTIAL, TIB, crc32c
from .slow_log import Log, RefusedError, Replay, require

__all__ = ["RefusedError", "SlowDisk"]

POWERS_OF_TWO: Final = {1 << n for n in range(64)}
KNOWN_ITEMS: Final = {
    f.FILE_PARAMETERS: 8,
    f.VIRTUAL_DISK_SIZE: 8,
    f.VIRTUAL_DISK_ID: 16,
    f.LOGICAL_SECTOR_SIZE: 4,
    f.PHYSICAL_SECTOR_SIZE: 4,
}


class SlowDisk:
    """A virtual disk, read through its log and its parents."""

    def __init__(
        self,
        path: Path,
        *,
        parents: Sequence[Path] = (),
        folders: Sequence[Path] = (),
        children: tuple[Path, ...] = (),
    ) -> None:
        self._path = path.resolve()
        require(self._path not in children, "the chain is a circle")
        self._fd = os.open(path, os.O_RDONLY)
        self._replay = Replay(length=os.fstat(self._fd).st_size)
        self._used: list[tuple[int, int]] = [(0, MIB)]
        self._open()
        self.parent: SlowDisk | None = None
        if self.has_parent:
            children = (*children, self._path)
            self.parent = self._find_parent(parents, folders, children)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    # The file, with the log applied.

    def _file(self, at: int, length: int) -> bytes:
        require(
            at + length <= self._replay.length,
            f"{length} bytes at {at} end past the file",
        )
        out = bytearray(length)
        if at < os.fstat(self._fd).st_size:
            data = os.pread(self._fd, length, at)
            out[: len(data)] = data
        for start, count, data_or_zero in self._replay.writes:
            low, high = max(at, start), min(at + length, start + count)
            if low < high:
                page = (
                    data_or_zero[low - start : high - start] if data_or_zero else None
                )
                out[low - at : high - at] = page or bytes(high - low)
        return bytes(out)

    # Opening: MS-VHDX 2.2 to 2.6, in the order in which they lean on each other.

    def _open(self) -> None:
        require(self._file(0, 8) == b"vhdxfile", "not a VHDX file")
        header = self._current_header()
        self._log_and_headers(header)
        regions = self._regions()
        require(
            f.METADATA_REGION in regions and f.BAT_REGION in regions,
            "a region is missing",
        )
        self._metadata(*regions[f.METADATA_REGION])
        self._bat_at, bat_bytes = regions[f.BAT_REGION]
        self._layout()
        require(8 * self._entries <= bat_bytes, "the BAT does not fit its region")
        self._check_bat()

    def _current_header(self) -> bytes:
        valid: list[tuple[int, bytes]] = []
        for at in f.HEADER_PLACES:
            data = self._file(at, f.PAGE)
            (crc,) = struct.unpack_from("<I", data, 4)
            if data[:4] == b"head" and crc32c(data[:4] + bytes(4) + data[8:]) == crc:
                valid.append((struct.unpack_from("<Q", data, 8)[0], data))
        require(bool(valid), "no header is valid")
        return max(valid, key=lambda pair: pair[0])[1]  # of equals the first

    def _log_and_headers(self, header: bytes) -> None:
        _, self.data_guid, log_guid = (
            UUID(bytes_le=header[at : at + 16]) for at in (16, 32, 48)
        )
        log_version, version, length, at = struct.unpack_from("<HHIQ", header, 64)
        require(version == 1, "unknown version")
        require(
            at % MIB == 0 and length % MIB == 0 and at >= MIB, "the log is misaligned"
        )
        self._claim(at, length)
        if log_guid != NIL:
            require(log_version == 0 and length > 0, "unknown log version, or no log")
            file_bytes = self._replay.length
            self._replay = Log(self._file, at, length, log_guid).replay(file_bytes)

    def _claim(self, at: int, length: int, *, short: int = 0) -> None:
        """Notes that a range of the file is taken, and refuses what is not there."""
        end = at + length
        require(
            at >= MIB and end - short <= self._replay.length,
            "an object is outside the file",
        )
        self._used.append((at, end))

    def _regions(self) -> dict[UUID, tuple[int, int]]:
        for at in f.TABLE_PLACES:
            table = self._file(at, f.TABLE_BYTES)
            signature, crc, count, _ = struct.unpack_from("<4sIII", table)
            sealed = crc32c(table[:4] + bytes(4) + table[8:]) == crc
            if signature == b"regi" and sealed and count <= 2047:
                break
        else:
            raise RefusedError("no region table is valid")
        regions: dict[UUID, tuple[int, int]] = {}
        for number in range(count):
            raw, at, length, flags = struct.unpack_from(
                "<16sQII", table, 16 + 32 * number
            )
            guid = UUID(bytes_le=raw)
            require(guid not in regions, "a region is there twice")
            require(
                at % MIB == 0 and length % MIB == 0 and length > 0, "misaligned region"
            )
            known = guid in (f.BAT_REGION, f.METADATA_REGION)
            require(known or not flags & 1, "unknown required region")
            self._claim(at, length)
            regions[guid] = at, length
        return regions

    def _metadata(self, at: int, region_bytes: int) -> None:
        signature, reserved, count = struct.unpack("<8sHH", self._file(at, 12))
        require(
            signature == b"metadata" and count <= 2047, "the metadata table is corrupt"
        )
        require(reserved == 0, "reserved bits of the metadata table")
        items: dict[UUID, bytes] = {}
        seen: set[tuple[UUID, int]] = set()
        ranges: list[tuple[int, int]] = []
        for number in range(count):
            entry = self._file(at + 32 + 32 * number, 32)
            raw, offset, length, flags, reserved = struct.unpack("<16sIIII", entry)
            guid, is_user = UUID(bytes_le=raw), flags & 1
            require((guid, is_user) not in seen, "a metadata item is there twice")
            require(flags < 8 and reserved == 0, "reserved bits of a metadata entry")
            seen.add((guid, is_user))
            if length == 0:
                require(offset == 0, "an empty item has a place")
            else:
                inside = offset >= f.TABLE_BYTES and offset + length <= region_bytes
                require(inside and length <= MIB, "a metadata item is out of place")
                ranges.append((offset, offset + length))
            known = not is_user and (guid in KNOWN_ITEMS or guid == f.PARENT_LOCATOR)
            require(known or not flags & 4, "unknown required item")
            if known:
                items[guid] = self._file(at + offset, length)
        require(sum(user for _, user in seen) <= 1024, "too many user items")
        check_disjoint(ranges)
        self._read_items(items)

    def _read_items(self, items: dict[UUID, bytes]) -> None:
        for guid, length in KNOWN_ITEMS.items():
            require(
                len(items.get(guid, b"")) == length,
                "a metadata item is missing or wrong",
            )
        self.block_bytes, flags = struct.unpack("<II", items[f.FILE_PARAMETERS])
        (self.size,) = struct.unpack("<Q", items[f.VIRTUAL_DISK_SIZE])
        (self.sector_bytes,) = struct.unpack("<I", items[f.LOGICAL_SECTOR_SIZE])
        (physical,) = struct.unpack("<I", items[f.PHYSICAL_SECTOR_SIZE])
        self.has_parent = bool(flags & 2)
        self._locator = items.get(f.PARENT_LOCATOR)
        in_range = MIB <= self.block_bytes <= 256 * MIB
        require(in_range and self.block_bytes in POWERS_OF_TWO, "wrong block size")
        require(flags < 4, "reserved bits of the file parameters")
        require(self.sector_bytes in (512, 4096), "wrong logical sector size")
        require(physical in (512, 4096), "wrong physical sector size")
        require(0 < self.size <= 64 * TIB, "wrong disk size")
        require(self.size % self.sector_bytes == 0, "the disk ends inside a sector")

    # The block allocation table.

    def _layout(self) -> None:
        self._ratio = (self.sector_bytes << 23) // self.block_bytes
        self._blocks = -(-self.size // self.block_bytes)
        chunks = -(-self._blocks // self._ratio)
        if self.has_parent:
            self._entries = chunks * (self._ratio + 1)
        else:
            self._entries = self._blocks + (self._blocks - 1) // self._ratio

    def _nonzero_entries(self) -> Iterator[tuple[int, int]]:
        end = self._bat_at + 8 * self._entries
        for at in range(self._bat_at, end, MIB):
            length = min(MIB, end - at)
            if not self._is_hole(at, length):
                for number, value in enumerate(array("Q", self._file(at, length))):
                    if value:
                        yield (at - self._bat_at) // 8 + number, value

    def _is_hole(self, at: int, length: int) -> bool:
        if any(
            start < at + length and at < start + n
            for start, n, _ in self._replay.writes
        ):
            return False
        try:
            return os.lseek(self._fd, at, os.SEEK_DATA) >= at + length
        except OSError:  # no data from there to the end
            return True

    def _check_bat(self) -> None:
        bitmaps: dict[int, int] = {}
        partial_chunks = set()
        for entry, value in self._nonzero_entries():
            require(value >> 3 & 0x1FFFF == 0, "reserved bits of a BAT entry")
            chunk, inside = divmod(entry, self._ratio + 1)
            state, at = value & 7, value & ~0xFFFFF
            if inside == self._ratio:
                bitmaps[chunk] = state
                if self.has_parent and state == FULL:
                    self._claim(at, MIB)
                continue
            block = chunk * self._ratio + inside
            require(state not in (4, 5), "reserved state")
            require(
                state != PARTIAL or self.has_parent, "part of a block, and no parent"
            )
            if state in (FULL, PARTIAL) and block < self._blocks:
                # Old qemu images end inside the last block.
                unused = (block + 1) * self.block_bytes - self.size
                self._claim(at, self.block_bytes, short=max(unused, 0))
            if state == PARTIAL:
                partial_chunks.add(chunk)
        require(all(bitmaps.get(c) == FULL for c in partial_chunks), "no sector bitmap")
        check_disjoint(self._used)

    def _bat(self, entry: int) -> tuple[int, int]:
        (value,) = struct.unpack("<Q", self._file(self._bat_at + 8 * entry, 8))
        return value & 7, value & ~0xFFFFF

    # Reading.

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError("outside the disk")
        return self._read(offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        out = []
        while length > 0:
            inside = offset % self.block_bytes
            count = min(length, self.block_bytes - inside)
            out.append(self._read_block(offset // self.block_bytes, inside, count))
            offset, length = offset + count, length - count
        return b"".join(out)

    def _read_block(self, block: int, inside: int, length: int) -> bytes:
        state, at = self._bat(block + block // self._ratio)
        offset = block * self.block_bytes + inside
        if state == FULL:
            return self._payload(at + inside, length)
        if state == PARTIAL:
            return b"".join(self._read_sectors(block, at, inside, length))
        if state == f.NOT_PRESENT and self.parent is not None:
            return self._read_parent(offset, length)
        return bytes(length)

    def _payload(self, at: int, length: int) -> bytes:
        """Bytes of a block; a missing end (checked at opening) is past the end of the disk."""
        return self._file(at, length)

    def _read_sectors(
        self, block: int, at: int, inside: int, length: int
    ) -> Iterable[bytes]:
        chunk, number = divmod(block, self._ratio)
        _, bitmap_at = self._bat((chunk + 1) * self._ratio + chunk)
        per_block = self.block_bytes // self.sector_bytes
        bitmap = self._file(bitmap_at + number * per_block // 8, per_block // 8)
        end = inside + length
        while inside < end:
            sector = inside // self.sector_bytes
            stop = min(end, (sector + 1) * self.sector_bytes)
            if bitmap[sector // 8] >> sector % 8 & 1:
                yield self._file(at + inside, stop - inside)
            else:
                yield self._read_parent(
                    block * self.block_bytes + inside, stop - inside
                )
            inside = stop

    def _read_parent(self, offset: int, length: int) -> bytes:
        assert self.parent is not None
        there = min(length, max(0, self.parent.size - offset))
        return self.parent._read(offset, there) + bytes(length - there)

    def allocated(self) -> Iterator[tuple[int, int]]:
        """The blocks, by this disk's measure, that are in this file or in one below."""
        for block in range(self._blocks):
            offset = block * self.block_bytes
            length = min(self.block_bytes, self.size - offset)
            if self._is_allocated(offset, length):
                yield offset, length

    def _is_allocated(self, offset: int, length: int) -> bool:
        end = min(offset + length, self.size)
        blocks = range(offset // self.block_bytes, -(-end // self.block_bytes))
        for block in blocks:
            state, _ = self._bat(block + block // self._ratio)
            if state in (FULL, PARTIAL):
                return True
            # The parent is asked for the whole range, not this block's: it may say too much.
            parent = self.parent if state == f.NOT_PRESENT else None
            if parent is not None and parent._is_allocated(offset, length):
                return True
        return False

    # Parents.

    def _find_parent(
        self,
        explicit: Sequence[Path],
        folders: Sequence[Path],
        children: tuple[Path, ...],
    ) -> "SlowDisk":
        pairs = self._locator_pairs()
        keys = "parent_linkage", "parent_linkage2"
        linkages = {parse_guid(pairs[key]) for key in keys if key in pairs} - {NIL}
        paths = "relative_path", "volume_path", "absolute_win32_path"
        names = [PureWindowsPath(pairs[key]).name for key in paths if key in pairs]
        beside = [
            folder / name for folder in (self._path.parent, *folders) for name in names
        ]
        for path in [*explicit, *beside]:
            if not path.is_file():
                continue
            if path in explicit and path.resolve() in children:
                continue
            parent = SlowDisk(
                path, parents=explicit, folders=folders, children=children
            )
            if parent.data_guid in linkages:
                require(
                    parent.sector_bytes == self.sector_bytes,
                    "other sectors in the parent",
                )
                return parent
        raise RefusedError("no parent that fits")

    def _locator_pairs(self) -> dict[str, str]:
        data = self._locator
        require(data is not None and len(data) >= 20, "no parent locator")
        assert data is not None
        require(UUID(bytes_le=data[:16]) == f.VHDX_LOCATOR, "unknown parent locator")
        (count,) = struct.unpack_from("<H", data, 18)
        require(20 + 12 * count <= len(data), "the parent locator is cut")
        pairs: dict[str, str] = {}
        for number in range(count):
            key_at, value_at, key_bytes, value_bytes = struct.unpack_from(
                "<IIHH", data, 20 + 12 * number
            )
            ends = key_at + key_bytes, value_at + value_bytes
            require(max(ends) <= len(data), "a locator string is cut")
            key = data[key_at : ends[0]].decode("utf-16-le", errors="replace")
            require(key not in pairs, "a locator key is there twice")
            pairs[key] = data[value_at : ends[1]].decode("utf-16-le", errors="replace")
        require("parent_linkage" in pairs, "no parent_linkage")
        return pairs


def parse_guid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RefusedError(f"not a GUID: {text}") from None


def check_disjoint(ranges: list[tuple[int, int]]) -> None:
    ranges = sorted(ranges)
    for (_, end), (start, _) in pairwise(ranges):
        require(end <= start, "two objects overlap")

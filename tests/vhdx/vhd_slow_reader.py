"""A slow VHD reader that asks the file for every sector anew: a second opinion.

Footer, header, table and bitmap are looked at as the format describes them, one entry and one bit at a
time. What it is for is being right, on its own.
"""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Final
from uuid import UUID

from .slow_log import RefusedError, require

SECTOR: Final = 512
LARGEST: Final = 2040 << 30
ABSENT: Final = 0xFFFFFFFF


def sums_up(data: bytes, at: int) -> bool:
    """Whether the four bytes at `at` are the complement of the sum of all others."""
    total = sum(data[:at]) + sum(data[at + 4 :])
    return int.from_bytes(data[at : at + 4], "big") == ~total & 0xFFFFFFFF


class SlowVhd:
    """A virtual disk, read through its parents."""

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
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise RefusedError(str(error)) from error
        footer = self._footer()
        require(
            struct.unpack_from(">H", footer, 12)[0] == 1, "unknown version of footer"
        )
        (self._header_at,) = struct.unpack_from(">Q", footer, 16)
        (self.size,) = struct.unpack_from(">Q", footer, 48)
        (self._kind,) = struct.unpack_from(">I", footer, 60)
        self.unique_id = UUID(bytes_le=footer[68:84])
        require(self._kind in (2, 3, 4), "unknown type")
        possible = 0 < self.size <= LARGEST and self.size % SECTOR == 0
        require(possible, "impossible size")
        self.parent: SlowVhd | None = None
        if self._kind == 2:
            require(self.size <= self._end, "the disk is cut off")
            return
        self._header()
        if self._kind == 4:
            children = (*children, self._path)
            self.parent = self._find_parent(parents, folders, children)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def _file(self, at: int, length: int) -> bytes:
        data = os.pread(self._fd, length, at) if at < 1 << 63 else b""
        require(len(data) == length, f"{length} bytes at {at} end past the file")
        return data

    def _footer(self) -> bytes:
        """The footer that counts, and with it where data must end."""
        length = os.fstat(self._fd).st_size
        self._end = length
        last = None
        for size in (512, 511):
            if length >= size:
                found = self._file(length - size, size).ljust(512, b"\0")
                if last is None and found[:8] == b"conectix":
                    last, self._end = found, length - size
        first = self._file(0, 512) if length >= 512 else b""
        good = [
            footer is not None and footer[:8] == b"conectix" and sums_up(footer, 64)
            for footer in (first, last)
        ]
        if last is not None and good[1]:
            decisive = [(12, 24), (48, 56), (60, 64), (68, 84)]
            is_fixed = last[60:64] == b"\0\0\0\2"
            copied = good[0] and first[60:64] != b"\0\0\0\2"
            if copied and not is_fixed:
                same = all(first[a:b] == last[a:b] for a, b in decisive)
                require(same, "the copies contradict each other")
            return last
        require(good[0], "no valid footer")
        require(first[60:64] != b"\0\0\0\2", "a fixed disk has no copy of its footer")
        return first

    def _header(self) -> None:
        self._inside(self._header_at, 1024)
        header = self._file(self._header_at, 1024)
        require(header[:8] == b"cxsparse" and sums_up(header, 36), "no valid header")
        (self._table_at, major) = struct.unpack_from(">QH", header, 16)
        (entries, self.block_bytes) = struct.unpack_from(">II", header, 28)
        require(major == 1, "unknown version of header")
        size = self.block_bytes
        require(size >= SECTOR and size & (size - 1) == 0, "wrong block size")
        self._blocks = -(-self.size // size)
        require(self._blocks <= entries, "the table is too short")
        require(self._blocks <= 1 << 22, "too many blocks")
        bit_bytes = (size // SECTOR + 7) // 8
        self._bitmap_bytes = (bit_bytes + SECTOR - 1) // SECTOR * SECTOR
        table_bytes = -(-4 * self._blocks // SECTOR) * SECTOR
        self._inside(self._table_at, table_bytes)
        self._parent_id = UUID(bytes_le=header[40:56])
        self._name = header[64:576].decode("utf-16-be", errors="ignore")
        self._locators = []
        used = [
            (0, SECTOR),
            (self._header_at, self._header_at + 1024),
            (self._table_at, self._table_at + table_bytes),
        ]
        check_disjoint(used)
        for number in range(8):
            platform, length, at = struct.unpack_from(
                ">4s4xI4xQ", header, 576 + 24 * number
            )
            if platform != bytes(4) and length:
                self._locators.append((platform, at, length))
        spans = []
        span = self._bitmap_bytes + size
        for index in range(self._blocks):
            entry = self._entry(index)
            if entry != ABSENT:
                start = entry * SECTOR
                require(start >= SECTOR, "a block is on the footer")
                require(start + span <= self._end, "a block is past the footer")
                spans.append((start, start + span))
        check_disjoint(spans)
        for start, end in spans:
            taken = [*used, *((at, at + length) for _, at, length in self._locators)]
            free = all(end <= low or high <= start for low, high in taken)
            require(free, "a block is on a structure")

    def _inside(self, at: int, length: int) -> None:
        require(at >= SECTOR and at % SECTOR == 0, "misaligned")
        require(at + length <= self._end, "past the footer")

    def _entry(self, index: int) -> int:
        return int.from_bytes(self._file(self._table_at + 4 * index, 4), "big")

    # Parents.

    def _find_parent(
        self,
        parents: Sequence[Path],
        folders: Sequence[Path],
        children: tuple[Path, ...],
    ) -> "SlowVhd":
        require(self._parent_id.int != 0, "no parent id")
        names = [
            PureWindowsPath(path).name
            for path in (*self._paths(b"W2ru"), *self._paths(b"W2ku"), self._name)
        ]
        names = [PureWindowsPath(name.split("\0")[0]).name for name in names]
        near = [self._path.parent, *folders]
        places = [folder / name for folder in near for name in names if name]
        for place in (*parents, *places):
            if not place.is_file():
                require(place not in parents, "a named parent is not there")
                continue
            found = SlowVhd(place, parents=parents, folders=folders, children=children)
            if found.unique_id == self._parent_id:
                require(found.size == self.size, "the parent has another size")
                return found
        raise RefusedError("no parent")

    def _paths(self, platform: bytes) -> Iterator[str]:
        for found, at, length in self._locators:
            if found == platform:
                require(length % 2 == 0 and length <= 65534, "a locator is malformed")
                require(at + length <= self._end, "a locator is past the footer")
                text = self._file(at, length).decode("utf-16-le", errors="replace")
                require("\ufffd" not in text, "a locator is malformed")
                yield text.split("\0")[0]

    # Reading.

    def read(self, offset: int, length: int) -> bytes:
        require(offset + length <= self.size, "past the end of the disk")
        first, last = offset // SECTOR, -(-(offset + length) // SECTOR)
        data = b"".join(self._sector(sector) for sector in range(first, last))
        return data[offset - first * SECTOR :][:length]

    def _sector(self, sector: int) -> bytes:
        at = self._place(sector)
        if at is not None:
            return self._file(at, SECTOR)
        if self.parent is not None:
            return self.parent._sector(sector)
        return bytes(SECTOR)

    def _place(self, sector: int) -> int | None:
        """Where the sector is in this file."""
        if self._kind == 2:
            return sector * SECTOR
        index, inside = divmod(sector, self.block_bytes // SECTOR)
        entry = self._entry(index)
        if entry == ABSENT:
            return None
        bitmap_at = entry * SECTOR
        (byte,) = self._file(bitmap_at + inside // 8, 1)
        if not byte & 0x80 >> inside % 8:
            return None
        at: int = bitmap_at + self._bitmap_bytes + inside * SECTOR
        return at

    def allocated(self) -> Iterable[tuple[int, int]]:
        """Every sector that is in some file."""
        for sector in range(self.size // SECTOR):
            disk: SlowVhd | None = self
            while disk is not None and disk._place(sector) is None:
                disk = disk.parent
            if disk is not None:
                yield sector * SECTOR, SECTOR


def check_disjoint(ranges: list[tuple[int, int]]) -> None:
    for (_, end), (start, _) in pairwise(sorted(ranges)):
        require(end <= start, "two objects overlap")

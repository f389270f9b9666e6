"""The log of a VHDX file: entries as bytes, and where in the ring they lie (MS-VHDX 2.3)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from .format import MIB, PAGE, round_up, seal

LOG_GUID: Final = UUID("6c6f6700-1111-4222-8333-444455556666")

Placed: TypeAlias = tuple[int, bytes]
"""Bytes and their offset in the log; what does not fit goes on at the log's start."""


@dataclass(frozen=True)
class Data:
    """A 4-KiB sector of the file, written by one data descriptor."""

    at: int
    page: bytes


@dataclass(frozen=True)
class Zero:
    """A range of the file that one zero descriptor clears."""

    at: int
    length: int


Write: TypeAlias = Data | Zero


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One log entry; its numbers are as given, right or wrong."""

    sequence: int
    tail: int
    flushed: int
    last: int
    writes: tuple[Write, ...] = ()
    guid: UUID = LOG_GUID
    count: int | None = None

    @property
    def descriptor_bytes(self) -> int:
        return round_up(64 + 32 * len(self.writes), PAGE)

    @property
    def length(self) -> int:
        data = sum(isinstance(write, Data) for write in self.writes)
        return self.descriptor_bytes + PAGE * data

    def encode(self) -> bytes:
        count = len(self.writes) if self.count is None else self.count
        head = struct.pack(
            "<4sIIIQII16sQQ",
            b"loge",
            0,
            self.length,
            self.tail,
            self.sequence,
            count,
            0,
            self.guid.bytes_le,
            self.flushed,
            self.last,
        )
        descriptors, sectors = b"", b""
        for write in self.writes:
            if isinstance(write, Data):
                leading, trailing = write.page[:8], write.page[-4:]
                descriptors += struct.pack(
                    "<4s4s8sQQ", b"desc", trailing, leading, write.at, self.sequence
                )
                sectors += data_sector(write.page, self.sequence)
            else:
                descriptors += struct.pack(
                    "<4sIQQQ", b"zero", 0, write.length, write.at, self.sequence
                )
        return seal((head + descriptors).ljust(self.descriptor_bytes, b"\0") + sectors)


def data_sector(page: bytes, sequence: int) -> bytes:
    high, low = sequence >> 32, sequence & 0xFFFF_FFFF
    return struct.pack("<4sI", b"data", high) + page[8:-4] + struct.pack("<I", low)


def run(
    steps: Sequence[Iterable[Write]],
    *,
    file_bytes: int,
    at: int = 0,
    sequence: int = 1,
    tail: int | None = None,
    flushed: int | None = None,
    last: int | None = None,
    guid: UUID = LOG_GUID,
    log_bytes: int = MIB,
) -> list[Entry]:
    """Entries with consecutive numbers, one per step, that lie one after the other from `at`.

    The tail of all is the first one, as if nothing had been written in place yet.
    """
    return [
        Entry(
            sequence=sequence + number,
            tail=at % log_bytes if tail is None else tail,
            flushed=file_bytes if flushed is None else flushed,
            last=file_bytes if last is None else last,
            writes=tuple(step),
            guid=guid,
        )
        for number, step in enumerate(steps)
    ]


def place(entries: Iterable[Entry], at: int = 0) -> list[Placed]:
    """The entries one after the other from `at` on."""
    placed = []
    for entry in entries:
        placed.append((at, entry.encode()))
        at += entry.length
    return placed


def ring(placed: Iterable[Placed], log_bytes: int) -> dict[int, bytes]:
    """The sectors of a log in which `placed` was written in order, by offset in the log."""
    sectors = {}
    for at, data in placed:
        for inside in range(0, len(data), PAGE):
            sectors[(at + inside) % log_bytes] = data[inside : inside + PAGE]
    return sectors

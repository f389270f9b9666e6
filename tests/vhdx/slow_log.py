"""The log of a VHDX file, read by the letter of MS-VHDX 2.3 and no faster than that."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from .format import MIB, PAGE, crc32c

ReadAt: TypeAlias = Callable[[int, int], bytes]

LOWEST_TARGET: Final = 192 << 10
"""Identifier and headers are never logged."""


class RefusedError(Exception):
    """The file breaks a rule of the format, or a parent is not to be had."""


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise RefusedError(rule)


@dataclass(frozen=True)
class LogEntry:
    at: int
    length: int
    tail: int
    sequence: int
    flushed: int
    last: int
    writes: tuple[tuple[int, int, bytes | None], ...]
    """File offset, length, and the bytes, or `None` for zeros."""


@dataclass(frozen=True)
class Replay:
    """What the log changes: writes in order, and the length that the file has after them."""

    writes: tuple[tuple[int, int, bytes | None], ...] = ()
    length: int = 0


class Log:
    def __init__(self, read: ReadAt, at: int, length: int, guid: UUID) -> None:
        self._read, self._at, self._length, self._guid = read, at, length, guid

    def replay(self, file_bytes: int) -> Replay:
        head_first = self._active_sequence()
        require(head_first is not None, "the log holds no valid sequence")
        assert head_first is not None
        head, run = head_first
        require(head.flushed <= file_bytes, "the file was cut after it was flushed")
        first = next(i for i, entry in enumerate(run) if entry.at == head.tail)
        writes = tuple(write for entry in run[first:] for write in entry.writes)
        ends = [at + length for at, length, _ in writes]
        return Replay(writes, max([file_bytes, head.last, *ends]))

    def _active_sequence(self) -> tuple[LogEntry, list[LogEntry]] | None:
        """The valid run with the greatest number at its head (MS-VHDX 2.3.3)."""
        entries = {}
        for at in range(0, self._length, PAGE):
            entry = self._entry(at)
            if entry is not None:
                entries[at] = entry
        best: tuple[LogEntry, list[LogEntry]] | None = None
        for start in entries.values():
            run = [start]
            while True:
                after = entries.get((run[-1].at + run[-1].length) % self._length)
                if after is None or after.sequence != run[-1].sequence + 1:
                    break
                run.append(after)
            head = run[-1]
            if not any(entry.at == head.tail for entry in run):
                continue
            if best is None or head.sequence > best[0].sequence:
                best = head, run
        return best

    def _ring(self, at: int, length: int) -> bytes:
        at %= self._length
        first = self._read(self._at + at, min(length, self._length - at))
        return first + self._read(self._at, length - len(first))

    def _entry(self, at: int) -> LogEntry | None:
        head = self._ring(at, PAGE)
        fields = struct.unpack_from("<4sIIIQII16sQQ", head)
        signature, crc, length, tail, sequence, count, _, guid, flushed, last = fields
        if signature != b"loge" or UUID(bytes_le=guid) != self._guid:
            return None
        if length == 0 or length % PAGE or length > self._length or sequence == 0:
            return None
        if tail % PAGE or tail >= self._length or flushed % MIB or last % MIB:
            return None
        data = self._ring(at, length)
        if crc32c(data[:4] + bytes(4) + data[8:]) != crc:
            return None
        writes = self._writes(data, count, sequence)
        if writes is None:
            return None
        return LogEntry(at, length, tail, sequence, flushed, last, writes)

    def _writes(
        self, data: bytes, count: int, sequence: int
    ) -> tuple[tuple[int, int, bytes | None], ...] | None:
        sector = -(-(64 + 32 * count) // PAGE) * PAGE
        if sector > len(data):
            return None
        writes: list[tuple[int, int, bytes | None]] = []
        for number in range(count):
            descriptor = data[64 + 32 * number :][:32]
            kind, trailing, leading, at, own = struct.unpack("<4s4s8sQQ", descriptor)
            if own != sequence or at % PAGE:
                return None
            length, page = PAGE, None
            if kind == b"zero":
                length = int.from_bytes(leading, "little")
            elif kind == b"desc":
                page = self._page(data[sector : sector + PAGE], sequence)
                if page is None:
                    return None
                page = leading + page + trailing
                sector += PAGE
            else:
                return None
            if length % PAGE or not self._may_write(at, length):
                return None
            writes.append((at, length, page))
        return tuple(writes)

    @staticmethod
    def _page(sector: bytes, sequence: int) -> bytes | None:
        if len(sector) != PAGE or sector[:4] != b"data":
            return None
        high, low = (
            struct.unpack("<I", sector[4:8])[0],
            struct.unpack("<I", sector[-4:])[0],
        )
        return sector[8:-4] if high << 32 | low == sequence else None

    def _may_write(self, at: int, length: int) -> bool:
        clear_of_log = at + length <= self._at or at >= self._at + self._length
        return at >= LOWEST_TARGET and at + length < 1 << 63 and clear_of_log

"""Index segments: in which pack a chunk or a node stands (§5)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .binary import checked, crc32c, expect, number, part, reserved

PAGE_BYTES: Final = 4096
ENTRIES_OF_A_PAGE: Final = 93
ENTRY_BYTES: Final = 44
PAGES_OF_A_FILTER: Final = 4096
TRAILER_BYTES: Final = 64
_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A place of a chunk or a node, in the order in which a segment sorts them."""

    id: bytes
    is_node: bool
    row: int
    offset: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Says of most ids that do not stand in some pages that they do not."""

    segments: int
    bits: int
    seed: int
    fingerprints: bytes

    def may_hold(self, id: bytes, is_node: bool) -> bool:
        """Whether the id may stand in the pages of this filter. Never wrong about one that does."""
        segment = 1 << self.bits
        key = int.from_bytes(id[:8], "big") ^ (0x9E3779B97F4A7C15 if is_node else 0)
        h = (key + self.seed * 0xD1B54A32D192ED03) & _MASK
        h ^= h >> 33
        h = h * 0xFF51AFD7ED558CCD & _MASK
        h ^= h >> 33
        h = h * 0xC4CEB9FE1A85EC53 & _MASK
        h ^= h >> 33
        first = h * (self.segments * segment) >> 64
        second = (first + segment) ^ ((h >> 18) % segment)
        third = (first + 2 * segment) ^ (h % segment)
        found = (
            self.fingerprints[first]
            ^ self.fingerprints[second]
            ^ self.fingerprints[third]
        )
        return found == (h ^ h >> 32) & 255


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment, read and checked whole."""

    level: int
    packs: list[tuple[bytes, int]]
    """Names and lengths of the packs that it tells about."""
    entries: list[Entry]
    filters: list[Filter | None]

    def filter_of(self, position: int) -> Filter | None:
        """Return the filter over the entry with this number."""
        return self.filters[position // (ENTRIES_OF_A_PAGE * PAGES_OF_A_FILTER)]


def read_segment(data: bytes) -> Segment:
    """Read a segment; what is wrong anywhere in it, filters included, is refused."""
    level, packs, pages_at = _packs(data)
    trailer = data[len(data) - TRAILER_BYTES :]
    checked(trailer, 52, part(trailer, 0, 52), "segment trailer")
    expect(trailer[56:] == b"HCBTXEND", "segment: wrong end")
    reserved(trailer, 20, 32)
    count, pages = number(trailer, 0, 8), number(trailer, 8, 4)
    expect(
        pages == -(-count // ENTRIES_OF_A_PAGE), "segment: entries do not fit the pages"
    )
    fences_at = pages_at + pages * PAGE_BYTES
    table_at = fences_at + 8 * pages
    filters_at = table_at + 12 * -(-pages // PAGES_OF_A_FILTER)
    fences, table = (
        part(data, fences_at, 8 * pages),
        part(data, table_at, filters_at - table_at),
    )
    checked(trailer, 12, fences, "fences")
    checked(trailer, 16, table, "filter table")
    entries = _entries(data[pages_at:fences_at], fences, count, len(packs))
    filters, end = _filters(data, table, filters_at)
    expect(
        end == len(data) - TRAILER_BYTES,
        "segment: its parts do not add up to its length",
    )
    return Segment(level, packs, entries, filters)


def _packs(data: bytes) -> tuple[int, list[tuple[bytes, int]], int]:
    """Return the level, the pack table, and where the pages begin."""
    header = part(data, 0, 64)
    checked(header, 60, header[:60], "segment header")
    expect(header[:8] == b"HCBTINDX", "segment: wrong magic")
    expect(number(header, 8, 2) == 0, "segment: another format")
    reserved(header, 11, 1)
    reserved(header, 20, 40)
    count = number(header, 12, 4)
    pages_at = -(-(64 + 40 * count) // PAGE_BYTES) * PAGE_BYTES
    table = part(data, 64, pages_at - 64)
    checked(header, 16, table, "pack table")
    rows = [
        (table[at : at + 32], number(table, at + 32, 8))
        for at in range(0, 40 * count, 40)
    ]
    expect(
        all(a < b for a, b in pairwise(rows)),
        "pack table: not ascending",
    )
    reserved(table, 40 * count, len(table) - 40 * count)
    return header[10], rows, pages_at


def _entries(pages: bytes, fences: bytes, count: int, rows: int) -> list[Entry]:
    entries: list[Entry] = []
    for at in range(0, len(pages), PAGE_BYTES):
        page = pages[at : at + PAGE_BYTES]
        checked(page, 4092, page[:4092], "page")
        fence = at // PAGE_BYTES * 8
        expect(
            page[:8] == fences[fence : fence + 8], "page: does not begin with its fence"
        )
        here = min(ENTRIES_OF_A_PAGE, count - len(entries))
        reserved(page, here * ENTRY_BYTES, 4092 - here * ENTRY_BYTES)
        entries += (
            _entry(page[n * ENTRY_BYTES : (n + 1) * ENTRY_BYTES]) for n in range(here)
        )
    expect(
        all(a < b for a, b in pairwise(entries)),
        "entries: not ascending",
    )
    expect(
        all(entry.row < rows for entry in entries),
        "entries: a row that the pack table lacks",
    )
    return entries


def _entry(data: bytes) -> Entry:
    stored = number(data, 40, 4)
    return Entry(
        id=data[:32],
        is_node=bool(stored >> 31),
        row=number(data, 32, 4),
        offset=number(data, 36, 4),
        stored_bytes=stored & 0x7FFFFFFF,
    )


def _filters(data: bytes, table: bytes, at: int) -> tuple[list[Filter | None], int]:
    """Return the filters and where they end."""
    filters: list[Filter | None] = []
    for start in range(0, len(table), 12):
        row = table[start : start + 12]
        if not any(row):
            filters.append(None)
            continue
        segments, bits = number(row, 0, 4), row[4]
        expect(bits <= 18, "filter: segments too long")
        reserved(row, 6, 2)
        fingerprints = part(data, at, (segments + 2) << bits)
        expect(number(row, 8, 4) == crc32c(fingerprints), "filter: wrong checksum")
        filters.append(Filter(segments, bits, row[5], fingerprints))
        at += len(fingerprints)
    return filters, at

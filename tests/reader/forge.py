"""Makes files that say something else, with every checksum and hash right again.

What is left to refuse them is the rule itself, not an accident of a checksum.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from .binary import blake3_of, crc32c, number
from .packs import ENTRY_BYTES, RECORD_BYTES, TRAILER_BYTES
from .segments import PAGE_BYTES

Change: TypeAlias = Callable[[bytearray], None]


def put(at: int, value: bytes) -> Change:
    """Return a change that writes bytes at a place; a negative one counts from the end."""

    def change(data: bytearray) -> None:
        start = at if at >= 0 else len(data) + at
        data[start : start + len(value)] = value

    return change


def _sum(data: bytearray, at: int, start: int, end: int) -> None:
    data[at : at + 4] = crc32c(bytes(data[start:end])).to_bytes(4, "little")


def make_object(path: Path, kind: int, payload: dict[str, Any]) -> Path:
    """Write an object (§2), as the document says and not as hypercbt does. Return its path."""
    text = json.dumps(payload).encode()
    data = bytearray(96 + len(text))
    data[:8], data[10] = b"HCBTOBJ\0", kind
    data[12:16] = len(text).to_bytes(4, "little")
    data[64 : 64 + len(text)] = text
    sign_object(data)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def sign_object(data: bytearray) -> None:
    """Put checksum and hash of an object right (§2)."""
    _sum(data, 60, 0, 60)
    data[-32:] = blake3_of(bytes(data[:-32]))


def sign_pack(data: bytearray) -> None:
    """Put the checksums of header, first record, footer and trailer right (§3)."""
    _sum(data, 60, 0, 60)
    _sum(
        data,
        64 + 88,
        64 + RECORD_BYTES,
        64 + RECORD_BYTES + number(bytes(data[64:160]), 12, 4),
    )
    _sum(data, 64 + 92, 64, 64 + 92)
    end = len(data) - TRAILER_BYTES
    count = int.from_bytes(data[end : end + 4], "little")
    _sum(data, end + 4, end - count * ENTRY_BYTES, end)
    _sum(data, end + 20, end, end + 20)


def sign_segment(data: bytearray) -> None:
    """Put the checksums of header, pack table, pages, fences, filter table and trailer right (§5)."""
    count = int.from_bytes(data[12:16], "little")
    pages_at = -(-(64 + 40 * count) // PAGE_BYTES) * PAGE_BYTES
    _sum(data, 16, 64, pages_at)
    _sum(data, 60, 0, 60)
    end = len(data) - 64
    pages = int.from_bytes(data[end + 8 : end + 12], "little")
    for page in range(pages):
        at = pages_at + page * PAGE_BYTES
        _sum(data, at + 4092, at, at + 4092)
    fences_at = pages_at + pages * PAGE_BYTES
    table_at = fences_at + 8 * pages
    _sum(data, end + 12, fences_at, table_at)
    _sum(data, end + 16, table_at, table_at + 12 * -(-pages // 4096))
    _sum(data, end + 52, end, end + 52)


def forge(path: Path, change: Change, sign: Change) -> Path:
    """Change a file, sign it anew, and rename it where its name is its hash. Return its path."""
    data = bytearray(path.read_bytes())
    change(data)
    sign(data)
    name = blake3_of(bytes(data)).hex()
    path.unlink()
    if path.parent.parent.name == "pack":
        path = path.parent.parent / name[:2] / name
    elif path.parent.name == "index":
        path = path.parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path

"""Plain files that hold the bytes of a disk, handled without the Rust core: a second opinion.

What the demo calls equal, it compares here, with Python's own reads.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

STRIDE = 1 << 20
"""Bytes that are looked at at once."""
ZEROS = bytes(STRIDE)

Read = Callable[[int, int], bytes]
"""Returns the bytes at (offset, length) of a disk."""


def copy_image(source: Path, target: Path) -> None:
    """Copy a disk image; where it is zero, the copy has holes."""
    size = source.stat().st_size
    with source.open("rb") as reader, target.open("wb") as writer:
        for offset in range(0, size, STRIDE):
            data = reader.read(STRIDE)
            if data != ZEROS[: len(data)]:
                writer.seek(offset)
                writer.write(data)
        writer.truncate(size)


def changed_pages(
    before: Path, after: Path, page_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yield each page that differs between two images of one size, as (offset, length)."""
    with before.open("rb") as one, after.open("rb") as two:
        for offset in range(0, before.stat().st_size, STRIDE):
            pages = differing_pages(one.read(STRIDE), two.read(STRIDE), page_bytes)
            for at, length in pages:
                yield offset + at, length


def differing_pages(
    before: bytes, after: bytes, page_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yield each page that differs between two stretches of one length, as (offset, length)."""
    if before == after:
        return
    for at in range(0, len(before), page_bytes):
        page = slice(at, at + page_bytes)
        if before[page] != after[page]:
            yield at, len(before[page])


def first_difference(image: Path, size: int, read: Read) -> int | None:
    """Return where a disk first differs from an image (a stride's offset), or None."""
    if image.stat().st_size != size:
        return min(image.stat().st_size, size)
    with image.open("rb") as file:
        for offset in range(0, size, STRIDE):
            data = file.read(STRIDE)
            if data != read(offset, len(data)):
                return offset
    return None


def same_files(one: Path, two: Path) -> int | None:
    """Return where two files first differ (a stride's offset), or None."""
    with two.open("rb") as file:
        return first_difference(
            one, os.fstat(file.fileno()).st_size, lambda _, length: file.read(length)
        )

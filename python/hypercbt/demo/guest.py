"""The demo's guest: it makes a disk of a virtual machine hold what an image holds, page by page, as a machine writes."""

from pathlib import Path

from hypercbt.demo.images import STRIDE, differing_pages
from hypercbt.lab import LabDisk

PAGE_BYTES = 4096
FLUSH_BYTES = 64 << 20
UNSYNCED = 8
"""Writes that the guest has not flushed when the power is cut."""


def write_image(disk: LabDisk, image: Path) -> None:
    """Write what differs, and make it durable."""
    waiting = 0
    with image.open("rb") as file:
        for offset in range(0, disk.size, STRIDE):
            wanted = file.read(STRIDE)
            found = disk.read(offset, len(wanted))
            for at, length in differing_pages(found, wanted, PAGE_BYTES):
                disk.write(offset + at, wanted[at : at + length])
                waiting += length
            if waiting >= FLUSH_BYTES:
                disk.flush()
                waiting = 0
    disk.flush()


def write_in_vain(disk: LabDisk) -> None:
    """Write here and there and flush nothing: a power cut takes it all back."""
    for offset in range(0, disk.size, disk.size // UNSYNCED):
        disk.write(offset, b"?" * PAGE_BYTES)

"""The demo's guest, in a process of its own, so that it can be stopped, and killed.

It makes a tracked disk hold what an image holds, as a machine that writes page by page, flushes, and says so. Then
it stops cleanly, or waits to be killed.
"""

import subprocess
import sys
from pathlib import Path
from typing import Literal, TypeAlias

from hypercbt.demo.images import STRIDE, differing_pages
from hypercbt.lab import TrackedDisk

START = "import sys; from hypercbt.demo.guest import write_image; write_image(*sys.argv[1:])"
WRITTEN = "written"
PAGE_BYTES = 4096
UNSYNCED = 8
"""Writes that the guest has not flushed when the power is cut."""

End: TypeAlias = Literal["clean stop", "power cut"]


def run_guest(disk: Path, image: Path, end: End) -> None:
    """Let a guest write to the disk until it holds the image, and end in this way."""
    guest = subprocess.Popen(
        [sys.executable, "-c", START, disk, image, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        try:
            if guest.stdout.readline().strip() != WRITTEN:
                raise RuntimeError("the guest ended before it had written everything")
            if end == "clean stop":
                guest.stdin.close()
                if guest.wait() != 0:
                    raise RuntimeError("the guest did not stop cleanly")
        finally:
            guest.kill()


def write_image(disk: str, image: str, end: str) -> None:
    """Be the guest: what its process runs. Before a power cut it writes on, and that is lost."""
    # Behind a volatile cache a kill is a power cut: nothing that was not synced is left.
    with (
        TrackedDisk.open(disk, volatile=True) as opened,
        Path(image).open("rb") as file,
    ):
        for offset in range(0, opened.size, STRIDE):
            wanted = file.read(STRIDE)
            found = opened.read_at(offset, len(wanted))
            for at, length in differing_pages(found, wanted, PAGE_BYTES):
                opened.write_at(offset + at, wanted[at : at + length])
        opened.flush()
        if end == "power cut":
            for offset in range(0, opened.size, opened.size // UNSYNCED):
                opened.write_at(offset, b"?" * PAGE_BYTES)
        sys.stdout.write(WRITTEN + "\n")
        sys.stdout.flush()
        # Who wants a clean stop closes the pipe; who wants a power cut kills us.
        sys.stdin.read()

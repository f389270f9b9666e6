"""What must hold of a disk: equal bytes, a sound file system, and every durable file."""

import hashlib
import shutil
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from guest.tools import run
from guest.workload import GONE
from hypercbt import Extents

BLOCK = 4096
STRIDE = 1 << 20


class BrokenPromiseError(Exception):
    """What was promised does not hold."""


def differences(first: Path, second: Path) -> Extents:
    """Return the blocks of 4 KiB in which two raw disks of the same size differ."""
    if first.stat().st_size != second.stat().st_size:
        raise BrokenPromiseError(f"{first} and {second} differ in size")
    return Extents(
        array("Q", [n for at in _differing(first, second) for n in (at, BLOCK)])
    )


def _differing(first: Path, second: Path) -> Iterator[int]:
    with first.open("rb") as one, second.open("rb") as other:
        for start in range(0, first.stat().st_size, STRIDE):
            left, right = one.read(STRIDE), other.read(STRIDE)
            if left != right:
                for at in range(0, len(left), BLOCK):
                    if left[at : at + BLOCK] != right[at : at + BLOCK]:
                        yield start + at


def check_files(image: Path, must_hold: Mapping[str, str], scratch: Path) -> int:
    """Check the file system of a raw disk and the files in it; return how many files.

    The disk is one whose power went, so its journal is played first, on a copy. After that the
    file system must be whole: `e2fsck` finds nothing to repair.

    Raises:
        BrokenPromiseError: It is not, or a file is not as the guest said that it was durable.
    """
    copy, files = scratch / "checked.raw", scratch / "files"
    run("cp", "--sparse=always", image, copy)
    # 1: "errors corrected", which is what it calls the journal.
    run("e2fsck", "-p", copy, ok=(0, 1))
    try:
        run("e2fsck", "-f", "-n", copy)
    except RuntimeError as error:
        raise BrokenPromiseError(f"the file system is damaged: {error}") from error
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    run("debugfs", "-R", f"rdump / {files}", copy)
    for name, expected in must_hold.items():
        path = files / name
        found = sha256(path) if path.exists() else GONE
        if found != expected:
            raise BrokenPromiseError(f"file {name} must be {expected} and is {found}")
    copy.unlink()
    return len(must_hold)


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What happens to files: five ways to harm one, from a place on."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

Harm: TypeAlias = Callable[[Path, int, int], None]
"""Harms a file between two offsets of it."""


def truncate(path: Path, start: int, end: int) -> None:
    """Cut the file off in the middle of the stretch."""
    path.write_bytes(path.read_bytes()[: (start + end) // 2])


def delete(path: Path, _start: int, _end: int) -> None:
    """Remove the file."""
    path.unlink()


def flip(path: Path, start: int, end: int) -> None:
    """Flip one bit in the middle of the stretch."""
    data = bytearray(path.read_bytes())
    data[(start + end) // 2] ^= 0x10
    path.write_bytes(data)


def half_write(path: Path, start: int, end: int) -> None:
    """Leave zeros from the middle of the stretch on: a write that was never finished."""
    data = path.read_bytes()
    middle = (start + end) // 2
    path.write_bytes(data[:middle] + bytes(len(data) - middle))


def append(path: Path, _start: int, _end: int) -> None:
    """Write something behind the end."""
    with path.open("ab") as file:
        file.write(b"what does not belong here")


HARMS: Final[dict[str, Harm]] = {
    "truncate": truncate,
    "delete": delete,
    "flip": flip,
    "half-write": half_write,
    "append": append,
}

"""The readers that every case is held against, behind one face."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import pytest

from .format import HEADER_PLACES, KIB
from .slow_reader import RefusedError, SlowDisk
from .vhd_slow_reader import SlowVhd


class Disk(Protocol):
    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def allocated(self) -> Iterable[tuple[int, int]]: ...


class Described(Protocol):
    """What knows what a disk holds: the image of a generator."""

    @property
    def size(self) -> int: ...

    def expected(self, offset: int, length: int) -> bytes: ...


class Reader(Protocol):
    """Opens disks. What it must refuse raises one of `refusals`, and nothing else will do."""

    refusals: tuple[type[Exception], ...]
    absence: type[Exception]
    """What is raised for a file that the caller named and that is not there."""

    def open(
        self, path: Path, *, parents: Iterable[Path] = (), folders: Iterable[Path] = ()
    ) -> Disk: ...

    def open_as_vhdx(self, path: Path) -> object:
        """Opens the file as VHDX, not as what it looks like."""
        ...


class SlowReader:
    """The second opinion."""

    refusals: tuple[type[Exception], ...] = (RefusedError,)
    absence: type[Exception] = RefusedError

    def open(
        self, path: Path, *, parents: Iterable[Path] = (), folders: Iterable[Path] = ()
    ) -> Disk:
        return SlowDisk(path, parents=list(parents), folders=list(folders))

    def open_as_vhdx(self, path: Path) -> object:
        return SlowDisk(path)


class OurDisk:
    """A `hypercbt.VirtualDisk`, with `read` for `read_at`."""

    def __init__(
        self, path: Path, parents: Iterable[Path], folders: Iterable[Path]
    ) -> None:
        import hypercbt

        self.disk = hypercbt.VirtualDisk.open(
            str(path),
            parents=[str(parent) for parent in parents],
            parent_folders=[str(folder) for folder in folders],
        )
        self.size: int = self.disk.size

    def read(self, offset: int, length: int) -> bytes:
        data: bytes = self.disk.read_at(offset, length)
        return data

    def allocated(self) -> Iterable[tuple[int, int]]:
        extents: Iterable[tuple[int, int]] = self.disk.allocated
        return extents


class OurReader:
    """The reader under test."""

    def __init__(self) -> None:
        from hypercbt.errors import (
            ParentDiskError,
            SourceError,
            UnsupportedDiskError,
            VhdxCorruptError,
        )

        self.absence: type[Exception] = SourceError
        self.refusals: tuple[type[Exception], ...] = (
            VhdxCorruptError,
            ParentDiskError,
            UnsupportedDiskError,
        )

    def open(
        self, path: Path, *, parents: Iterable[Path] = (), folders: Iterable[Path] = ()
    ) -> Disk:
        return OurDisk(path, parents, folders)

    def open_as_vhdx(self, path: Path) -> object:
        import hypercbt

        return hypercbt.VirtualDisk.open(path, format="vhdx")


def has_log(path: Path) -> bool:
    """Whether the header with the greater number has a log GUID."""
    with path.open("rb") as file:
        headers = []
        for place in HEADER_PLACES:
            file.seek(place)
            headers.append(struct.unpack("<8xQ32x16s", file.read(64)))
    return any(max(headers)[1])


def check(reader: Reader, path: Path, image: Described, *around: int) -> None:
    """The disk at `path` has the size of `image` and reads as it: all of it, or around offsets."""
    disk = reader.open(path)
    assert disk.size == image.size
    if not around:
        assert disk.read(0, image.size) == image.expected(0, image.size)
    for offset in around:
        start = max(0, offset - 8 * KIB)
        length = min(offset + 8 * KIB, image.size) - start
        assert disk.read(start, length) == image.expected(start, length), (
            f"around {offset}"
        )


def check_refused(
    reader: Reader, path: Path, offset: int = 0, length: int = 512
) -> None:
    """The file is refused with a typed error: at best when it is opened, at least when read."""
    with pytest.raises(reader.refusals):
        reader.open(path).read(offset, length)


class SlowVhdReader(SlowReader):
    """The second opinion on legacy VHD files."""

    def open(
        self, path: Path, *, parents: Iterable[Path] = (), folders: Iterable[Path] = ()
    ) -> Disk:
        return SlowVhd(path, parents=list(parents), folders=list(folders))

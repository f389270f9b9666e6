"""A disk of a restore point as a binary file."""

import io
import os
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from hypercbt import _native


class DiskFile(io.RawIOBase):
    """A seekable, readable file over the bytes of one disk of a restore point.

    The cursor belongs to this object and to one thread; `read_at` has none and may be called from
    any number of threads. Reads past the end are short, as in any file.
    """

    def __init__(self, disk: "_native.PointDisk") -> None:
        super().__init__()
        self._disk = disk
        self._position = 0

    @property
    def size(self) -> int:
        """The length of the disk in bytes."""
        return self._disk.size

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`, fewer only at the end of the disk."""
        self._check_open()
        if offset < 0 or length < 0:
            raise ValueError("offset and length must not be negative")
        length = min(length, max(0, self.size - offset))
        return self._disk.read_at(offset, length) if length else b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the cursor."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the cursor, also past the end, and return its position."""
        self._check_open()
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in origins:
            raise ValueError(f"whence {whence} is none of 0, 1 and 2")
        position = origins[whence] + offset
        if position < 0:
            raise ValueError(f"position {position} lies before the disk")
        self._position = position
        return position

    def readinto(self, buffer: "Buffer", /) -> int:
        """Fill a writable buffer from the cursor on and return how many bytes it got."""
        self._check_open()
        with memoryview(buffer).cast("B") as view:
            length = min(len(view), max(0, self.size - self._position))
            if length:
                with view[:length] as part:
                    self._disk.read_into(self._position, part)
        self._position += length
        return length

    def readall(self) -> bytes:
        """Return everything from the cursor to the end: mind the size of the disk."""
        data = self.read_at(self._position, max(0, self.size - self._position))
        self._position += len(data)
        return data

    def write(self, _buffer: "Buffer", /) -> NoReturn:
        """Refuse: a restore point never changes."""
        raise io.UnsupportedOperation("a restore point cannot be written to")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

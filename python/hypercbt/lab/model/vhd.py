"""A fixed VHD file that a guest writes, without any tracking: what hosts had before VHDX (quirk Q33, [V])."""

import shutil
import struct
import time
import uuid
from contextlib import suppress
from pathlib import Path

from hypercbt.closing import Closing

_FOOTER = struct.Struct(">8sIIQI4sI4sQQIII16sB427x")
_COOKIE, _FIXED = b"conectix", 2
_EPOCH = 946_684_800
"""VHD counts seconds from 2000 on."""


class VhdFile(Closing):
    """One disk. A checkpoint is a whole copy here: Windows would make a differencing `.avhd`.

    Args:
        files: The base file and what checkpoints made of it, the active one last.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self._file = files[-1].open("r+b", buffering=0)
        self.size = files[-1].stat().st_size - _FOOTER.size

    @staticmethod
    def create(path: Path, size: int) -> None:
        """Make a new, empty file: zeros, and a footer."""
        with path.open("xb") as file:
            file.truncate(size)
            file.seek(size)
            file.write(_footer(size))

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a file ends as a fixed VHD file does."""
        size = path.stat().st_size - _FOOTER.size
        if size < 0:
            return False
        with path.open("rb") as file:
            file.seek(size)
            found = _FOOTER.unpack(file.read(_FOOTER.size))
        return (found[0], found[9], found[11]) == (_COOKIE, size, _FIXED)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on."""
        self._check(offset, length)
        self._file.seek(offset)
        return self._file.read(length) or b""

    def write_at(self, offset: int, data: bytes | bytearray) -> None:
        """Write."""
        self._check(offset, len(data))
        self._file.seek(offset)
        self._file.write(data)

    def flush(self) -> None:
        """Nothing: a file like any other."""

    def freeze(self) -> Path:
        """Let the file stop changing, and go on in another."""
        old = self.files[-1]
        new = old.with_name(f"{self.files[0].stem}_{uuid.uuid4()}.avhd")
        shutil.copyfile(old, new)
        self._go_on(new)
        return old

    def thaw(self) -> None:
        """Merge the newest file into the one below."""
        self._file.close()
        newest = self.files.pop()
        newest.replace(self.files[-1])
        self._file = self.files[-1].open("r+b", buffering=0)

    def discard(self) -> None:
        """Go back to the newest checkpoint."""
        self._file.close()
        self.files.pop().unlink()
        old = self.files[-1]
        new = old.with_name(f"{self.files[0].stem}_{uuid.uuid4()}.avhd")
        shutil.copyfile(old, new)
        self._file = new.open("r+b", buffering=0)
        self.files.append(new)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()

    def cut_power(self) -> None:
        """The same: what was written is with the system."""
        self.close()

    def _go_on(self, new: Path) -> None:
        self._file.close()
        self._file = new.open("r+b", buffering=0)
        self.files.append(new)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{offset}+{length} is outside the disk of {self.size}")


def _footer(size: int) -> bytes:
    disk_id = uuid.uuid4().bytes

    def pack(checksum: int) -> bytes:
        return _FOOTER.pack(
            _COOKIE,
            2,
            0x10000,
            0xFFFF_FFFF_FFFF_FFFF,
            max(0, int(time.time()) - _EPOCH),
            b"lab ",
            0x10000,
            b"Wi2k",
            size,
            size,
            0,  # no geometry: readers take the size
            _FIXED,
            checksum,
            disk_id,
            0,
        )

    return pack(~sum(pack(0)) & 0xFFFF_FFFF)

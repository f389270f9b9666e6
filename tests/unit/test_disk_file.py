"""A disk as a file, over a few bytes in memory."""

import io
import os
from typing import TYPE_CHECKING, cast

import pytest

from hypercbt import DiskFile

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from hypercbt import _native

CONTENT = bytes(range(100))


class MemoryDisk:
    """What the core's PointDisk does, over bytes. Reads past the end are an error, as there."""

    size = len(CONTENT)

    def read_at(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size
        return CONTENT[offset : offset + length]

    def read_into(self, offset: int, buffer: "Buffer") -> None:
        view = memoryview(buffer)
        view[:] = self.read_at(offset, len(view))


@pytest.fixture
def file() -> DiskFile:
    return DiskFile(cast("_native.PointDisk", MemoryDisk()))


def test_reads_move_the_cursor(file: DiskFile) -> None:
    assert file.read(3) == b"\x00\x01\x02"
    assert file.read(2) == b"\x03\x04"
    assert file.tell() == 5


def test_seek_knows_all_three_origins(file: DiskFile) -> None:
    assert file.seek(10) == 10
    assert file.seek(-3, os.SEEK_CUR) == 7
    assert file.seek(-1, os.SEEK_END) == 99
    assert file.read() == b"\x63"


def test_a_read_past_the_end_is_short(file: DiskFile) -> None:
    file.seek(98)
    assert file.read(10) == b"\x62\x63"
    assert file.read(10) == b""
    file.seek(500)
    assert file.read(10) == b""


def test_read_at_does_not_move_the_cursor(file: DiskFile) -> None:
    assert file.read_at(50, 2) == b"\x32\x33"
    assert file.read_at(99, 5) == b"\x63"
    assert file.read_at(100, 5) == b""
    assert file.tell() == 0


@pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-101, 2), (0, 7)])
def test_a_place_that_does_not_exist_is_misuse(
    file: DiskFile, offset: int, whence: int
) -> None:
    with pytest.raises(ValueError, match=r"lies before|none of"):
        file.seek(offset, whence)


def test_negative_reads_are_misuse(file: DiskFile) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        file.read_at(-1, 5)


def test_a_closed_file_says_so(file: DiskFile) -> None:
    file.close()
    for act in (file.tell, file.readall, lambda: file.read_at(0, 1)):
        with pytest.raises(ValueError, match="closed"):
            act()


def test_it_can_be_wrapped_like_any_file(file: DiskFile) -> None:
    with io.BufferedReader(file) as buffered:
        buffered.seek(42)
        assert buffered.read(2) == b"\x2a\x2b"
    assert file.closed


def test_it_cannot_be_written(file: DiskFile) -> None:
    assert not file.writable()
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")

"""The second opinion on bytes must itself be right."""

from pathlib import Path

from hypercbt.demo.images import (
    STRIDE,
    changed_pages,
    copy_image,
    first_difference,
    same_files,
)


def image(path: Path, *pieces: tuple[int, bytes], size: int = 3 * STRIDE) -> Path:
    data = bytearray(size)
    for offset, piece in pieces:
        data[offset : offset + len(piece)] = piece
    path.write_bytes(data)
    return path


def test_a_copy_has_the_same_bytes(tmp_path: Path) -> None:
    source = image(
        tmp_path / "a", (STRIDE + 7, b"x"), (3 * STRIDE, b"tail"), size=3 * STRIDE + 4
    )
    copy_image(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == source.read_bytes()


def test_a_copy_that_ends_in_zeros_is_as_long(tmp_path: Path) -> None:
    copy_image(image(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "b").stat().st_size == 3 * STRIDE


def test_each_changed_page_is_named(tmp_path: Path) -> None:
    before = image(tmp_path / "a")
    after = image(tmp_path / "b", (4095, b"x"), (4096, b"x"), (2 * STRIDE + 9000, b"x"))
    assert list(changed_pages(before, after, 4096)) == [
        (0, 4096),
        (4096, 4096),
        (2 * STRIDE + 8192, 4096),
    ]


def test_one_flipped_bit_is_a_difference(tmp_path: Path) -> None:
    one = image(tmp_path / "a")
    two = image(tmp_path / "b", (3 * STRIDE - 1, b"\x01"))
    assert same_files(one, one) is None
    assert same_files(one, two) == 2 * STRIDE


def test_another_length_is_a_difference(tmp_path: Path) -> None:
    one, two = image(tmp_path / "a"), image(tmp_path / "b", size=2 * STRIDE)
    assert same_files(one, two) == 2 * STRIDE


def test_a_short_read_is_a_difference(tmp_path: Path) -> None:
    one = image(tmp_path / "a")
    assert first_difference(one, 3 * STRIDE, lambda _, length: bytes(length - 1)) == 0

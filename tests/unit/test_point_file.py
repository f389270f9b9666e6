"""Configuration files are written whole, under a name that nobody else has."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from hypercbt import _native
from hypercbt.errors import IntegrityError, TargetError, TargetExistsError
from hypercbt.point_file import PointFile, restore_files
from support import files_under


class Content:
    """What the core reads from: bytes, which may be lost."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def point_file(self, _point: str, _name: str) -> "Content":
        return self

    @property
    def size(self) -> int:
        return len(self.data or b"x")

    def read_at(self, offset: int, length: int) -> bytes:
        if self.data is None:
            raise IntegrityError("lost")
        return self.data[offset : offset + length]

    def read_into(self, offset: int, buffer: Any) -> None:
        buffer[:] = self.read_at(offset, len(buffer))


def file(name: str, data: bytes | None) -> PointFile:
    content = cast("_native.Repository", Content(data))
    return PointFile(name, len(data or b"x"), "aa", content)


def no_links(*_: object) -> None:
    raise OSError("this file system has no links")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_written_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "web01.vmcx"
    file("web01.vmcx", b"settings").restore(target)
    assert target.read_bytes() == b"settings"
    with pytest.raises(TargetExistsError):
        file("web01.vmcx", b"others").restore(target)
    assert target.read_bytes() == b"settings"
    file("web01.vmcx", b"others").restore(target, overwrite=True)
    assert target.read_bytes() == b"others"
    assert files_under(tmp_path) == ["web01.vmcx"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    target = tmp_path / "web01.vmcx"
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    real = os.fsync

    def another_writes(descriptor: int) -> None:
        real(descriptor)
        target.write_bytes(b"another's")

    monkeypatch.setattr(os, "fsync", another_writes)
    with pytest.raises(TargetExistsError):
        file("web01.vmcx", b"settings").restore(target)
    assert target.read_bytes() == b"another's"
    assert files_under(tmp_path) == ["web01.vmcx"]


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="lost"):
        file("web01.vmcx", None).restore(tmp_path / "web01.vmcx")
    assert files_under(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetError, match="cannot make the folder"):
        restore_files([file("a", b"a")], tmp_path / "file", overwrite=False)


def test_of_several_files_none_is_written_if_one_is_there(tmp_path: Path) -> None:
    files = [file("a", b"a"), file("b", b"b")]
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(TargetExistsError):
        restore_files(files, tmp_path, overwrite=False)
    assert files_under(tmp_path) == ["b"]
    paths = restore_files(files, tmp_path, overwrite=True)
    assert paths == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"b"

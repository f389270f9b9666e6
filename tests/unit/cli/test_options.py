"""How the text of options becomes values."""

import io
import json
import struct
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from hypercbt import Extents
from hypercbt.cli.options import (
    changes_from_binary,
    changes_from_json,
    parse_audit,
    parse_size,
    read_changes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("262144", 262144),
        ("64KiB", 65536),
        ("1 MiB", 1 << 20),
        ("2GiB", 2 << 30),
        ("7B", 7),
    ],
)
def test_sizes_have_binary_units(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "KiB", "1.5MiB", "-1KiB", "256kb", "1 TB", "0x10"]
)
def test_what_is_no_size_is_misuse(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_the_audit_is_full_off_or_days() -> None:
    assert parse_audit("full") == "full"
    assert parse_audit("off") == "off"
    assert parse_audit("7") == timedelta(days=7)
    assert parse_audit("0.5") == timedelta(hours=12)


@pytest.mark.parametrize("text", ["", "0", "-3", "nan", "inf", "1e30", "weekly"])
def test_an_audit_that_is_none_of_these_is_misuse(text: str) -> None:
    with pytest.raises(ValueError, match="no way to audit"):
        parse_audit(text)


def test_changes_are_pairs_in_json_in_any_order() -> None:
    assert changes_from_json("[[4096, 10], [0, 512]]") == Extents(
        [(0, 512), (4096, 10)]
    )
    assert changes_from_json("[]") == Extents()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1, 2]",
        "[[1]]",
        "[[1, 2, 3]]",
        "[[1, -2]]",
        "[[1.5, 2]]",
        "[[true, 2]]",
        '[["0", "1"]]',
        f"[[{1 << 64}, 1]]",
        "[" * 100_000,
    ],
)
def test_json_that_is_no_list_of_pairs_is_misuse(text: str) -> None:
    with pytest.raises(ValueError, match="must be JSON like"):
        changes_from_json(text)


def test_changes_come_as_little_endian_pairs_on_standard_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = struct.pack("<4Q", 1 << 40, 4096, 0, 512)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert read_changes("-") == Extents([(0, 512), (1 << 40, 4096)])
    assert changes_from_binary(b"") == Extents()


def test_half_a_pair_is_misuse() -> None:
    with pytest.raises(ValueError, match="24 bytes of changes"):
        changes_from_binary(bytes(24))


def test_changes_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "changes.json"
    path.write_text(json.dumps([[0, 1]]))
    assert read_changes(str(path)) == Extents([(0, 1)])


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_misuse(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "changes.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read the changes"):
        read_changes(str(path))

"""Options that several commands share, and how their text becomes values."""

import array
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter

from hypercbt._native import Extents
from hypercbt.api import Audit

UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
PAIR_BYTES = 16

RepositoryPath: TypeAlias = Annotated[
    Path,
    Parameter(
        name=["--repository", "-r"],
        env_var="HYPERCBT_REPOSITORY",
        help="The repository's folder.",
    ),
]
Json: TypeAlias = Annotated[
    bool, Parameter(name="--json", help="Print one JSON document, also on failure.")
]


def parse_size(text: str) -> int:
    """Return the bytes of `256KiB`, `1 MiB` or `262144`.

    Raises:
        ValueError: It is none of these.
    """
    match = re.fullmatch(r"(\d+)\s*([KMG]iB|B)?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write it like 256KiB or 1MiB")
    size = int(match[1]) * UNITS[match[2] or ""]
    if size >= 1 << 63:
        raise ValueError(f"{text!r} is more than any size can be")
    return size


def parse_audit(text: str) -> Audit:
    """Return what `--audit full|off|DAYS` says.

    Raises:
        ValueError: It is none of these.
    """
    if text == "full":
        return "full"
    if text == "off":
        return "off"
    try:
        days = timedelta(days=float(text))
    except (ValueError, OverflowError):
        days = timedelta()
    if days < timedelta(seconds=1):
        raise ValueError(
            f"{text!r} is no way to audit; say full, off or a number of days"
        )
    return days


def read_changes(source: str) -> Extents:
    """Return the changed extents of a JSON file, or of standard input where `source` is `-`.

    Raises:
        ValueError: They are not in the form that was promised.
    """
    if source == "-":
        if sys.stdin is None:
            raise ValueError("there are no changes to read: standard input is closed")
        return changes_from_binary(sys.stdin.buffer.read())
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the changes from {source}: {error}") from error
    return changes_from_json(text)


def changes_from_json(text: str) -> Extents:
    """Return the extents of `[[offset, length], …]`."""
    form = "the changes must be JSON like [[offset, length], …], in bytes"
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{form}: {error}") from error
    if not isinstance(document, list):
        raise ValueError(form)
    for number, pair in enumerate(document):
        if not _is_pair(pair):
            raise ValueError(f"{form}; entry {number} is {json.dumps(pair)[:80]}")
    return Extents((offset, length) for offset, length in document)


def changes_from_binary(data: bytes) -> Extents:
    """Return the extents of pairs of little-endian 64-bit numbers."""
    if len(data) % PAIR_BYTES:
        raise ValueError(
            f"{len(data)} bytes of changes are not pairs of two 64-bit numbers"
        )
    if not data:
        return Extents()
    numbers = array.array("Q", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    pairs = memoryview(numbers).cast("B").cast("Q", (len(data) // PAIR_BYTES, 2))
    return Extents(pairs)


def _is_pair(pair: object) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(number) is int and 0 <= number < 1 << 64 for number in pair)
    )

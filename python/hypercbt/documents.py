"""The documents that the Rust core hands over: JSON text, decoded once, here."""

import json
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

Document: TypeAlias = dict[str, Any]


def parse(text: str) -> Document:
    """Return the fields of a native document."""
    return cast("Document", json.loads(text))


def parse_list(text: str) -> list[Document]:
    """Return the entries of a native list."""
    return cast("list[Document]", json.loads(text))


def seconds(microseconds: int) -> float:
    """Return a duration in seconds."""
    return microseconds / 1_000_000


def now_microseconds() -> int:
    """Return the time as the core takes it: microseconds since 1970 in UTC."""
    moment = datetime.now(UTC)
    return round(moment.timestamp() * 1_000_000)

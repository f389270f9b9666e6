"""Numbers as people read them."""

import pytest

from hypercbt.cli.text import rate, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 30, "1.0 GiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes_have_a_unit(count: int | None, text: str) -> None:
    assert size(count) == text


def test_a_rate_of_no_time_is_unknown() -> None:
    assert rate(10_000_000, 2) == "5"
    assert rate(10, 0) == "-"

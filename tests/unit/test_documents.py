"""What the core hands over."""

import time

from hypercbt.documents import now_microseconds, parse, parse_list, seconds


def test_documents_are_json() -> None:
    assert parse('{"a": 1}') == {"a": 1}
    assert parse_list('[{"a": 1}]') == [{"a": 1}]


def test_durations_come_in_microseconds() -> None:
    assert seconds(1_500_000) == 1.5


def test_the_time_is_microseconds_since_1970() -> None:
    before = time.time_ns() // 1000
    assert abs(now_microseconds() - before) < 10_000_000

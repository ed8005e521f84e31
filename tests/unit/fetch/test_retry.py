from __future__ import annotations

import pytest

from soci_bootstrap.fetch.retry import RetryPolicy, parse_retry_after

POLICY = RetryPolicy(base=0.5, cap=10.0)


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (7, 10.0), (5000, 10.0)]
)
def test_full_jitter_below_a_ceiling_that_doubles(failures: int, ceiling: float) -> None:
    assert POLICY.delay(failures, None, lambda: 0.0) == 0.0
    assert POLICY.delay(failures, None, lambda: 0.5) == ceiling / 2
    assert POLICY.delay(failures, None, lambda: 0.999) < ceiling


def test_what_the_server_asks_for_is_a_floor() -> None:
    assert POLICY.delay(1, 7.0, lambda: 0.0) == 7.0
    assert POLICY.delay(3, 7.0, lambda: 0.5) == 8.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 17 ", 17.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 400, None),
        ("Thu, 99 Jan 1970 00:02:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, lambda: 100.0) == seconds

"""A retry policy, as a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with full jitter, so that a thousand nodes don't come back in step."""

    attempts: int = 10
    """Requests for one body in all. A fifth of them failing leaves 1 node in 10 million without."""
    base: float = 0.4
    """Seconds: the ceiling of the first wait; it doubles with each failure."""
    cap: float = 10.0
    """Seconds: no ceiling goes above this."""

    def delay(self, failures: int, retry_after: float | None, draw: Callable[[], float]) -> float:
        """Seconds to wait after the ``failures``-th failure (from 1).

        Args:
            failures: how many requests have failed so far.
            retry_after: seconds the server asked for; a floor, and the jitter goes on top of it, or
                every node that was told the same would return in the same instant.
            draw: a number in [0, 1).
        """
        jitter = draw() * min(self.cap, self.base * 2.0 ** min(failures - 1, 30))
        return jitter if retry_after is None else retry_after + jitter


def parse_retry_after(value: str | None, now: Callable[[], float]) -> float | None:
    """Seconds from a Retry-After header (RFC 9110 10.2.3: seconds or a date); None if there is none.

    Args:
        value: the header.
        now: seconds since the epoch, for the date form.
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value, re.ASCII):
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (TypeError, ValueError, OverflowError):
        return None


DEFAULT = RetryPolicy()

"""One deadline for all that a run waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

from soci_bootstrap.errors import DeadlineError


class Deadline:
    """Seconds left of a run, on the monotonic clock."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._end - self._clock())

    def limit(self, seconds: float) -> float:
        """Return ``seconds``, or the seconds left of the run if these are fewer."""
        return min(seconds, self.remaining())

    def check(self, waiting_for: str) -> None:
        """Raise ``DeadlineError`` naming ``waiting_for`` once the deadline has passed."""
        if self.remaining() <= 0:
            raise DeadlineError(
                f"the deadline passed while waiting for {waiting_for}",
                found=f"more than {self.seconds:g} s",
                expected=f"at most {self.seconds:g} s in all",
                remedy="raise --deadline, or bring the release nearer with --mirror",
            )

"""One deadline for all that a run waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from soci_bootstrap.errors import DeadlineError


class Deadline:
    """Seconds left of a run, on the monotonic clock.

    Args:
        seconds: for all of it.
        spent: those that are over already.
        clock: tests have their own.
    """

    def __init__(
        self, seconds: float, *, spent: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds - spent

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._end - self._clock())

    def limit(self, seconds: float) -> float:
        """Return ``seconds``, or the seconds left of the run if these are fewer."""
        return min(seconds, self.remaining())

    def earlier(self, seconds: float) -> Deadline:
        """Return a deadline that leaves ``seconds`` of this one for what has to be done after it."""
        return Deadline(self.remaining() - seconds, clock=self._clock)

    def check(self, waiting_for: str) -> None:
        """Raise ``DeadlineError`` naming ``waiting_for`` once the deadline has passed."""
        if self.remaining() <= 0:
            raise DeadlineError(
                f"the deadline passed while waiting for {waiting_for}",
                found=f"more than {self.seconds:g} s",
                expected=f"at most {self.seconds:g} s in all",
                remedy="raise --deadline, or bring the release nearer with --mirror",
            )


def process_age() -> float:
    """Return the seconds since this process was started: a Python that is read from a cold disk takes some.

    Source: proc(5), the 22nd field of ``stat``, in clock ticks since the boot.
    """
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))

"""Look at several things at once, each within a bound: one that hangs is a finding, not a hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, Union

from soci_bootstrap.doctor.finding import Observed, Unknown, attempt

T = TypeVar("T")


class Task(Generic[T]):
    """A look at something, begun at once.

    Args:
        look: what to do.
        seconds: from now on; a look that takes longer is given up, its thread left to itself.
    """

    def __init__(self, look: Callable[[], T], seconds: float = 10.0) -> None:
        self._look = look
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self._result: list[Observed[T]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._result.append(attempt(self._look))

    def result(self) -> Observed[T]:
        """What was seen, or why not."""
        self._thread.join(max(0.0, self._end - time.monotonic()))
        if self._result:
            return self._result[0]
        return Unknown(
            f"no end after {self._seconds:.0f} s", "find out what hangs: a disk, a mount, a program"
        )


class Known(Generic[T]):
    """The answer to a question that need not be asked."""

    def __init__(self, answer: Observed[T]) -> None:
        self._answer = answer

    def result(self) -> Observed[T]:
        """It."""
        return self._answer


Answer = Union[Task[T], Known[T]]

"""Sources of bytes, a file, https or S3, opened in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

BLOCK = 256 * 1024
"""Bytes asked for in one read: large enough that Python's part is small, small enough to keep memory flat."""


class TransientError(Exception):
    """This request failed; another may not.

    Args:
        reason: what happened, fit to be shown.
        retry_after: seconds the server asked to be left alone for.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True)
class Opened:
    """A body that can be read."""

    read: Callable[[int], bytes]
    """At most that many bytes, fewer as they arrive, empty at the end. Raises ``TransientError``."""
    close: Callable[[], None]
    total: int | None
    """The whole body's bytes, None if the source does not say."""


class Source(Protocol):
    """Something to fetch."""

    @property
    def name(self) -> str:
        """For messages: without credentials."""

    def open(self, timeout: float) -> Opened:
        """Make one request for the whole body.

        Args:
            timeout: seconds without any byte until it counts as failed.

        Raises:
            TransientError: worth another request.
            FetchError: not worth one.
        """

    def cancel(self) -> None:
        """Let go of what another thread may be blocked on; called from any thread."""

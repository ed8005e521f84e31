"""Where bytes come from: a file, https, S3. One way to open each of them at an offset."""

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
        resumable: False where what is there already must not be built upon.
    """

    def __init__(self, reason: str, retry_after: float | None = None, *, resumable: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.resumable = resumable


@dataclass(frozen=True)
class Opened:
    """A body that can be read, from ``offset`` on."""

    read: Callable[[int], bytes]
    """At most that many bytes, fewer as they arrive, empty at the end. Raises ``TransientError``."""
    close: Callable[[], None]
    offset: int
    """0 where the source can't or won't continue where it was asked to."""
    total: int | None
    """The whole body's bytes, None if the source does not say."""
    validator: str | None
    """What proves later that the body is still the same one; None: it can't be resumed."""


class Source(Protocol):
    """Something to fetch."""

    @property
    def name(self) -> str:
        """For messages: without credentials."""

    def open(self, offset: int, validator: str | None, timeout: float) -> Opened:
        """Make one request.

        Args:
            offset: bytes that are there already; 0 asks for everything.
            validator: of the body those bytes were from; None: the caller knows that it is this one.
            timeout: seconds without any byte until it counts as failed.

        Raises:
            TransientError: worth another request.
            FetchError: not worth one.
        """

    def cancel(self) -> None:
        """Let go of what another thread may be blocked on; called from any thread."""

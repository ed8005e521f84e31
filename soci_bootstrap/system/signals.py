"""SIGTERM and SIGINT stop a run between two of its steps, and then let it take back what it did."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def handle() -> None:
    """From here on either raises ``KeyboardInterrupt``."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold them back until the end of a step, which is then either done or not begun."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def discarded() -> Iterator[None]:
    """Pass over those that come while all that is left is to write down that the work is done."""
    with deferred():
        try:
            yield
        finally:
            while signal.sigtimedwait(_STOPPING, 0) is not None:
                pass


def ignore_more() -> None:
    """The first one was heard; a second one must not stop the taking back."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def start(thread: Thread) -> None:
    """Start a thread that takes none of them, then or later: it inherits what is held back here.

    What another thread takes, the main thread can't hold back; nor does it hear of it while it waits.
    """
    with deferred():
        thread.start()

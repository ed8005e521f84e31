"""SIGTERM, SIGINT and SIGHUP stop a run between two of its steps, and then let it undo what it did."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP is what a lost session sends."""


def handle() -> None:
    """From here on each of them raises ``KeyboardInterrupt``, but for a SIGHUP that nohup has ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


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
    """Ignore them from here on: called first thing where a run undoes what it did, for whatever reason."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def start(thread: Thread) -> None:
    """Start a thread that takes none of them, then or later: it inherits what is held back here.

    What another thread takes, the main thread can't hold back; nor does it hear of it while it waits.
    """
    with deferred():
        thread.start()

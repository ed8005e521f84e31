"""Lock out a second run. The kernel drops the lock with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from soci_bootstrap import paths
from soci_bootstrap.errors import LockHeldError, StateError
from soci_bootstrap.redact import redact_text
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline

_PAUSE = 0.1


@contextmanager
def held(system: System, deadline: Deadline) -> Iterator[None]:
    """Hold the node's lock, or an image's own directory's, so that nothing of ours stays in an image.

    Raises:
        LockHeldError: another run held it past the deadline.
        StateError: the lock can't be opened.
    """
    path = paths.LOCK if system.live else system.root
    fd = _open(path, system.live)
    try:
        while not _taken(fd, path):
            if _is_stale(fd, path):
                os.close(fd)
                fd = _open(path, system.live)
                continue
            if deadline.remaining() <= 0:
                # An image's directory has no place to say who: nothing of ours stays in it.
                said = os.pread(fd, 512, 0).decode("utf-8", "replace") if system.live else ""
                holder = redact_text(said, 160).strip() or "another process"
                raise LockHeldError(
                    "another soci-bootstrap is at work on this node",
                    found=f"{path} held by {holder} for more than {deadline.seconds:g} s",
                    expected="to be alone",
                    remedy="wait for it to end, or raise --deadline",
                )
            time.sleep(min(_PAUSE, deadline.remaining()))
        if system.live:
            called = redact_text(" ".join(sys.argv), 120)
            os.truncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} ({called})\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _open(path: str, live: bool) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if not live:
            return os.open(path, flags | os.O_RDONLY | os.O_DIRECTORY)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateError(
            f"{path} can't be opened for the lock",
            found=error.strerror or str(error),
            expected="root's right to write there" if live else "a directory",
            remedy="run as root" if live else "name an existing directory with --root",
        ) from error


def discard() -> None:
    """Remove the node's lock, which this run holds: rollback leaves nothing behind.

    Whoever waits for it sees that the file has gone, and opens the next one.
    """
    os.unlink(paths.LOCK)


def _taken(fd: int, path: str) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not _is_stale(fd, path)


def _is_stale(fd: int, path: str) -> bool:
    """Tell if the file was removed since it was opened: its lock keeps nobody out any more."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return True
    return not os.path.samestat(found, os.fstat(fd))

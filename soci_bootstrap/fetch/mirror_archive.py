"""Fetch one archive into one file of a mirror."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Protocol, final

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch.binary import ARCHIVE_LIMIT
from soci_bootstrap.fetch.digest import Expected, check_digest
from soci_bootstrap.fetch.download import Download
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.fetch.sources import source
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline


class Progress(Protocol):
    """Told how far each archive is."""

    console: Console

    def __call__(self, name: str, done: int, total: int | None) -> None: ...  # noqa: D102


@contextmanager
def archive(
    request: Request,
    expected: Expected,
    path: str,
    deadline: Deadline,
    progress: Progress,
    environ: Mapping[str, str],
    policy: RetryPolicy,
) -> Iterator[int]:
    """Fetch the archive to ``path``, check it and yield its size in bytes.

    ``path`` is locked until the context ends, so that the caller can give it its final name; where the
    context ends with an error, the file goes.

    Raises:
        FetchError: the archive can't be had, or another run fetches it to the same place.
        DigestMismatchError: it is another archive.
    """
    origin = source(request.location(), environ)
    download = Download(origin, deadline, progress.console, policy=policy, limit=ARCHIVE_LIMIT)
    with download.into(partial(_written, path), partial(progress, path)) as written:
        check_digest(request, expected, written.digest.hexdigest(), None)
        written.file.flush()
        os.fsync(written.file.fileno())
        yield written.file.tell()


@final
class _Archive:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)


@contextmanager
def _written(path: str) -> Iterator[_Archive]:
    """Open ``path`` empty, whatever a killed run left there, and for this run alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644), "wb") as file:
        _lock(file, path)
        file.truncate()
        try:
            yield _Archive(file)
        except BaseException:
            os.unlink(path)
            raise


def _lock(file: BinaryIO, path: str) -> None:
    """Keep other runs out: they would write to the finished archive, once it has its final name.

    Raises:
        FetchError: another mirror run has the file, or had it when this one opened it.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise FetchError(
        f"can't write {path}",
        found="another mirror run that fetches the same archive to the same place",
        expected="one at a time",
        remedy="wait for it, then run this again",
    )

"""One archive into one file, going on from what an interrupted run left."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Protocol

from soci_bootstrap.errors import BootstrapError, DigestMismatchError, FetchError
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


def bring(
    request: Request,
    expected: Expected,
    path: str,
    deadline: Deadline,
    progress: Progress,
    environ: Mapping[str, str],
    policy: RetryPolicy,
) -> int:
    """Fetch the archive to ``path``, which may hold the beginning of it; its size in bytes.

    ``path`` has the expected digest in its name, so what is in it came from the very same archive.
    A beginning that turns out wrong is thrown away, and the whole is fetched once more.

    Raises:
        FetchError: it can't be had; what has arrived stays for the next run.
        DigestMismatchError: it is another archive; nothing stays.
    """
    resumed = os.path.exists(path) and os.path.getsize(path) > 0
    try:
        return _bring(request, expected, path, deadline, progress, environ, policy)
    except DigestMismatchError:
        os.unlink(path)
        if not resumed:
            raise
        return bring(request, expected, path, deadline, progress, environ, policy)


def _bring(
    request: Request,
    expected: Expected,
    path: str,
    deadline: Deadline,
    progress: Progress,
    environ: Mapping[str, str],
    policy: RetryPolicy,
) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644), "r+b") as file:
        _alone(file, path)
        digest, start = _hash(file)
        if digest.hexdigest() != expected.sha256:
            origin = source(request.location(), environ)
            download = Download(
                origin, deadline, progress.console, policy=policy, limit=ARCHIVE_LIMIT, start=start
            )
            with _nothing_for_nothing(file, path), closing(download.blocks()) as blocks:
                for block in blocks:
                    if block.offset == 0 and not block.data:
                        file.seek(0)
                        file.truncate()
                        digest = hashlib.sha256()
                    file.write(block.data)
                    digest.update(block.data)
                    progress(path, block.offset + len(block.data), block.total)
            check_digest(request, expected, digest.hexdigest(), None)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


@contextmanager
def _nothing_for_nothing(file: Any, path: str) -> Iterator[None]:
    """Leave no empty file where nothing arrived."""
    try:
        yield
    except BootstrapError:
        if file.tell() == 0:
            os.unlink(path)
        raise


def _alone(file: Any, path: str) -> None:
    """Nobody else may write there: it would be to the finished archive, once we have renamed it.

    Raises:
        FetchError: another mirror run does.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FetchError(
            f"can't write {path}",
            found="another mirror run that fetches the same archive to the same place",
            expected="one at a time",
            remedy="wait for it, then run this again",
        ) from error


def _hash(file: Any) -> tuple[Any, int]:
    """The digest so far and the bytes it is of; leaves the file at its end."""
    digest = hashlib.sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    return digest, file.tell()

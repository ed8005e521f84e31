"""Where bytes come from: a file, https, S3. One way to open each of them at an offset."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from soci_bootstrap.errors import FetchError, UsageError
from soci_bootstrap.redact import redact_text, redact_url

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


def source(location: str, environ: Mapping[str, str]) -> Source:
    """The source for a URL, ``s3://`` address or path.

    Args:
        location: https, http, file or s3 URL, or a path.
        environ: proxies, CA bundle and the aws CLI's settings.
    """
    scheme = location.split("://", 1)[0].lower() if "://" in location else ""
    if scheme in ("https", "http"):
        from soci_bootstrap.transport_http import HttpSource

        return HttpSource(location, environ)
    if scheme == "s3":
        from soci_bootstrap.transport_s3 import S3Source

        return S3Source(location, environ)
    return FileSource(local_path(location))


def local_path(location: str) -> str:
    """The path that a ``file://`` URL or a path names.

    Raises:
        UsageError: another scheme, or a file URL that names another machine.
    """
    if "://" not in location:
        return location
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(location)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise UsageError(
            [f"can't fetch from {redact_url(location)!r}: expected an https, http, s3 or file URL, or a path"]
        )
    return unquote(parts.path)


class FileSource:
    """A regular file of this machine."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path

    def open(self, offset: int, validator: str | None, timeout: float) -> Opened:
        """Open it; a FIFO or device is refused rather than waited for."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise FetchError(
                f"can't read {self.path}",
                found=error.strerror or type(error).__name__,
                expected="a release archive",
                remedy="check --tarball or --mirror: below a mirror stands "
                "v{V}/soci-snapshotter-{V}-linux-{arch}.tar.gz",
            ) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise FetchError(
                f"can't read {self.path}",
                found="something that is not a regular file",
                expected="a release archive",
                remedy="check --tarball or --mirror",
            )
        return Opened(
            read=lambda size: self._read(fd, size),
            close=lambda: os.close(fd),
            offset=0,
            total=status.st_size,
            validator=None,
        )

    def cancel(self) -> None:
        """Nothing ever blocks on a regular file."""

    def _read(self, fd: int, size: int) -> bytes:
        try:
            return os.read(fd, size)
        except OSError as error:
            raise FetchError(
                f"can't read {self.path}",
                found=redact_text(error.strerror or ""),
                remedy="check the disk that it is on",
            ) from error

"""The source for a location: an https or http URL, an S3 address, or a file of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from soci_bootstrap.errors import FetchError, UsageError
from soci_bootstrap.fetch.source import Opened, Source
from soci_bootstrap.redact import redact_text, redact_url


def source(location: str, environ: Mapping[str, str]) -> Source:
    """Make the source for a URL, ``s3://`` address or path.

    Args:
        location: https, http, file or s3 URL, or a path.
        environ: proxies, CA bundle and the aws CLI's settings.
    """
    scheme = location.split("://", 1)[0].lower() if "://" in location else ""
    if scheme in ("https", "http"):
        from soci_bootstrap.fetch.http import HttpSource

        return HttpSource(location, environ)
    if scheme == "s3":
        from soci_bootstrap.fetch.s3 import S3Source

        return S3Source(location, environ)
    return FileSource(local_path(location))


def local_path(location: str) -> str:
    """Return the path that a ``file://`` URL or a path names.

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

    def open(self, timeout: float) -> Opened:
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
            total=status.st_size,
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

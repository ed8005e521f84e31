"""The one file that a fetch writes: nobody else's, executable by root alone, gone unless it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
from types import TracebackType
from typing import final

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch.threads import Data

_REMEDIES = {
    errno.ENOSPC: "free some space there, or give the node a larger disk",
    errno.EDQUOT: "raise the quota there",
    errno.EROFS: "the file system is mounted read-only: on such an image, bake SOCI in instead",
    errno.EIO: "the disk fails: replace the node",
    errno.EACCES: "run it as root",
    errno.EPERM: "run it as root; an immutable directory needs chattr -i",
    errno.EEXIST: "another run is writing it, or one was killed: remove it once no other runs",
    errno.ELOOP: "remove the symbolic link",
    errno.ENOENT: "create the directory",
}


@final
class StagedFile:
    """A file that is created here and nowhere else, and removed again unless ``keep`` was called.

    Args:
        path: on the target's file system, in a directory that only root writes to.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._kept = False

    def __enter__(self) -> StagedFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags, 0o700)
        except OSError as error:
            raise self._failure(error) from error
        try:
            os.fchmod(self._fd, 0o700)  # the umask may have taken bits away
        except OSError as error:
            self.__exit__(None, None, None)
            raise self._failure(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        if not self._kept:
            # Why it is not kept matters more than that a broken disk won't let go of it.
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def reserve(self, size: int) -> None:
        """Have the blocks for ``size`` bytes set aside, so that a full disk shows now."""
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                raise self._failure(error) from error

    def write(self, data: Data) -> None:
        """Append all of ``data``."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failure(error) from error

    def keep(self) -> None:
        """Have it on the disk, and leave it there."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failure(error) from error
        self._kept = True

    def _failure(self, error: OSError) -> FetchError:
        return FetchError(
            f"can't write {self.path}",
            found=error.strerror or type(error).__name__,
            expected="a writable place with room for the binary (about 60 MB)",
            remedy=_REMEDIES.get(error.errno or 0, "look at the file system that it is on"),
        )

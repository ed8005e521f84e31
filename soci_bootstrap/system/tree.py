"""Files as they stand on a node, or in an image below a root: looked at here, changed by ``system``.

Paths are the node's own (``/etc/...``). With a root other than ``/`` they are looked up below it the
way chroot would, links included.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass

from soci_bootstrap.errors import StateError

SELINUX = "security.selinux"
_LINKS_MAX = 40
# ValueError: what some file calls a path, but no path can be (a NUL, half a surrogate pair).
_ABSENT_ERRORS = (FileNotFoundError, NotADirectoryError, ValueError)


@dataclass(frozen=True)
class Entry:
    """One directory entry as it stands, never followed.

    Attributes:
        kind: ``file``, ``link``, ``dir``, ``absent`` or ``other``.
        mode: permission bits.
        target: where a link points.
        label: the SELinux label, empty where there is none.
        ctime_ns: the time that nobody can set back.
    """

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    target: str = ""
    label: str = ""
    ctime_ns: int = 0


ABSENT = Entry("absent")


class Tree:
    """The files below ``root``, and a memory of what was looked at.

    Args:
        root: ``/`` for this node, else the directory that stands for it.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/"
        self.began = time.time_ns()
        self.touched: dict[str, bool] = {}
        """Every path that was looked at or changed, and whether it was listed: what a later run's
        stat() has to find unchanged."""

    # -- paths --------------------------------------------------------------------------------

    def path(self, path: str) -> str:
        """The host's path of a node's path; the last component is not followed."""
        if self.live:
            return path
        return self._walk(path)

    def _walk(self, path: str) -> str:
        """Resolve the directories of a path as the kernel does in a chroot."""
        pending = [part for part in path.split("/") if part]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop(0)
            if part in {".", ".."}:
                if part == ".." and done:
                    done.pop()
                continue
            host = os.path.join(self.root, *done, part)
            if pending and os.path.islink(host):
                links += 1
                if links > _LINKS_MAX:
                    raise self._too_many_links(path)
                target = os.readlink(host)
                if target.startswith("/"):
                    done = []
                pending = [step for step in target.split("/") if step] + pending
                continue
            done.append(part)
        return os.path.join(self.root, *done)

    def followed(self, path: str) -> str:
        """The node's path that ``path`` leads to when it is a link, resolved as the kernel does.

        Raises:
            StateError: it leads through more links than the kernel follows.
        """
        found = path
        for _ in range(_LINKS_MAX + 1):
            entry = self.entry(found)
            if entry.kind != "link":
                return found
            host = self._walk(os.path.join(os.path.dirname(found), entry.target))
            found = host if self.root == "/" else host[len(self.root) :] or "/"
        raise self._too_many_links(path)

    def _too_many_links(self, path: str) -> StateError:
        return StateError(
            f"{path} below {self.root} leads through too many links",
            expected="a path that ends somewhere",
            remedy="look for a loop of symbolic links",
        )

    # -- what is there ------------------------------------------------------------------------

    def entry(self, path: str) -> Entry:
        """Look at ``path``, following no link; ``ABSENT`` where nothing is."""
        host = self.path(path)
        self.touched.setdefault(path, False)
        try:
            found = os.lstat(host)
        except _ABSENT_ERRORS:
            return ABSENT
        except OSError as error:
            raise _unreadable(path, error) from error
        kind, target = "other", ""
        if stat.S_ISREG(found.st_mode):
            kind = "file"
        elif stat.S_ISDIR(found.st_mode):
            kind = "dir"
        elif stat.S_ISLNK(found.st_mode):
            kind, target = "link", os.readlink(host)
        return Entry(
            kind,
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            found.st_size,
            found.st_mtime_ns,
            found.st_ino,
            target,
            _label(host),
            found.st_ctime_ns,
        )

    def read(self, path: str) -> bytes | None:
        """A file's bytes, links followed; None where there is none."""
        try:
            with open(self.open_regular(self.followed(path)), "rb") as file:
                return file.read()
        except _ABSENT_ERRORS:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error

    def listdir(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; empty where there is none."""
        self.touched[path] = True
        try:
            return tuple(sorted(os.listdir(self.path(self.followed(path)))))
        except _ABSENT_ERRORS:
            return ()
        except OSError as error:
            raise _unreadable(path, error) from error

    def is_executable(self, path: str) -> bool:
        """Tell whether ``path`` is, or leads to, a regular file with an execute bit."""
        try:
            entry = self.entry(self.followed(path))
        except StateError:
            return False
        return entry.kind == "file" and bool(entry.mode & 0o111)

    def which(self, name: str) -> str | None:
        """The first program of that name on the node's PATH, as the node's own path."""
        for directory in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            if self.is_executable(f"{directory}/{name}"):
                return f"{directory}/{name}"
        return None

    def sha256(self, path: str) -> str:
        """A file's digest, read in pieces so that its size does not matter."""
        import hashlib

        digest = hashlib.sha256()
        try:
            with open(self.open_regular(path), "rb", buffering=0) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise _unreadable(path, error) from error
        return digest.hexdigest()

    def open_regular(self, path: str) -> int:
        """Open a regular file that ``path`` is itself, never a link's target: that may lie outside ``root``.

        Raises:
            OSError: it can't be opened, or is no regular file.
        """
        return _open_regular(self.path(path))

    def read_ahead(self, path: str) -> None:
        """Have the kernel read a file from its disk, and don't wait for that; nothing where it can't."""
        with suppress(OSError, StateError):
            fd = self.open_regular(self.followed(path))
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(fd)


def read_regular(host: str) -> bytes:
    """All of a file of the host's, links followed; never waits for a FIFO or a device.

    Raises:
        OSError: it can't be read, or is no regular file.
    """
    with open(_open_regular(os.path.realpath(host)), "rb") as file:
        return file.read()


def _open_regular(host: str) -> int:
    fd = os.open(host, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind):
        os.close(fd)
        what = "a directory" if stat.S_ISDIR(kind) else "neither a file nor a directory"
        raise OSError(errno.EINVAL, what, host)
    return fd


def _label(host: str) -> str:
    try:
        return os.getxattr(host, SELINUX, follow_symlinks=False).decode().rstrip("\0")
    except OSError:
        return ""


def _unreadable(path: str, error: OSError) -> StateError:
    return StateError(
        f"{path} can't be read",
        found=error.strerror or str(error),
        expected="a readable file",
        remedy="run as root, or repair it",
    )

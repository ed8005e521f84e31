"""The one door to the operating system: files below a root, programs, processes.

Paths given to ``System`` are the node's own (``/etc/...``). With a root other than ``/`` they are
looked up below it the way chroot would, links included, and nothing there is ever executed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soci_bootstrap.errors import CommandError, StateError

_LINKS_MAX = 40
_SELINUX = "security.selinux"


@dataclass(frozen=True)
class Completed:
    """What a program left behind; ``stdout`` and ``stderr`` as it wrote them."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Entry:
    """One directory entry as it stands, never followed.

    Attributes:
        kind: ``file``, ``link``, ``dir``, ``absent`` or ``other``.
        mode: permission bits.
        target: where a link points.
        label: the SELinux label, empty where there is none.
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


ABSENT = Entry("absent")
# ValueError: what some file calls a path, but no path can be (a NUL, half a surrogate pair).
_ABSENT_ERRORS = (FileNotFoundError, NotADirectoryError, ValueError)


class System:
    """A node, or an image mounted below ``root``.

    Args:
        root: ``/`` for this node, else the directory that stands for it.
        tag: goes into the names of staged files, so that a hook (which takes no lock) and an
            install never write the same one.
    """

    def __init__(self, root: str = "/", tag: str = "soci-bootstrap") -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/"
        self.tag = tag
        self.began = time.time_ns()
        self.touched: dict[str, bool] = {}
        """Every path that was looked at or changed, and whether it was listed: what a later run's
        stat() has to find unchanged."""

    # -- what a subclass may watch ------------------------------------------------------------

    def before_change(self, what: str) -> None:
        """Called before every single change; tests kill the run here, signals stop it here."""

    # -- paths --------------------------------------------------------------------------------

    def path(self, path: str) -> str:
        """The host's path of a node's path; the last component is not followed."""
        if self.live:
            return path
        return self._walk(path)

    def _walk(self, path: str) -> str:
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
                    raise StateError(
                        f"{path} below {self.root} leads through too many links",
                        expected="a path that ends somewhere",
                        remedy="look for a loop of symbolic links in the image",
                    )
                target = os.readlink(host)
                if target.startswith("/"):
                    done = []
                pending = [step for step in target.split("/") if step] + pending
                continue
            done.append(part)
        return os.path.join(self.root, *done)

    def followed(self, path: str) -> str:
        """The node's path that ``path`` leads to when it is a link (one hop at a time)."""
        for _ in range(_LINKS_MAX):
            entry = self.entry(path)
            if entry.kind != "link":
                break
            path = os.path.normpath(os.path.join(os.path.dirname(path), entry.target))
        return path

    # -- reading ------------------------------------------------------------------------------

    def entry(self, path: str) -> Entry:
        """What stands at ``path``; ``ABSENT`` where nothing does."""
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
        )

    def read(self, path: str) -> bytes | None:
        """A file's bytes, links followed; None where there is none."""
        try:
            return read_regular(self.path(self.followed(path)))
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
        """Whether ``path`` is, or leads to, a regular file with an execute bit."""
        entry = self.entry(self.followed(path))
        return entry.kind == "file" and bool(entry.mode & 0o111)

    def sha256(self, path: str) -> str:
        """A file's digest, read in pieces so that its size does not matter."""
        import hashlib

        digest = hashlib.sha256()
        try:
            with open(self.path(path), "rb", buffering=0) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise _unreadable(path, error) from error
        return digest.hexdigest()

    # -- changing -----------------------------------------------------------------------------

    def staged_name(self, path: str) -> str:
        """Where ``path`` is staged: its own directory, and a name that no ``.d`` reader takes."""
        return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{self.tag}.tmp")

    def write(
        self, path: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0, label: str = ""
    ) -> None:
        """Put a file in place whole: staged beside it, fsynced, renamed, directory fsynced."""
        self.before_change(f"write {path}")
        staged = self.path(self.staged_name(path))
        final = self.path(path)
        try:
            fd = _create(staged)
            try:
                with open(fd, "wb", closefd=False) as file:
                    file.write(data)
                self._own(fd, mode, uid, gid)
                if label:
                    os.setxattr(fd, _SELINUX, label.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(staged, final)
            _sync_directory(os.path.dirname(final))
        except OSError as error:
            _discard(staged)
            raise _unwritable(path, error) from error

    def adopt(self, staged: str, path: str, mode: int = 0o755) -> None:
        """Give a file staged beside ``path`` (see ``staged_name``) its owner, mode and name."""
        self.before_change(f"rename {path}")
        host, final = self.path(staged), self.path(path)
        try:
            fd = os.open(host, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._own(fd, mode, 0, 0)
            finally:
                os.close(fd)
            os.rename(host, final)
            _sync_directory(os.path.dirname(final))
        except OSError as error:
            _discard(host)
            raise _unwritable(path, error) from error

    def copy(
        self,
        source: str,
        path: str,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        label: str = "",
        mtime_ns: int | None = None,
    ) -> None:
        """Copy a file's bytes and extended attributes to ``path``, staged and renamed: for backups.

        Args:
            source: what to copy.
            path: where to.
            mode: of the copy, as ``uid`` and ``gid``.
            label: its SELinux label, empty for that of its place.
            mtime_ns: when it was changed last, None for now.
        """
        self.before_change(f"copy {path}")
        staged = self.path(self.staged_name(path))
        try:
            with open(self.path(source), "rb") as reader:
                fd = _create(staged)
                try:
                    while os.sendfile(fd, reader.fileno(), None, 1 << 24):
                        pass
                    self._own(fd, mode, uid, gid)
                    _copy_attributes(reader.fileno(), fd)
                    # An access control list says something of the mode, too.
                    os.fchmod(fd, mode)
                    if label:
                        os.setxattr(fd, _SELINUX, label.encode())
                    if mtime_ns is not None:
                        os.utime(fd, ns=(mtime_ns, mtime_ns))
                    os.fsync(fd)
                finally:
                    os.close(fd)
            os.rename(staged, self.path(path))
            _sync_directory(os.path.dirname(self.path(path)))
        except OSError as error:
            _discard(staged)
            raise _unwritable(path, error) from error

    def hardlink(self, path: str, other: str) -> None:
        """Give a file a second name in its own directory."""
        self.before_change(f"link {other}")
        try:
            os.link(self.path(path), self.path(other), follow_symlinks=False)
        except OSError as error:
            raise _unwritable(other, error) from error

    def rename(self, path: str, final: str) -> None:
        """Rename within a directory, durable when this returns."""
        self.before_change(f"rename {final}")
        try:
            os.rename(self.path(path), self.path(final))
            _sync_directory(os.path.dirname(self.path(final)))
        except OSError as error:
            raise _unwritable(final, error) from error

    def link(self, path: str, target: str, uid: int = 0, gid: int = 0) -> None:
        """Put a symbolic link in place, replacing what stands there."""
        self.before_change(f"link {path}")
        staged, final = self.path(self.staged_name(path)), self.path(path)
        try:
            _discard(staged)
            os.symlink(target, staged)
            if os.geteuid() == 0:
                os.lchown(staged, uid, gid)
            os.rename(staged, final)
            _sync_directory(os.path.dirname(final))
        except OSError as error:
            _discard(staged)
            raise _unwritable(path, error) from error

    def mkdir(self, path: str, mode: int = 0o755) -> list[str]:
        """Make a directory and its parents; returns those made, outermost first."""
        made: list[str] = []
        missing: list[str] = []
        walked = path
        while walked not in {"/", ""} and self.entry(self.followed(walked)).kind == "absent":
            missing.append(walked)
            walked = os.path.dirname(walked)
        for directory in reversed(missing):
            self.before_change(f"mkdir {directory}")
            host = self.path(directory)
            try:
                # In one step: a run killed in between would leave a directory that nobody can enter.
                umask = os.umask(0)
                try:
                    os.mkdir(host, mode)
                finally:
                    os.umask(umask)
                self._chown(host)
            except FileExistsError:
                continue
            except OSError as error:
                raise _unwritable(directory, error) from error
            made.append(directory)
        return made

    def remove(self, path: str) -> None:
        """Remove a file or a link; nothing to do where there is none."""
        self.before_change(f"remove {path}")
        host = self.path(path)
        try:
            os.unlink(host)
            _sync_directory(os.path.dirname(host))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno == errno.EROFS and not os.path.lexists(host):
                # A read-only file system says so whether there is anything to remove or not.
                return
            raise _unwritable(path, error) from error

    def rmdir(self, path: str) -> bool:
        """Remove a directory if it is empty; whether it is gone."""
        self.before_change(f"rmdir {path}")
        try:
            os.rmdir(self.path(path))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def rmtree(self, path: str) -> None:
        """Remove a directory and everything in it, following no link; nothing to do where there is none.

        Raises:
            StateError: something in it would not go, such as a mount.
        """
        import shutil

        self.before_change(f"rmtree {path}")
        try:
            shutil.rmtree(self.path(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unwritable(path, error) from error

    def _own(self, fd: int, mode: int, uid: int, gid: int) -> None:
        if os.geteuid() == 0:
            os.fchown(fd, uid, gid)
        # After the owner: a change of that takes a set-user-ID bit away.
        os.fchmod(fd, mode)

    def _chown(self, host: str) -> None:
        if os.geteuid() == 0:
            os.chown(host, 0, 0)

    # -- programs -----------------------------------------------------------------------------

    def which(self, name: str) -> str | None:
        """The first program of that name on the node's PATH, as the node's own path."""
        for directory in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            if self.is_executable(f"{directory}/{name}"):
                return f"{directory}/{name}"
        return None

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: bytes = b"",  # noqa: A002 - subprocess' own word for it
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program of this node to its end, killed at ``timeout`` seconds.

        Raises:
            CommandError: it is missing, can't be executed, or did not end in time. A status
                other than 0 is the caller's to judge.
        """
        import subprocess

        if not self.live:
            raise CommandError(
                f"{argv[0]} was to run below {self.root}",
                expected="nothing below --root to be executed",
                remedy="report this",
            )
        try:
            done = subprocess.run(
                list(argv), input=input, capture_output=True, timeout=timeout, env=env, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(
                f"{' '.join(argv)} did not end",
                found=f"no end after {timeout:.1f} s",
                expected="an answer in time",
                remedy="run it by hand to see what it waits for",
            ) from error
        except OSError as error:
            raise CommandError(
                f"{argv[0]} can't be run",
                found=error.strerror or str(error),
                expected="a program of this node",
                remedy="install it or repair its file",
            ) from error
        return Completed(done.returncode, done.stdout, done.stderr)


def read_regular(host: str) -> bytes:
    """All of a file; never waits for a FIFO or a device.

    Raises:
        OSError: it can't be read, or is no regular file.
    """
    with open(os.open(host, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(kind):
            what = "a directory" if stat.S_ISDIR(kind) else "neither a file nor a directory"
            raise OSError(errno.EINVAL, what, host)
        return file.read()


def checked(argv: Sequence[str], done: Completed) -> bytes:
    """A program's stdout, or a ``CommandError`` with its status and last words."""
    if done.status == 0:
        return done.stdout
    words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    raise CommandError(
        f"{' '.join(argv)} failed with status {done.status}",
        found=words[-1][:300] if words else "no message",
        expected="status 0",
        remedy="run it by hand to see the whole output",
    )


def _create(staged: str) -> int:
    """Open a new file, whatever a killed or hostile process left under its name."""
    _discard(staged)
    return os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _discard(host: str) -> None:
    """Best effort: what can't be removed shows when a file of that name is to be created."""
    with contextlib.suppress(OSError):
        os.unlink(host)


def _copy_attributes(source: int, fd: int) -> None:
    """Capabilities, access control lists, the user's own: those that this file system takes."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listxattr(source)
    for name in names:
        if name != _SELINUX:
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(source, name))


def _sync_directory(host: str) -> None:
    fd = os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _label(host: str) -> str:
    try:
        return os.getxattr(host, _SELINUX, follow_symlinks=False).decode().rstrip("\0")
    except OSError:
        return ""


def _unreadable(path: str, error: OSError) -> StateError:
    return StateError(
        f"{path} can't be read",
        found=error.strerror or str(error),
        expected="a readable file",
        remedy="run as root, or repair it",
    )


def _unwritable(path: str, error: OSError) -> StateError:
    return StateError(
        f"{path} can't be written",
        found=error.strerror or str(error),
        expected="a writable place with free space and inodes",
        remedy="check `df -h`, `df -i`, mount options and `lsattr` for it, then run again",
    )

"""The one door to the operating system: files, programs, systemd, lock, deadline, signals.

With a root other than ``/`` nothing below it is ever executed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from soci_bootstrap.errors import CommandError, StateError
from soci_bootstrap.system.tree import SELINUX, Tree

if TYPE_CHECKING:
    from soci_bootstrap.system.programs import Completed


class System(Tree):
    """A node, or an image mounted below ``root``.

    Args:
        root: ``/`` for this node, else the directory that stands for it.
        tag: goes into the names of staged files, so that a hook (which takes no lock) and an
            install never write the same one.
    """

    def __init__(self, root: str = "/", tag: str = "soci-bootstrap") -> None:
        super().__init__(root)
        self.tag = tag

    # -- what a subclass may watch ------------------------------------------------------------

    def before_change(self, what: str) -> None:
        """Called before every single change; tests kill the run here, signals stop it here."""

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
                    os.setxattr(fd, SELINUX, label.encode())
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
            source: what to copy, a regular file itself: a link may lead out of an image.
            path: where to.
            mode: of the copy, as ``uid`` and ``gid``.
            label: its SELinux label, empty for that of its place.
            mtime_ns: when it was changed last, None for now.
        """
        self.before_change(f"copy {path}")
        staged = self.path(self.staged_name(path))
        try:
            with open(self.open_regular(source), "rb") as reader:
                fd = _create(staged)
                try:
                    while os.sendfile(fd, reader.fileno(), None, 1 << 24):
                        pass
                    self._own(fd, mode, uid, gid)
                    _copy_attributes(reader.fileno(), fd)
                    # An access control list says something of the mode, too.
                    os.fchmod(fd, mode)
                    if label:
                        os.setxattr(fd, SELINUX, label.encode())
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
                if os.geteuid() == 0:
                    os.chown(host, 0, 0)
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

    # -- programs -----------------------------------------------------------------------------

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
        if not self.live:
            raise CommandError(
                f"{argv[0]} was to run below {self.root}",
                expected="nothing below --root to be executed",
                remedy="report this",
            )
        from soci_bootstrap.system import programs

        return programs.run(argv, timeout, input, env)


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
        if name != SELINUX:
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(source, name))


def _sync_directory(host: str) -> None:
    fd = os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(path: str, error: OSError) -> StateError:
    return StateError(
        f"{path} can't be written",
        found=error.strerror or str(error),
        expected="a writable place with free space and inodes",
        remedy="check `df -h`, `df -i`, mount options and `lsattr` for it, then run again",
    )

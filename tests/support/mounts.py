"""Real file systems for tests that run as root, in a mount namespace that ends with the tests."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW_NAMESPACE = 0x00020000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_DETACH = 2
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(arguments))


def own_namespace() -> None:
    """From here on no other process sees what this one mounts."""
    _call("unshare", _NEW_NAMESPACE)
    _call("mount", b"none", b"/", None, _REC | _PRIVATE, None)


@contextmanager
def tmpfs(directory: Path, options: str) -> Iterator[Path]:
    """A file system in memory, with these options."""
    directory.mkdir(exist_ok=True)
    _call("mount", b"tmpfs", bytes(directory), b"tmpfs", 0, options.encode())
    try:
        yield directory
    finally:
        _call("umount2", bytes(directory), _DETACH)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A file or directory that nobody can change, root included."""
    _call("mount", bytes(path), bytes(path), None, _BIND, None)
    try:
        _call("mount", b"none", bytes(path), None, _REMOUNT | _BIND | _RDONLY, None)
        yield
    finally:
        _call("umount2", bytes(path), _DETACH)


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """``chattr +i``; where the file system has no such flag, a read-only mount of the file."""
    try:
        flags = _flags(path, _IMMUTABLE, 0)
    except OSError:
        with read_only(path):
            yield
        return
    try:
        yield
    finally:
        _flags(path, flags & _IMMUTABLE, _IMMUTABLE)


def _flags(path: Path, add: int, remove: int) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        before = int.from_bytes(fcntl.ioctl(fd, _GET_FLAGS, bytes(8)), "little")
        fcntl.ioctl(fd, _SET_FLAGS, ((before & ~remove) | add).to_bytes(8, "little"))
    finally:
        os.close(fd)
    return before

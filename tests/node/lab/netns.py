"""A network namespace that outlives a node's reboots, and sockets of ours within it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40
_libc = ctypes.CDLL(None, use_errno=True)


class NetNamespace:
    """A namespace with loopback alone: nothing in it reaches any other network."""

    def __init__(self) -> None:
        self.fd = _in_thread(_create)

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket inside; any thread of this process may serve it."""

        def make() -> socket.socket:
            _check(_libc.setns(self.fd, _CLONE_NEWNET))
            return socket.create_server((host, port), backlog=64)

        return _in_thread(make)

    def close(self) -> None:
        """Let the namespace go once nothing runs in it."""
        os.close(self.fd)


def _create() -> int:
    _check(_libc.unshare(_CLONE_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own, whose namespace dies with it."""
    result: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]

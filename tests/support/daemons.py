"""SOCI's socket, with all sorts of daemons behind it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00"


@contextlib.contextmanager
def listening(path: Path, *said: bytes, closing: bool = True) -> Iterator[list[bytes]]:
    """A socket behind which something says ``said``, piece by piece, to each client; what it heard.

    Args:
        path: of the socket.
        said: nothing is what systemd's activated socket says without a daemon.
        closing: whether the connection ends after that.
    """
    heard: list[bytes] = []
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                heard.append(connection.recv(64))
                for piece in said:
                    connection.sendall(piece)
            if closing:
                connection.close()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.parent.mkdir(parents=True, exist_ok=True)
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()
            path.unlink()

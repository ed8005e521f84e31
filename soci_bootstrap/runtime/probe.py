"""Does SOCI answer? A gRPC server meets an HTTP/2 client preface with a SETTINGS frame.

connect() alone proves nothing: systemd holds an activated socket whether or not the daemon lives.
Source: RFC 9113, sections 3.4 (preface) and 6.5 (SETTINGS).
"""

from __future__ import annotations

import socket
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEADER = 9
_SETTINGS = 4
_PAUSE = 0.02


def answers(path: str, seconds: float) -> bool:
    """Tell whether a gRPC server answers on a Unix socket within ``seconds``, which may be tried often."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0:
            return False
        if _asked_once(path, left):
            return True
        time.sleep(min(_PAUSE, max(0.0, end - time.monotonic())))


def _asked_once(path: str, seconds: float) -> bool:
    received = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(path)
            connection.sendall(_PREFACE + _SETTINGS_FRAME)
            end = time.monotonic() + seconds
            while len(received) < _FRAME_HEADER:
                connection.settimeout(max(0.001, end - time.monotonic()))
                block = connection.recv(_FRAME_HEADER - len(received))
                if not block:
                    return False
                received += block
    except OSError:
        return False
    return received[3] == _SETTINGS

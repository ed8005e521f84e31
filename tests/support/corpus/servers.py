"""Servers as they are on a bad day, or in bad hands, and what must become of a fetch from each.

Each case is a function that answers one request on the loopback interface; it is told the how
manieth this is, and may send whatever bytes it likes.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from tests.support.corpus import archives

HERE = os.path.dirname(__file__)
CA = os.path.join(HERE, "tls", "ca.pem")

PROGRAM = random.Random(0).randbytes(1_500_000)
BODY = archives.packed(archives.entry(data=PROGRAM), archives.OTHERS)
HALF = len(BODY) // 2
OLD = archives.packed(archives.entry(data=PROGRAM[::-1]))
SECRET = "hunter2"
PATIENCE = 20.0
"""Seconds after which a server gives up being slow: a client that waits this long has failed."""


@dataclass
class Exchange:
    """One request, and the connection to answer it on."""

    number: int
    path: str
    headers: dict[str, str]
    connection: socket.socket
    origin: str
    stopped: threading.Event

    def send(self, data: bytes) -> None:
        """Exactly these bytes."""
        self.connection.sendall(data)

    def reply(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """A whole answer; ``length`` may lie. Underscores in header names stand for hyphens."""
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode() + body)

    def pause(self, seconds: float) -> None:
        """Sleep, unless the test is over."""
        if self.stopped.wait(seconds):
            raise ConnectionError


Behave = Callable[[Exchange], None]


@dataclass(frozen=True)
class Case:
    """One server.

    Attributes:
        error: a pattern in the message, None where the fetch must succeed.
        requests: how many there must have been, None where that is not the point.
        certificate: a file in ``tls/``; None is plain http.
        deadline: seconds the client is given.
        waited: seconds of back-off that the client must have kept to.
    """

    name: str
    behave: Behave
    error: str | None = None
    requests: int | None = None
    certificate: str | None = None
    deadline: float = 15.0
    waited: float = 0.0


@final
@dataclass
class Server:
    """Answers with ``behave`` until closed."""

    behave: Behave
    certificate: str | None = None
    family: socket.AddressFamily = socket.AF_INET
    seen: list[Exchange] = field(default_factory=list)

    def __enter__(self) -> Server:
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(
            ("::1" if self.family == socket.AF_INET6 else "127.0.0.1", 0), family=self.family
        )
        self._context: ssl.SSLContext | None = None
        if self.certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(os.path.join(HERE, "tls", self.certificate))
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    @property
    def origin(self) -> str:
        """scheme://host:port"""
        host = "[::1]" if self.family == socket.AF_INET6 else "127.0.0.1"
        return f"{'https' if self.certificate else 'http'}://{host}:{self._listener.getsockname()[1]}"

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        with contextlib.suppress(OSError):
            raw.settimeout(PATIENCE)
            if self._context is not None:
                connection = self._context.wrap_socket(raw, server_side=True)
            request = self._read(connection)
            if request is not None:
                self.behave(request)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        raw.close()

    def _read(self, connection: socket.socket) -> Exchange | None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data:
                return None
            head += data
            if head.startswith(b"\x16"):  # a TLS client's hello
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return None
        first, *lines = head.decode("latin-1").split("\r\n\r\n", 1)[0].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        with self._lock:
            request = Exchange(
                len(self.seen) + 1, first.split(" ")[1], headers, connection, self.origin, self._stopped
            )
            self.seen.append(request)
        return request


def first(*answers: Behave) -> Behave:
    """The first request gets the first answer, and so on; the last is for all that follow."""
    return lambda x: answers[min(x.number, len(answers)) - 1](x)


def reply(status: int = 200, body: bytes = BODY, length: int | None = None, **headers: str) -> Behave:
    """Always this answer."""
    return lambda x: x.reply(status, body, length, **headers)


def redirect(target: str, status: int = 302) -> Behave:
    """To there, ``{origin}`` being this server."""
    return lambda x: x.reply(status, Location=target.format(origin=x.origin, path=x.path))


GOOD = reply(ETag='"1"')
CUT = reply(body=BODY[:HALF], length=len(BODY), ETag='"1"')

"""A loopback HTTP server within a node's network, with a log and faults that can be switched at any time."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import http.server
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Fault(enum.Enum):
    """What goes wrong with every answer while it is set."""

    NONE = "none"
    NOT_FOUND = "404"
    SERVER_ERROR = "500"
    HANG = "takes the request, never answers"
    TRUNCATE = "closes the connection half-way through the body"
    SLOW = "100 kB/s"
    BUSY = "503 with Retry-After: 0, twice, then as usual"
    RESET = "closes the connection without an answer"


@dataclasses.dataclass(frozen=True)
class Request:
    """One entry of the log."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Response:
    """What a handler answers; Range requests are cut out of it by the server."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Server:
    """Serves until closed. ``log`` holds every request.

    Args:
        listener: a listening socket, see ``NetNamespace.listen``.
        answer: makes the response of a request without faults.
        tls: for https.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[Request], Response],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.log: list[Request] = []
        self.fault = Fault.NONE
        self.ranges = True
        """Whether Range requests are understood."""
        self.port: int = listener.getsockname()[1]
        self.answer = answer
        self._busy = 2
        self._ended = threading.Event()
        self._listener = listener
        self._tls = tls
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, hanging requests too."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # So that a TLS handshake gets a status line, by which Go clients know to fall back to http.
            default_request_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._respond(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        # Clients that leave early, and TLS ones that don't trust us, are no concern of the server's.
        with contextlib.suppress(OSError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with stream:
                Handler(stream, ("", 0), None)  # type: ignore[arg-type]

    def _respond(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        request = Request(handler.command, handler.path, dict(handler.headers))
        self.log.append(request)
        fault = self.fault
        if fault is Fault.HANG:
            self._ended.wait()
        if fault in (Fault.HANG, Fault.RESET):
            handler.close_connection = True
            return
        response = self._cut(request, self._faulty(fault) or self.answer(request))
        handler.send_response(response.status)
        if self.ranges:
            handler.send_header("Accept-Ranges", "bytes")
        for name, value in response.headers.items():
            handler.send_header(name, value)
        if "Content-Length" not in response.headers:
            handler.send_header("Content-Length", str(len(response.body)))
        handler.end_headers()
        if request.method == "HEAD":
            return
        if fault is Fault.TRUNCATE:
            handler.wfile.write(response.body[: len(response.body) // 2])
            handler.close_connection = True
        elif fault is Fault.SLOW:
            for start in range(0, len(response.body), 10_000):
                handler.wfile.write(response.body[start : start + 10_000])
                time.sleep(0.1)
        else:
            handler.wfile.write(response.body)

    def _faulty(self, fault: Fault) -> Response | None:
        if fault is Fault.NOT_FOUND:
            return Response(b"no such thing\n", 404)
        if fault is Fault.SERVER_ERROR:
            return Response(b"out of order\n", 500)
        if fault is Fault.BUSY and self._busy:
            self._busy -= 1
            return Response(b"busy\n", 503, {"Retry-After": "0"})
        return None

    def _cut(self, request: Request, whole: Response) -> Response:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if not asked or not self.ranges or whole.status != 200:
            return whole
        size = len(whole.body)
        first = int(asked[1])
        last = min(int(asked[2] or size - 1), size - 1)
        if first > last:
            return Response(b"", 416, {"Content-Range": f"bytes */{size}"})
        place = {"Content-Range": f"bytes {first}-{last}/{size}"}
        return Response(whole.body[first : last + 1], 206, {**whole.headers, **place})

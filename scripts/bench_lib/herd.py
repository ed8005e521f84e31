"""A herd: many nodes booting in the same instant, one mirror that is overloaded.

Each node runs the product's own ``fetch_binary`` with the product's own retry policy, in real time,
against one mirror on the loopback interface that answers a share of requests with 503 (half of these
with Retry-After) and cuts a share of the bodies. The archive is small: back-off is what is measured,
not bandwidth.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import socket
import statistics
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from typing import final

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.fetch.binary import fetch_binary
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import DEFAULT
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

NODES = 1000
AT_ONCE = 250
"""Nodes that boot together; the next follow when these are done. A node is five threads."""

UNAVAILABLE = 0.20
CUT = 0.02
REQUESTS_PER_NODE = 1.4
"""The most that is allowed. A fifth refused and a fiftieth cut cost 1 / 0.8 / 0.98 = 1.28 by themselves."""


@dataclass(frozen=True)
class Node:
    """One node's fetch; ``waited`` is the seconds that back-off added to its boot."""

    error: str | None
    requests: int
    waited: float


@dataclass(frozen=True)
class Herd:
    """What became of all of them."""

    nodes: int
    succeeded: int
    requests_per_node: float
    extra_delay_p50: float
    extra_delay_p99: float
    extra_delay_max: float
    answers: int
    unavailable: int
    cut: int
    errors: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Every node has its binary, and the mirror was not asked too often."""
        return self.succeeded == self.nodes and self.requests_per_node <= REQUESTS_PER_NODE

    def table(self) -> str:
        """For people."""
        share = f"{100 * self.succeeded / self.nodes:g} %"
        return "\n".join(
            (
                f"herd: {self.nodes} nodes, {AT_ONCE} at once, one mirror",
                f"  answers                {self.answers}: {self.unavailable} were 503, {self.cut} were cut",
                f"  nodes that succeeded   {self.succeeded} of {self.nodes} ({share}; wanted: all)",
                f"  requests per node      {self.requests_per_node:.3f} (wanted: <= {REQUESTS_PER_NODE})",
                f"  extra delay p50        {self.extra_delay_p50:.2f} s",
                f"  extra delay p99        {self.extra_delay_p99:.2f} s",
                f"  extra delay max        {self.extra_delay_max:.2f} s",
                *(f"  failed: {error}" for error in self.errors),
            )
        )


@final
class Mirror:
    """The overloaded mirror."""

    def __init__(self, body: bytes, seed: int) -> None:
        self.body = body
        self.answers = self.unavailable = self.cut = 0
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._connections: SimpleQueue[socket.socket | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads += [threading.Thread(target=self._serve, daemon=True) for _ in range(16)]

    def __enter__(self) -> Mirror:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    @property
    def url(self) -> str:
        """What ``--mirror`` takes."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                self._connections.put(self._listener.accept()[0])
            except OSError:
                break
        for _ in self._threads:
            self._connections.put(None)

    def _serve(self) -> None:
        while (connection := self._connections.get()) is not None:
            try:
                with connection:
                    connection.settimeout(30)
                    connection.recv(65536)
                    connection.sendall(self._answer())
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)  # until the client has read it all: a close now could reset it
            except OSError:
                continue

    def _answer(self) -> bytes:
        with self._lock:
            fate, where, hinted = self._dice.random(), self._dice.random(), self._dice.random() < 0.5
            self.answers += 1
            self.unavailable += fate < UNAVAILABLE
            self.cut += UNAVAILABLE <= fate < UNAVAILABLE + CUT
        if fate < UNAVAILABLE:
            hint = b"Retry-After: 1\r\n" if hinted else b""
            return b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n" + hint + b"\r\n"
        total = len(self.body)
        end = total if fate >= UNAVAILABLE + CUT else int(total * where)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % total
        return head + self.body[:end]


def archive(size: int) -> bytes:
    """A release archive around ``size`` bytes that don't compress."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("soci-snapshotter-grpc")
        member.size = size
        tar.addfile(member, io.BytesIO(random.Random(0).randbytes(size)))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


def run(nodes: int = NODES, at_once: int = AT_ONCE, seed: int = 1) -> Herd:
    """Boot them all; ends by itself, at the latest when every node's deadline has passed."""
    body = archive(100_000)
    digest = hashlib.sha256(body).hexdigest()
    done: list[Node] = []
    with Mirror(body, seed) as mirror, tempfile.TemporaryDirectory() as directory:

        def boot(number: int, start: threading.Barrier) -> None:
            request = Request("0.15.0", "amd64", sha256=digest, mirror=mirror.url)
            console = Console(-1, io.StringIO())
            start.wait(60)
            try:
                fetched = fetch_binary(
                    request, f"{directory}/{number}.tmp", Deadline(120), console, {}, policy=DEFAULT
                )
                done.append(Node(None, fetched.requests, fetched.seconds_waited))
            except BootstrapError as error:
                done.append(Node(str(error), DEFAULT.attempts, 0.0))

        for first in range(0, nodes, at_once):
            batch = range(first, min(first + at_once, nodes))
            start = threading.Barrier(len(batch))
            threads = [threading.Thread(target=boot, args=(number, start), daemon=True) for number in batch]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(180)
        return _judged(nodes, done, mirror)


def _judged(nodes: int, done: Sequence[Node], mirror: Mirror) -> Herd:
    good = [node for node in done if node.error is None]
    waits = sorted(node.waited for node in good) or [0.0]
    return Herd(
        nodes=nodes,
        succeeded=len(good),
        requests_per_node=mirror.answers / nodes,
        extra_delay_p50=statistics.median(waits),
        extra_delay_p99=waits[int(len(waits) * 0.99)],
        extra_delay_max=waits[-1],
        answers=mirror.answers,
        unavailable=mirror.unavailable,
        cut=mirror.cut,
        errors=tuple(sorted({node.error for node in done if node.error})),
    )


def main(arguments: Sequence[str]) -> int:
    """``scripts/bench herd [--json]``."""
    started = time.monotonic()
    herd = run()
    if "--json" in arguments:
        print(json.dumps({**asdict(herd), "passed": herd.passed}))
    else:
        print(herd.table())
        verdict = "passed" if herd.passed else "FAILED"
        print(f"  took                   {time.monotonic() - started:.1f} s: {verdict}")
    return 0 if herd.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

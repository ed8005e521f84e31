"""Fetch one body in order, through failures, within the deadline."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, Union

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.fetch.source import BLOCK, Opened, Source, TransientError
from soci_bootstrap.system import signals
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

STALL = 20.0
"""Seconds without a byte after which a request counts as failed."""

_REMEDY = "check the network and the mirror, or bring the release nearer with --mirror"
_DEPTH = 16
"""Blocks read ahead of whoever takes them: 4 MiB at most."""


@dataclass(frozen=True)
class Block:
    """Some bytes of the body. ``offset`` is 0 again where the body begins anew: forget the rest."""

    offset: int
    data: bytes
    total: int | None


_Item = Union[Block, BaseException, None]
"""An item from the reader: a block, the error that ended it, or None at the end."""


class Sink(Protocol):
    """Takes one body from its first byte on."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""


_Sink = TypeVar("_Sink", bound=Sink)


class Download:
    """Fetches one body with as many requests as it takes, each from the first byte on.

    Args:
        source: what to fetch.
        deadline: bounds all of it, name resolution and trickling servers included.
        console: told about each retry.
        policy: when to try again.
        limit: bytes above which a body is refused.
    """

    def __init__(
        self,
        source: Source,
        deadline: Deadline,
        console: Console,
        *,
        policy: RetryPolicy,
        limit: int,
    ) -> None:
        self.source = source
        self.requests = 0
        self.waited = 0.0
        """Seconds spent backing off."""
        self._deadline = deadline
        self._console = console
        self._policy = policy
        self._limit = limit
        self._stop = threading.Event()
        self._failure = ""

    @contextmanager
    def into(
        self, begin: Callable[[], AbstractContextManager[_Sink]], progress: Callable[[int, int | None], None]
    ) -> Iterator[_Sink]:
        """Feed the body to a sink, to a fresh one where it begins anew; yield the one that has all of it.

        Args:
            begin: makes a sink, which takes back what it did where it is left on an error.
            progress: told the bytes so far, and those of the whole where the source says it.

        Raises:
            FetchError, DeadlineError: as ``blocks``.
        """
        sink: _Sink | None = None
        with closing(self.blocks()) as blocks, ExitStack() as stack:
            for block in blocks:
                if sink is None or (block.offset == 0 and not block.data):
                    stack.close()
                    with (
                        signals.deferred()
                    ):  # from here on it is there and is going to be taken away, or neither
                        sink = stack.enter_context(begin())
                sink.feed(block.data)
                progress(block.offset + len(block.data), block.total)
            assert sink is not None, "a download has at least one block"  # noqa: S101
            yield sink

    def blocks(self) -> Generator[Block, None, None]:
        """Yield the body's blocks, read ahead by a thread; close the generator when done early.

        The thread is what makes the deadline hold: a resolver or a server that sends one byte now
        and then can keep a blocking call busy for ever; we just stop waiting for it.

        Raises:
            FetchError: the source has nothing for us, or all attempts failed.
            DeadlineError: the time is up.
        """
        ready: queue.Queue[_Item] = queue.Queue(_DEPTH)
        reader = threading.Thread(target=self._run, args=(ready,), name="download", daemon=True)
        signals.start(reader)
        pending: list[_Item] = []
        try:
            while True:
                item = pending.pop() if pending else self._wait_for(ready)
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield _merged(item, ready, pending)
                self._check()
        finally:
            self._stop.set()
            self.source.cancel()
            while not ready.empty():  # a reader that waits for room sees the stop only after this
                ready.get_nowait()

    def _wait_for(self, ready: queue.Queue[_Item]) -> _Item:
        while True:
            try:
                return ready.get(timeout=self._deadline.remaining())
            except queue.Empty:
                self._check()

    def _check(self) -> None:
        """End it once the time is up, with the reason of the last request that failed.

        Raises:
            FetchError: requests failed before.
            DeadlineError: none did.
        """
        if self._failure and self._deadline.remaining() <= 0:
            raise FetchError(
                f"could not fetch {self.source.name} in time",
                found=f"{self._failure}; the deadline passed during another request",
                expected=f"an answer within {self._deadline.seconds:g} s in all",
                remedy=f"raise --deadline; {_REMEDY}",
            )
        self._deadline.check(self.source.name)

    def _run(self, ready: queue.Queue[_Item]) -> None:
        def emit(block: Block) -> None:
            if self._stop.is_set():
                raise _StoppedError
            ready.put(block)

        try:
            self._attempts(emit)
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            ready.put(error)
        else:
            ready.put(None)

    def _attempts(self, emit: Callable[[Block], None]) -> None:
        for failures in itertools.count(1):
            self.requests += 1
            try:
                for block in self._body(self.source.open(self._deadline.limit(STALL))):
                    emit(block)
            except TransientError as error:
                self._wait(failures, error)
            else:
                return

    def _body(self, opened: Opened) -> Iterator[Block]:
        position, total = 0, opened.total
        try:
            self._bound(total or 0)
            yield Block(0, b"", total)
            while total is None or position < total:
                data = opened.read(BLOCK if total is None else min(BLOCK, total - position))
                if not data:
                    break
                self._bound(position + len(data))
                yield Block(position, data, total)
                position += len(data)
        finally:
            opened.close()
        if total is not None and position < total:
            raise TransientError(f"the body ended after {position} of {total} bytes")

    def _bound(self, size: int) -> None:
        if size > self._limit:
            raise FetchError(
                f"{self.source.name} is too large",
                found=f"{size} bytes or more",
                expected=f"at most {self._limit}",
                remedy="check the address: this is not a SOCI release",
            )

    def _wait(self, failures: int, error: TransientError) -> None:
        """Back off, or give up.

        Raises:
            FetchError: no attempts are left, or the server wants us gone for longer than we have.
        """
        import random

        delay = self._policy.delay(failures, error.retry_after, random.random)
        self._failure = error.reason
        if failures >= self._policy.attempts:
            raise FetchError(
                f"could not fetch {self.source.name}",
                found=f"{failures} requests failed, the last: {error.reason}",
                remedy=_REMEDY,
            )
        if delay >= self._deadline.remaining():
            raise FetchError(
                f"could not fetch {self.source.name}",
                found=f"{error.reason}; another request in {delay:.0f} s",
                expected=f"an answer within the {self._deadline.remaining():.0f} s that are left",
                remedy=f"raise --deadline; {_REMEDY}",
            )
        self._console.info(f"{self.source.name}: {error.reason}; another request in {delay:.1f} s")
        self.waited += delay
        if self._stop.wait(delay):
            raise _StoppedError


def _merged(first: Block, ready: queue.Queue[_Item], pending: list[_Item]) -> Block:
    """Join a block with those that wait behind it; one that does not continue it goes to ``pending``.

    A TLS record has 16 KiB, and each block costs its takers a dozen locks.
    """
    pieces, end = [first.data], first.offset + len(first.data)
    while first.data and end - first.offset < BLOCK and not ready.empty():
        item = ready.get_nowait()
        if not isinstance(item, Block) or not item.data or item.offset != end:
            pending.append(item)
            break
        pieces.append(item.data)
        end += len(item.data)
    return Block(first.offset, b"".join(pieces), first.total) if len(pieces) > 1 else first


class _StoppedError(Exception):
    """Nobody wants the rest."""

"""Threads side by side on one stream: hashing, inflating, writing let go of the interpreter's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Union, final

from soci_bootstrap.system import signals

Data = Union[bytes, memoryview]

_DEPTH = 6
"""Blocks that may wait for one worker: this times the block size is all that a slow one costs in memory."""


@final
class Worker:
    """Calls ``work`` with each block in turn, in a thread of its own.

    As a context manager it is always joined; leaving on an exception drops what is waiting.
    """

    def __init__(self, name: str, work: Callable[[Data], object]) -> None:
        self._work = work
        self._queue: queue.Queue[Data | None] = queue.Queue(_DEPTH)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Worker:
        signals.start(self._thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals.deferred():  # or it would go on writing to a file that is closed
            self._dropping = self._dropping or kind is not None
            self.drain()

    def put(self, data: Data) -> None:
        """Hand on a block; waits for room. Raises what ``work`` raised before."""
        if self._error is not None:
            raise self._error
        self._queue.put(data)

    def finish(self) -> None:
        """Wait until everything is done. Raises what ``work`` raised."""
        self.drain()
        if self._error is not None:
            raise self._error

    def drain(self) -> None:
        """Wait for the thread to end, without raising."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            data = self._queue.get()
            if data is None:
                return
            if self._dropping or self._error is not None:
                continue
            try:
                self._work(data)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that feeds
                self._error = error

"""Work beside other work: a thread that does not answer has failed, whatever kept it.

Import everything that the work needs before it starts: on Python 3.9 a thread can see a module of the
zipapp half-loaded, while another thread is the first to import it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar, final

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.system import signals

T = TypeVar("T")


@final
class Task(Generic[T]):
    """A call in a thread of its own, begun at once.

    Args:
        work: the call.
        seconds: how long ``result`` waits for it from now on, None for as long as it takes. A call that
            takes longer is left to itself, and keeps no process from ending.
    """

    def __init__(self, work: Callable[[], T], seconds: float | None = None) -> None:
        self._work = work
        self._seconds = seconds
        self._begun = time.monotonic()
        self._returned: list[T] = []
        self._raised: list[BaseException] = []
        self._thread = Thread(target=self._run, daemon=True)
        signals.start(self._thread)

    def _run(self) -> None:
        try:
            self._returned.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks
            self._raised.append(error)

    def result(self) -> T:
        """Wait for what the call returns.

        Raises:
            BootstrapError: it did not end in time.
            BaseException: what the call raised.
        """
        left = None if self._seconds is None else max(0.0, self._begun + self._seconds - time.monotonic())
        self._thread.join(left)
        if self._returned:
            return self._returned[0]
        if self._raised:
            raise self._raised[0]
        raise BootstrapError(
            f"no answer in {self._seconds:g} s", remedy="find out what hangs: a disk, a mount, a program"
        )

from __future__ import annotations

import signal
import threading

import pytest

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.system.threads import Task


def test_what_the_call_returns() -> None:
    assert Task(lambda: 3, 10.0).result() == 3
    assert Task(lambda: None).result() is None


@pytest.mark.parametrize("error", [ValueError("odd"), KeyboardInterrupt(), SystemExit(0)])
def test_what_the_call_raises(error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Task(fails).result()
    assert caught.value is error


def test_what_hangs_is_given_up() -> None:
    never = threading.Event()
    task = Task(never.wait, 0.05)
    with pytest.raises(BootstrapError, match=r"no answer in 0.05 s"):
        task.result()
    never.set()


def test_it_takes_no_signal_that_stops_a_run() -> None:
    mask = Task(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ())).result()
    assert mask >= {signal.SIGTERM, signal.SIGINT}

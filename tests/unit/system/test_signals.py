from __future__ import annotations

import os
import signal

import pytest

from soci_bootstrap.system import signals

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _as_before():
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        # The tests may run where one is ignored.
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_each_stops_a_run(number) -> None:
    signals.handle()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_a_lost_session_stops_no_run_below_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.handle()
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("number", STOPPING)
def test_none_interrupts_the_undoing(number) -> None:
    signals.handle()
    signals.ignore_more()
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOPPING)
def test_each_is_held_back_or_passed_over(number) -> None:
    signals.handle()
    with signals.discarded():
        os.kill(os.getpid(), number)
    done = []

    def step() -> None:
        with signals.deferred():
            os.kill(os.getpid(), number)
            done.append(number)

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == [number]

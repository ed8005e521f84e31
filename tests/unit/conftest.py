"""What holds for every unit test."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from hypothesis import HealthCheck, settings


@pytest.fixture(autouse=True)
def _no_processes(request, monkeypatch):
    """Processes only where the test says so: all else is decided by data."""
    if request.node.get_closest_marker("subprocess") is None:

        def refuse(self, args, *_, **__):
            raise AssertionError(f"{args} was to be started; mark the test with pytest.mark.subprocess")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(subprocess.Popen, "__del__", lambda self: None)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """What is written is there for all that a test looks at; a power cut is not among that."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(autouse=True)
def _signals():
    """As they were, whatever a run that failed or was stopped made of them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# A loaded machine is slow, which says nothing about the code.
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")

"""A case of the self-test that did not answer has failed."""

from __future__ import annotations

import threading

import pytest

from soci_bootstrap.errors import DecompressorError
from soci_bootstrap.runtime import self_test as module
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import try_out
from soci_bootstrap.runtime.self_test import cases, self_test
from soci_bootstrap.system import System
from soci_bootstrap.system.programs import Completed


class Right(System):
    """Runs a decompressor that does all as it should, but for one case."""

    def __init__(self, wrong: str, failure: BaseException | None) -> None:
        super().__init__()
        self.never = threading.Event()
        self._wrong, self._failure = wrong, failure

    def run(self, argv, *, timeout, input=b"", env=None):  # noqa: A002
        case = next(case for case in cases() if case.stream == input)
        if case.name == self._wrong:
            if self._failure is None:
                self.never.wait(10)
            else:
                raise self._failure
        return Completed(1, b"", b"") if case.output is None else Completed(0, case.output, b"")


def test_all_answer() -> None:
    self_test("/x", [], Right("", None))


@pytest.mark.parametrize("case", [case.name for case in cases()])
def test_a_case_that_crashes_has_failed(case: str) -> None:
    """As a module that a thread sees half-loaded made it."""
    crash = AttributeError("partially initialized module has no attribute 'run'")
    with pytest.raises(DecompressorError, match=f"not tried on {case}.*AttributeError") as caught:
        self_test("/x", [], Right(case, crash))
    assert caught.value.__cause__ is crash


@pytest.mark.parametrize("case", [case.name for case in cases()])
def test_a_case_that_hangs_has_failed(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CASE_SECONDS", -0.9)
    system = Right(case, None)
    with pytest.raises(DecompressorError, match=f"not tried on {case}.*no answer"):
        self_test("/x", [], system)
    system.never.set()


def test_a_probe_that_crashes_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = []
    monkeypatch.setattr(Ctr, "import_pause", lambda self, into: imported.append(into))

    def crash(self: Ctr, into: str) -> None:
        raise AttributeError("half-loaded")

    monkeypatch.setattr(Ctr, "probe_snapshot", crash)
    with pytest.raises(AttributeError, match="half-loaded"):
        try_out(Ctr(System(), 1.0))
    assert imported == ["soci"]

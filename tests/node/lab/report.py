"""How `scripts/try` prints: sections, steps with their seconds, and checks that add up to an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

_NAME, _FOUND = 17, 78
_BOLD, _DIM, _RED, _GREEN = "1", "2", "31", "32"


class Step:
    """One step while it runs: what there is to say of it in the end, and below it in small print."""

    def __init__(self) -> None:
        self.found = ""
        self.notes: Sequence[str] = ()


class Report:
    """Prints to stdout. ``failures`` counts the checks that failed."""

    def __init__(self) -> None:
        self.failures = 0
        self._checks = 0
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def section(self, title: str) -> None:
        """A heading."""
        self._print(f"\n{self._in(_BOLD, title)}\n")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Name what begins, and, when it is over, say what it found and how long it took."""
        self._print(f"      {name:<{_NAME}}")
        step, started = Step(), time.monotonic()
        try:
            yield step
        except BaseException:
            self._print(self._in(_RED, "failed") + "\n")
            raise
        self._rest(step.found, time.monotonic() - started)
        self._small_print(step.notes)

    def took(self, name: str, found: str, seconds: float, notes: Sequence[str] = ()) -> None:
        """A step that is over already."""
        self._print(f"      {name:<{_NAME}}")
        self._rest(found, seconds)
        self._small_print(notes)

    def line(self, name: str, text: str) -> None:
        """Something to know that is neither step nor check."""
        self._print(f"      {name:<{_NAME}}{text}\n")

    def note(self, text: str) -> None:
        """A line in small print, under what it belongs to."""
        self._small_print([text])

    def check(self, name: str, found: str, *, ok: bool, seconds: float | None = None) -> None:
        """What was found, and whether it is as it should be."""
        self._checks += 1
        self.failures += not ok
        mark = self._in(_GREEN, "ok  ") if ok else self._in(_RED, "FAIL")
        self._print(f"{mark}  {name:<{_NAME}}")
        self._rest(found, seconds)

    def conclude(self) -> None:
        """The last line."""
        if self.failures:
            text = self._in(_RED, f"{self.failures} of {self._checks} are not as they should be.")
        else:
            text = self._in(_GREEN, f"All {self._checks} as they should be.")
        self._print(f"\n{text} Nothing was left behind but dist/ and the cache.\n")

    def _rest(self, found: str, seconds: float | None) -> None:
        self._print(f"{found}\n" if seconds is None else f"{found:<{_FOUND}} {seconds:5.1f} s\n")

    def _small_print(self, notes: Sequence[str]) -> None:
        for note in notes:
            self._print(self._in(_DIM, f"{'':<{6 + _NAME}}{note}") + "\n")

    def _in(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text

    def _print(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "KiB"):
        if count < 1024:
            return f"{count:.{0 if unit == 'bytes' else 1}f} {unit}"
        count /= 1024
    return f"{count:.1f} MiB"

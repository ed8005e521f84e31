"""Write messages and progress to stderr; results go to stdout, which ``cli`` alone writes.

A stderr that is closed, full or no longer read must not fail an install.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO


class Console:
    """Progress and messages for people.

    Args:
        verbosity: -1 errors and warnings only, 0 normal, 1 every detail.
        stream: where it goes; a terminal gets a progress bar, anything else plain lines.
    """

    def __init__(self, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self.verbosity = verbosity
        # None where it was closed before we were started.
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._bar = False

    def error(self, text: str) -> None:
        """One line, always shown."""
        self._line(f"ERROR {text}")

    def warn(self, text: str) -> None:
        """One line, always shown."""
        self._line(f"WARNING {text}")

    def info(self, text: str) -> None:
        """One line, unless quiet."""
        if self.verbosity >= 0:
            self._line(text)

    def debug(self, text: str) -> None:
        """One line, only when verbose."""
        if self.verbosity >= 1:
            self._line(text)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Redraw a bar on a terminal; elsewhere nothing (callers ``info`` start and end).

        Args:
            label: what is in progress.
            done: bytes so far.
            total: bytes in all, None where the server did not say.
        """
        if self.verbosity < 0 or self._stream is None or not self._stream.isatty():
            return
        text = f"{label} {done / 1e6:.1f} MB"
        if total:
            filled = min(30, done * 30 // total)
            text = f"{label} [{'#' * filled}{'.' * (30 - filled)}] {done / 1e6:.1f}/{total / 1e6:.1f} MB"
        self._write(f"\r\x1b[2K{text}")
        self._bar = True

    def _line(self, text: str) -> None:
        erased = "\r\x1b[2K" if self._bar else ""
        self._bar = False
        self._write(f"{erased}soci-bootstrap: {text}\n")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.write(text)
                self._stream.flush()

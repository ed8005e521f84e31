"""Prints the fault matrix as a table at the end of a test run; conftest.py takes the hook from here."""

from __future__ import annotations

import pytest

PROPERTY = "matrix"
"""A test's user property of this name holds its row's cells: fault, node, snapshotter, record, seconds."""

HEADER = ("fault", "node", "pulls through", "recorded", "", "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line a row: the fault, what the node came to, how long it took."""
    lines = []
    for status in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(status, []):
            cells = dict(getattr(report, "user_properties", ())).get(PROPERTY)
            if cells and report.when == "call":
                padded = (*cells, *[""] * (len(HEADER) - 1 - len(cells)))
                lines.append((*padded, "ok" if status == "passed" else "FAILED"))
    if not lines:
        return
    terminalreporter.section("fault matrix")
    widths = [max(len(line[column]) for line in [HEADER, *lines]) for column in range(len(HEADER))]
    for line in [HEADER, *sorted(lines, key=lambda cells: cells[0])]:
        terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())

"""Prints the fault matrix as a table at the end of a test run; conftest.py takes the hook from here."""

from __future__ import annotations

import pytest

PROPERTY = "matrix"
"""A test's user property of this name holds its row's cells: fault, node, snapshotter, record, seconds."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line a row: the fault, what the node came to, how long it took."""
    lines = []
    for status in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(status, []):
            cells = dict(getattr(report, "user_properties", ())).get(PROPERTY)
            if cells and report.when == "call":
                lines.append((*cells, "ok" if status == "passed" else "FAILED"))
    if not lines:
        return
    terminalreporter.section("fault matrix")
    header = ("fault", "node", "pulls through", "recorded", "", "")
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    for line in [header, *sorted(lines, key=lambda cells: cells[0])]:
        terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())

"""The fault matrix: whatever fails, the node joins, pulls, runs what it pulled, and says the truth."""

from __future__ import annotations

import pytest

from tests.node import matrix, matrix_rows, matrix_running
from tests.node.matrix import Row
from tests.node.matrix_report import PROPERTY

ROWS = [*matrix_rows.ROWS, *matrix_running.ROWS]


def _cells(row: Row, recorded: str = "") -> tuple[str, ...]:
    node = f"{row.ami.root} {row.ami.generation}"
    return row.name, node, row.via, recorded or row.outcome.degraded or row.outcome.record


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_node_joins(row: Row, record_property: pytest.FixtureRequest) -> None:
    record_property(PROPERTY, _cells(row))  # type: ignore[operator]
    matrix.run(row)


@pytest.mark.parametrize("row", [row for row in ROWS if row.saved_by], ids=lambda row: row.name)
def test_without_what_saves_it_the_node_fails(row: Row, record_property: pytest.FixtureRequest) -> None:
    why = matrix.run_unsaved(row)
    record_property(PROPERTY, (row.name, "  without " + ", ".join(row.saved_by), "nothing", why[:70]))  # type: ignore[operator]

"""The fault matrix: whatever fails, the node joins, pulls, runs what it pulled, and says the truth.

Rows run beside each other, since most of a row's time is waiting; each test waits for its own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import pytest

from tests.node import matrix_images, matrix_rows, matrix_running, matrix_wiring
from tests.node.lab import images
from tests.node.lab.eks import Ami, eks_node
from tests.node.lab.soci import build
from tests.node.matrix import Bench, Row, assert_joined, brief
from tests.node.matrix_report import PROPERTY
from tests.node.zipapp import without

AT_ONCE = 3
ROWS = [*matrix_rows.ROWS, *matrix_running.ROWS, *matrix_wiring.ROWS, *matrix_images.ROWS]
SAVED = [row for row in ROWS if row.saved_by]
Result = tuple[str, float]
Record = Callable[[str, object], None]
_DOWN_SECONDS = 6.0
"""How long a node that is expected not to join may try."""
_REPORTED = 2000
"""Characters; an error that is longer has brought its report along."""


def joins(row: Row) -> str:
    """The row, as the product is; what is then on record."""
    with Bench(row, row.patches) as bench:
        try:
            row.first(bench)
            row.act(bench)
            assert_joined(bench, row.via, row.outcome)
        except (grpc.RpcError, AssertionError) as error:
            if len(str(error)) > _REPORTED:
                raise
            raise AssertionError(f"{error}\n{bench.report()}") from error
    return row.outcome.degraded or row.outcome.record


def joins_unsaved(row: Row) -> str:
    """The row without what saves it: what then keeps the node from joining.

    Raises:
        AssertionError: nothing does: the row proves nothing.
    """
    patches = tuple(without(what) for what in row.saved_by)
    with Bench(row, (*row.patches, *patches)) as bench:
        bench.seconds = _DOWN_SECONDS
        try:
            row.first(bench)
            row.act(bench)
        except (grpc.RpcError, AssertionError, subprocess.TimeoutExpired) as error:
            return brief(error)
        wrong = bench.problems(row.via)
        if not wrong:
            raise AssertionError(f"it joins without {', '.join(row.saved_by)}\n{bench.report()}")
        return wrong[0]


def _timed(work: Callable[[Row], str], row: Row) -> Result:
    started = time.monotonic()
    return work(row), time.monotonic() - started


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Result]]]:
    """The selected rows' runs, begun in order, by their tests' ids."""
    selected = [
        (item.nodeid, joins if "joins" in item.name else joins_unsaved, item.callspec.params["row"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module.__name__ == __name__
    ]
    # What is made once and cached is not made by two at a time.
    build.release()
    build.daemon(Ami().soci)
    images.app()
    for root in {row.ami.root for _, _, row in selected}:
        eks_node(Ami(root)).close()
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {name: pool.submit(_timed, work, row) for name, work, row in selected}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_node_joins(
    row: Row, runs: dict[str, Future[Result]], request: pytest.FixtureRequest, record_property: Record
) -> None:
    cells = (row.name, f"{row.ami.root} {row.ami.generation}", row.via)
    record_property(PROPERTY, (*cells, "", ""))
    recorded, seconds = runs[request.node.nodeid].result()
    record_property(PROPERTY, (*cells, recorded, f"{seconds:.1f} s"))


@pytest.mark.parametrize("row", SAVED, ids=lambda row: row.name)
def test_without_what_saves_it_the_node_fails(
    row: Row, runs: dict[str, Future[Result]], request: pytest.FixtureRequest, record_property: Record
) -> None:
    cells = (row.name, "  without " + ", ".join(row.saved_by), "nothing")
    record_property(PROPERTY, (*cells, "", ""))
    why, seconds = runs[request.node.nodeid].result()
    record_property(PROPERTY, (*cells, why[:70], f"{seconds:.1f} s"))

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from bench_lib import herd


def test_a_small_herd_all_gets_through() -> None:
    outcome = herd.run(nodes=16, at_once=16, seed=3)
    assert outcome.errors == ()
    assert outcome.succeeded == 16
    assert outcome.unavailable > 0
    assert outcome.answers == 16 + outcome.unavailable + outcome.cut
    assert "16 of 16 (100 %" in outcome.table()


def test_a_herd_that_starves_does_not_pass() -> None:
    with herd.Mirror(b"", 1) as mirror:
        starved = herd._judged(2, [herd.Node(None, 1, 0.5), herd.Node("no", 10, 0.0)], mirror)
    assert not starved.passed
    assert starved.succeeded == 1
    assert "failed: no" in starved.table()

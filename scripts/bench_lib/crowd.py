"""A herd of nodes against an overloaded mirror, as figures; see ``herd``."""

from __future__ import annotations

from scripts.bench_lib import herd
from scripts.bench_lib.figures import Figure, figure


def run() -> list[Figure]:
    """All must get their binary, without asking for it too often."""
    outcome = herd.run()
    failed = outcome.nodes - outcome.succeeded
    return [
        figure(
            "herd", f"{outcome.nodes} nodes, a fifth of answers 503: nodes that failed", "", [failed], 0.0
        ),
        figure("herd", "requests a node", "", [outcome.requests_per_node], herd.REQUESTS_PER_NODE),
        figure("herd", "back-off's delay, 99th percentile", "ms", [1000 * outcome.extra_delay_p99]),
    ]

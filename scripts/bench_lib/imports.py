"""What importing costs: each module in a process of its own, from the zipapp, on Python 3.9."""

from __future__ import annotations

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, ratio
from scripts.bench_lib.nodes import BARE, ON_NODE, Case

_MODULES = {
    "cli": "every command",
    "memo": "a converged install",
    "hooks": "guard and verify",
    "boot": "the boot-time unit",
    "settings": "every other command",
    "install": "install with something to do",
    "fetch": "the same with something to fetch",
    "transport_http": "the same from a URL",
    "doctor.rules": "doctor",
    "rollback": "rollback",
}
_ROUNDS = 11


def run() -> list[Figure]:
    """Each as a multiple of ``python3 -I -c pass``, which is in it: 1.0 would be free."""
    with nodes.held() as node:
        line = "import sys; sys.path.insert(0, sys.argv[1]); import soci_bootstrap.{}"
        cases = [Case(name, ("python3", "-I", "-c", line.format(name), ON_NODE)) for name in _MODULES]
        rounds = nodes.run(node, _ROUNDS, Case("bare", BARE), *cases)
    return [
        ratio("imports", f"{name} ({use}), CPU time / python3 -I -c pass", rounds, name, "bare", cpu=True)
        for name, use in _MODULES.items()
    ]

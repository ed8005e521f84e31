"""Importing: CPU time of modules by themselves, and how many of ours each way through the program imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, figure, ratio
from scripts.bench_lib.nodes import AGENT, BARE, ON_NODE, Case
from tests.node.lab.mirror import Mirror
from tests.node.lab.node import Node

_PACKAGE = Path(__file__).parents[2] / "soci_bootstrap"
_MODULES = {
    "cli": "every command",
    "hooks.guard": "guard",
    "hooks.verify": "verify",
    "hooks.boot": "the boot-time unit",
    "settings": "every other command",
    "cli.commands.install": "install with something to do",
    "fetch.binary": "the same with something to fetch",
    "fetch.http": "the same from a URL",
    "doctor.rules": "doctor",
    "cli.commands.rollback": "rollback",
}
_ROUNDS = 11
_MOST = {"guard": 13.0, "verify": 16.0, "boot": 73.0, "install": 75.0}
"""Modules allowed: as many as before there were folders, whose faces count only where they hold code."""


def run() -> list[Figure]:
    """CPU time as a multiple of ``python3 -I -c pass``, which is in it: 1.0 would be free; and counts."""
    data = nodes.release()
    with nodes.held() as node, Mirror(node) as mirror:
        mirror.release(data)
        line = "import sys; sys.path.insert(0, sys.argv[1]); import soci_bootstrap.{}"
        cases = [Case(name, ("python3", "-I", "-c", line.format(name), ON_NODE)) for name in _MODULES]
        rounds = nodes.run(node, _ROUNDS, Case("bare", BARE), *cases)
        counts = {"install": _count(node, ON_NODE, "install", *nodes.source(mirror, data).split())}
        nodes.let_go(node)
        counts |= {hook: _count(node, AGENT, "hook", hook) for hook in ("guard", "verify", "boot")}
    return [
        *(
            ratio("imports", f"{name} ({use}), CPU time / python3 -I -c pass", rounds, name, "bare", cpu=True)
            for name, use in _MODULES.items()
        ),
        *(
            figure("imports", f"{name}: modules of ours that it imports", "", [counts[name]], most)
            for name, most in _MOST.items()
        ),
    ]


def _count(node: Node, *words: str) -> int:
    """The modules of ours that one command imports on a node, without empty package faces."""
    told = node.run(["python3", "-I", "-X", "importtime", *words]).stderr
    return len(imported(told) - {f"soci_bootstrap.{name}" for name in faces()})


def imported(told: str) -> set[str]:
    """Our modules in what ``-X importtime`` says."""
    return set(re.findall(r"^import time: .*\| +(soci_bootstrap\S*)$", told, re.MULTILINE))


def faces(package: Path = _PACKAGE) -> Iterable[str]:
    """Packages whose ``__init__.py`` holds a docstring alone."""
    for path in package.rglob("__init__.py"):
        if len(ast.parse(path.read_text()).body) == 1:
            yield ".".join(path.parent.relative_to(package).parts)

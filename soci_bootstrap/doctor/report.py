"""One look at a node with its verdict, or looks until the node is healthy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from soci_bootstrap.doctor.finding import Check, verdict
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.doctor.observe.observe import observe
from soci_bootstrap.doctor.rules import judge
from soci_bootstrap.system import System

INTERVAL = 2.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Report:
    """The report of one look at a node.

    Attributes:
        node: the observation.
        checks: all of them, in the order of causes.
    """

    node: Node
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """The node in one word."""
        return verdict(self.checks)

    @property
    def document(self) -> Mapping[str, object]:
        """The contract's object."""
        return {"verdict": self.verdict, "checks": [check.to_json() for check in self.checks]}


def examine(system: System, patience: float = 0.0) -> Report:
    """Look at the node, and again until it is healthy or ``patience`` seconds have passed."""
    end = time.monotonic() + patience
    while True:
        node = observe(system)
        report = Report(node, judge(node))
        left = end - time.monotonic()
        if report.verdict == "healthy" or left <= 0:
            return report
        time.sleep(min(INTERVAL, left))

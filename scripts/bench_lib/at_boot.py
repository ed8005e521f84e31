"""What a first boot takes longer with SOCI than without, and which hook takes how much of it."""

from __future__ import annotations

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, figure, milliseconds
from scripts.bench_lib.nodes import AGENT, ON_NODE, Case
from tests.node.lab.eks import eks_node
from tests.node.lab.mirror import Mirror
from tests.node.lab.node import Node

ALLOWED = 500.0
"""Milliseconds: guard, preflight and pause import together."""

_BOOTS, _ROUNDS = 5, 11
_BEGUN, _ENDED = "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"
_DAEMON, _CONFIG = "/usr/local/bin/soci-snapshotter-grpc", "/etc/soci-snapshotter-grpc/config.toml"
_PREFLIGHT = f"""
import sys, time
sys.path.insert(0, sys.argv[1])
started = time.perf_counter()
from soci_bootstrap.apply import preflight
from soci_bootstrap.system.deadline import Deadline
preflight.run("{_DAEMON}", "{_CONFIG}", Deadline(9), {{}})
print(time.perf_counter() - started)
"""


def run() -> list[Figure]:
    """First boots without install in their userData and with it, in turns; then the hooks by themselves."""
    data = nodes.release()
    added, preflights = [], []
    for number in range(_BOOTS):
        with eks_node(nodes.AMI) as node:
            node.boot()
            without = _containerd_start(node, "containerd.service")
        install = f"#!/bin/sh\nexec {ON_NODE} install --strict "
        with eks_node(
            nodes.AMI, scripts=[f"{install} $(cat /opt/bench/options) 2>/run/bench-install\n"]
        ) as node:
            with Mirror(node) as mirror:
                mirror.release(data)
                nodes.place(node)
                node.write("/opt/bench/options", nodes.source(mirror, data))
                node.boot()
            preflights.append(float(node.run(["python3", "-I", "-c", _PREFLIGHT, ON_NODE]).stdout))
            added.append(_containerd_start(node, "soci-snapshotter.service") - without)
            if number == _BOOTS - 1:
                hooks = nodes.run(
                    node,
                    _ROUNDS,
                    Case("guard", (AGENT, "hook", "guard")),
                    Case("verify", (AGENT, "hook", "verify")),
                )
    total = [1000 * (start + preflight) for start, preflight in zip(added, preflights)]
    return [
        figure(
            "boot",
            "added to a first boot: preflight, SOCI's start, guard, pause import, probe",
            "ms",
            total,
            ALLOWED,
        ),
        figure("boot", "of these: preflight", "ms", [1000 * seconds for seconds in preflights]),
        figure(
            "boot",
            "of these: containerd's start, with SOCI's and hooks, less one without",
            "ms",
            [1000 * seconds for seconds in added],
        ),
        milliseconds("boot", "guard, by itself", hooks, "guard"),
        milliseconds("boot", "pause import and probe, by themselves, again", hooks, "verify"),
    ]


def _containerd_start(node: Node, first: str) -> float:
    """Seconds from the start of the first unit until containerd is active, hooks and all."""
    begun, ended = node.show(first, _BEGUN)[_BEGUN], node.show("containerd", _ENDED)[_ENDED]
    return (int(ended) - int(begun)) / 1e6

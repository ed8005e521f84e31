"""The rows of the fault matrix."""

from __future__ import annotations

from tests.node.lab.server import Fault
from tests.node.lab.soci import build
from tests.node.matrix import FAULT, GUARD, OVERLAYFS, PREFLIGHT, SOCI, VERIFY, Bench, Row, guarded, refused

MIRROR = "--mirror {mirror} --sha256 {sha256}"


def _serving(fault: Fault):
    def prepare(bench: Bench) -> None:
        bench.mirror.release(bench.release)
        bench.mirror.fault = fault

    return prepare


def _daemon_fault(fault: str) -> str:
    return f"echo '{fault}' > {FAULT}"


FETCHING = [
    Row("healthy, from a mirror", options=MIRROR, prepare=_serving(Fault.NONE)),
    Row(
        "DNS failure",
        OVERLAYFS,
        refused("resolve|resolution|name"),
        options="--mirror https://nowhere.test --sha256 {sha256} --deadline 4",
    ),
    Row(
        "connection refused",
        OVERLAYFS,
        refused("refused"),
        options="--mirror https://mirror.test:9 --sha256 {sha256} --deadline 3",
    ),
    Row(
        "server hangs",
        OVERLAYFS,
        refused("answer|deadline|timed out"),
        options=MIRROR + " --deadline 2",
        prepare=_serving(Fault.HANG),
    ),
    Row("500s", OVERLAYFS, refused("500"), options=MIRROR + " --deadline 3", prepare=_serving(Fault.SERVER_ERROR)),
    Row(
        "truncated body",
        OVERLAYFS,
        refused("cut short"),
        options=MIRROR + " --deadline 3",
        prepare=_serving(Fault.TRUNCATE),
    ),
    Row(
        "wrong digest",
        OVERLAYFS,
        refused("sha256|digest"),
        options="--mirror {mirror} --sha256 " + "0" * 64,
        prepare=_serving(Fault.NONE),
    ),
]
DAEMON = [
    Row(
        "SOCI exits at once",
        OVERLAYFS,
        refused("SOCI snapshotter does not run"),
        before=_daemon_fault("exit"),
        saved_by=(PREFLIGHT, GUARD),
    ),
    Row(
        "SOCI exits at once as a service",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        before=_daemon_fault("exit unit"),
        saved_by=(GUARD,),
    ),
]
ROWS = [*FETCHING, *DAEMON]

"""The worst rows of the fault matrix on the real programs: an API server says that the node joins.

Each row runs as in ``test_faults``, on Amazon Linux 2023's Python, with the newest containerd and kubelet and
the real SOCI, before which ``soci/front.c`` stands to fail on demand. ``SOCI_LAB_ROWS=all`` runs every row
that a node with containerd 2 can.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable

import grpc
import pytest

from tests.node import matrix_images, matrix_rows, matrix_running, matrix_wiring
from tests.node.lab import real
from tests.node.lab.eks import Ami
from tests.node.matrix import Row, assert_joined
from tests.node.matrix_report import PROPERTY
from tests.node.real_bench import NEEDS_CLUSTER, NEEDS_PROGRAMS, JoinedBench
from tests.node.zipapp import without

pytestmark = [NEEDS_PROGRAMS, NEEDS_CLUSTER]
WORST = frozenset(
    {
        "server hangs",
        "wrong digest",
        "no space left",
        "read-only /etc",
        "SOCI: exit",
        "SOCI: exit when containerd starts",
        "SOCI: never-ready when containerd starts",
        "SOCI: mute when containerd starts",
        "SOCI: exit when containerd starts, guard cut off",
        "config.toml is nonsense",
        "pause import fails",
        "our decompressor removed, reboot",
        "hooks hang",
        "the agent is gone",
        "SOCI dead after a reboot, images on it",
        "containerd restarted while SOCI is down",
        "killed before 50-soci-bootstrap.json (1)",
        "a later drop-in names overlayfs",
        "user's v2 keys in userData",
        "RAID0, SOCI dead",
    }
)
_OWN_RELEASES = frozenset({"wrong-architecture binary"})
"""Rows that are about the release that they bring."""
_OTHER_DECOMPRESSOR = frozenset({"unpigz uninstalled", "unpigz uninstalled, reboot"})
"""Rows for nodes whose Python ours is not made for."""
_DOWN_SECONDS = 15.0


def _real(row: Row) -> Row:
    """The row on a node of the real programs."""
    named = {field.name: getattr(row.ami, field.name) for field in dataclasses.fields(Ami)}
    kept = {name: named[name] for name in ("generation", "vcpus", "memory_gib")}
    options = row.options
    if "--sha256" in options:
        options += f" --soci-version {real.SOCI}"
    return dataclasses.replace(
        row,
        ami=real.RealAmi(**kept),
        options=options,
        release=row.release if row.name in _OWN_RELEASES else real.faulty_release,
    )


def _rows() -> list[Row]:
    """Those to run: of the rows for containerd 2, and of bullseye's for its Python."""
    every = [*matrix_rows.ROWS, *matrix_running.ROWS, *matrix_wiring.ROWS, *matrix_images.ROWS]
    fitting = [
        row
        for row in every
        if (row.ami.root == Ami().root and row.name not in _OTHER_DECOMPRESSOR)
        or (row.ami.root == "bullseye" and row.name in WORST)
    ]
    chosen = fitting if os.environ.get("SOCI_LAB_ROWS") == "all" else [r for r in fitting if r.name in WORST]
    return [_real(row) for row in chosen]


ROWS = _rows()
SAVED = [row for row in ROWS if row.saved_by]
Record = Callable[[str, object], None]


def test_no_row_is_missed() -> None:
    assert {row.name for row in ROWS} >= WORST


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_api_server_says_that_the_node_joins(row: Row, record_property: Record) -> None:
    programs = f"containerd {row.ami.containerd}, SOCI {real.SOCI}, kubelet {real.KUBERNETES}"  # type: ignore[attr-defined]
    record_property(PROPERTY, (row.name, programs, row.via, "", ""))
    with JoinedBench(row, row.patches) as bench:
        try:
            row.first(bench)
            row.act(bench)
            assert_joined(bench, row.via, row.outcome)
        except (grpc.RpcError, AssertionError) as error:
            raise AssertionError(f"{error}\n{bench.report()}") from error
    record_property(PROPERTY, (row.name, programs, row.via, row.outcome.degraded or row.outcome.record, ""))


@pytest.mark.parametrize("row", SAVED, ids=lambda row: row.name)
def test_without_what_saves_it_it_does_not(row: Row) -> None:
    patches = tuple(without(what) for what in row.saved_by)
    with JoinedBench(row, (*row.patches, *patches)) as bench:
        bench.seconds = bench.pod_seconds = _DOWN_SECONDS
        try:
            row.first(bench)
            row.act(bench)
        except (grpc.RpcError, AssertionError, subprocess.TimeoutExpired):
            return
        assert bench.problems(row.via), bench.report()

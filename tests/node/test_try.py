"""`scripts/try`, as a newcomer runs it, and what it says where something is wrong."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.node.lab import cgroup, rootfs, trial_node, trial_tree
from tests.node.lab.report import Report
from tests.node.zipapp import ZIPAPP, zipapp

DOES_NOT_RUN = """\
def run(*_):
    raise PreflightError("by the test")
"""
REPOSITORY = Path(__file__).parents[2]


def left_behind() -> set[str]:
    """Nodes, their control groups and mounts on this machine, whose maker has ended."""
    nodes = {str(path) for path in (rootfs.cache_dir() / "nodes").glob("*")}
    groups = {str(path) for path in Path(cgroup.path("")).parent.rglob("soci-lab-*")}
    mounts = {line for line in Path("/proc/mounts").read_text().splitlines() if "/nodes/" in line}
    found = {each: re.search(r"(?:/nodes/|/soci-lab-)(\d+)-", each) for each in nodes | groups | mounts}
    return {each for each, maker in found.items() if not maker or not Path("/proc", maker[1]).exists()}


def test_one_command_shows_a_node_on_soci() -> None:
    before = left_behind()
    done = subprocess.run([REPOSITORY / "scripts/try"], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        r"ok    outcome +installed: SOCI [\d.]+ \(\w+\), wiring nodeadm",
        r"ok    SOCI +active",
        r"ok    snapshotter +soci",
        r"ok    pull +registry\S+, .* \d+\.\d s",
        r"ok    run +container \w+",
        r"ok    its snapshot +/var/lib/containerd/io.containerd.snapshotter.v1.soci/\S+",
        r"ok    doctor +healthy",
        r"ok    install again +unchanged, 0 requests",
        r"All \d+ as they should be",
    ):
        assert re.search(line, done.stdout), f"{line} in\n{done.stdout}"
    assert left_behind() <= before


def test_what_is_wrong_is_said_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A preflight that finds that the daemon does not run here.
    broken = tmp_path / ZIPAPP.name
    broken.write_bytes(zipapp((("apply.preflight", DOES_NOT_RUN),)))
    report = Report()
    trial_node.boot(report, broken, "trixie-containerd2")
    out = capsys.readouterr().out
    assert report.failures >= 4
    for line in (
        "FAIL  outcome +degraded",
        "FAIL  snapshotter +overlayfs",
        "FAIL  install again +degraded",
        "by the test",
    ):
        assert re.search(line, out), f"{line} in\n{out}"
    assert "ok    kubelet " in out, "the node joins all the same"


def test_without_root_a_tree_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    trial_tree.install(report, ZIPAPP)
    out = capsys.readouterr().out
    assert report.failures == 0, out
    assert re.search("ok    install +installed", out)
    assert re.search("ok    install again +unchanged", out)
    assert "/usr/local/bin/soci-snapshotter-grpc, " in out
    assert "Left out, since this is not root" in out


def test_an_unknown_root_is_refused() -> None:
    done = subprocess.run([REPOSITORY / "scripts/try", "sid"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bullseye" in done.stderr

"""Nodes that run already: staged beside workloads, switched where there are none, and rolled back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.node.lab import tree
from tests.node.lab.cri import Container, Cri
from tests.node.lab.eks import Ami
from tests.node.matrix import AGENT, OVERLAYFS, RECORD, SOCI, Bench, Row

ROOTS = ("bullseye", "bookworm", "trixie-containerd2")
NOT_OURS = (
    # containerd's, kubelet's and systemd's own state, journals, and what the tests put there.
    "/var/lib/containerd",
    "/var/lib/containerd/*",
    "/var/lib/systemd/*",
    "/var/lib/private*",
    "/var/log*",
    "/var/cache/*",
    "/opt*",
    "/etc/machine-id",
    "/etc/resolv.conf",
    "/root*",
    "/var/lib/cni*",
)


BROKEN_DROPIN = "/etc/systemd/system/soci-snapshotter.service.d/90-broken.conf"
BROKEN = "[Service]\nExecStart=\nExecStart=/bin/false\n"
FETCHED = "/usr/bin/python3 /opt/soci-bootstrap.pyz"


@dataclass(frozen=True)
class Ran:
    """A command's end."""

    status: int
    document: dict[str, object]
    stderr: str


def agent(bench: Bench, command: str, *words: str, program: str = FETCHED) -> Ran:
    line = f"{program} {command} --json {' '.join(words)}"
    done = bench.node.run(line, check=False, timeout=120)
    assert done.stdout.startswith("{"), done.stderr
    return Ran(done.returncode, json.loads(done.stdout), done.stderr)


def install(bench: Bench, *words: str) -> Ran:
    return agent(bench, "install", f"--tarball /opt/soci.tgz --sha256 {bench.release.sha256}", *words)


def main_pids(bench: Bench) -> dict[str, str]:
    return {unit: bench.node.show(unit, "MainPID")["MainPID"] for unit in ("containerd", "kubelet")}


def leftovers(before: tree.Tree, bench: Bench) -> list[str]:
    return tree.differences(before, bench.node.snapshot_tree(), ignore=NOT_OURS)


def remove(bench: Bench, container: Container) -> None:
    with Cri(bench.node) as cri:
        cri.stop(container)


@pytest.fixture(params=[*ROOTS, "trixie-containerd2, no nodeadm.d"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    root, _, old = request.param.partition(", ")
    # The older AMI brings no SOCI, and its nodeadm-run reads no drop-ins: direct wiring.
    ami = Ami(root, generation=20250812) if old else Ami(root)
    with Bench(Row("live", options="", ami=ami), ()) as bench:
        bench.boot()
        yield bench


def test_install_beside_a_workload_waits_for_the_next_boot_and_rolls_back(bench: Bench) -> None:
    container, snapshotter = bench.start()
    assert snapshotter == OVERLAYFS
    before = bench.node.snapshot_tree()
    pids = main_pids(bench)

    # Containerd drops layers that it has unpacked when it pleases; what is decided by them would differ.
    settled = "--set discard_unpacked_layers=false"
    staged = install(bench, settled)
    assert (staged.status, staged.document["outcome"]) == (0, "staged"), staged
    assert "next boot" in str(staged.document["reason"])
    assert bench.runs(container)
    assert main_pids(bench) == pids
    assert bench.start()[1] == OVERLAYFS
    again = install(bench, settled)
    assert (again.document["outcome"], [s for s in again.document["steps"] if s["changed"]]) == ("staged", [])  # type: ignore[attr-defined]
    assert main_pids(bench) == pids

    # Twice: the second boot finds what nodeadm wrote for us at the first.
    bench.reboot()
    bench.reboot()
    assert bench.problems(SOCI) == [], bench.report()
    assert bench.json(RECORD)["outcome"] == "installed"

    container, snapshotter = bench.start()
    assert snapshotter == SOCI
    refused = agent(bench, "rollback", program=AGENT)
    assert refused.status == 1
    assert "drain" in str(refused.document["reason"])
    assert "default/" in str(refused.document["reason"])
    assert bench.runs(container)
    remove(bench, container)

    rolled = agent(bench, "rollback", program=AGENT)
    assert (rolled.status, rolled.document["outcome"]) == (0, "rolled-back"), (
        f"{rolled.document}\n{rolled.stderr}\n{bench.report()}"
    )
    left = leftovers(before, bench)
    assert not left, "\n".join(left)
    assert bench.problems(OVERLAYFS) == [], bench.report()
    own = "/run/soci-snapshotter-grpc\n" if bench.row.ami.generation > 20250812 else ""
    assert bench.sh("ls -d /run/soci* /run/lock/soci* 2>/dev/null") == own
    bench.reboot()
    assert bench.problems(OVERLAYFS) == [], bench.report()


def test_install_on_a_drained_node_switches_now(bench: Bench) -> None:
    before = bench.node.snapshot_tree()
    stranded = bench.start()[0]
    remove(bench, stranded)
    switched = install(bench)
    assert (switched.status, switched.document["outcome"]) == (0, "installed"), (switched, bench.report())
    assert bench.problems(SOCI) == [], bench.report()
    assert not re.search('degraded": "[^"]', bench.sh("cat /var/lib/soci-bootstrap/state.json"))

    pids = main_pids(bench)
    container, _ = bench.start()
    tuned = install(bench, "--set max_concurrent_downloads=7")
    assert (tuned.status, tuned.document["outcome"]) == (0, "changed"), tuned
    assert main_pids(bench) == pids
    assert bench.runs(container)
    assert bench.config()["max_concurrent_downloads"] == 7

    rolled = agent(bench, "rollback", "--force", program=AGENT)
    assert (rolled.status, rolled.document["outcome"]) == (0, "rolled-back"), (
        f"{rolled.document}\n{rolled.stderr}\n{bench.report()}"
    )
    assert not bench.runs(container)
    left = leftovers(before, bench)
    assert not left, "\n".join(left)
    assert bench.problems(OVERLAYFS) == [], bench.report()


def test_force_switches_beside_a_workload_and_goes_back_where_that_fails(bench: Bench) -> None:
    container, _ = bench.start()
    # The daemon answers the preflight, and dies once it is to serve containerd.
    bench.node.write(
        BROKEN_DROPIN,
        "[Service]\nExecStart=\nExecStart=/bin/false\n",
    )
    failed = install(bench, "--force")
    assert (failed.status, failed.document["outcome"]) == (2, "degraded"), failed
    assert bench.problems(OVERLAYFS) == [], bench.report()

    bench.node.run(f"rm {BROKEN_DROPIN} && systemctl daemon-reload")
    container, _ = bench.start()
    switched = install(bench, "--force")
    assert (switched.status, switched.document["outcome"]) == (0, "installed"), (switched, bench.report())
    assert not bench.runs(container)
    assert bench.problems(SOCI) == [], bench.report()

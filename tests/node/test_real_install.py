"""The real containerd, SOCI and kubelet: installed, booted, pulled with, failed open, rolled back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.node.lab import real
from tests.node.matrix import AGENT, HEALTHY, OVERLAYFS, RECORD, SOCI, guarded
from tests.node.real_bench import NEEDS_PROGRAMS, RealBench, layered, row

pytestmark = NEEDS_PROGRAMS

BINARY = "/usr/local/bin/soci-snapshotter-grpc"
BROKEN = "/etc/systemd/system/soci-snapshotter.service.d/90-broken.conf"
ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
LAYERS = 3


@pytest.fixture(scope="module", params=real.CONTAINERDS)
def bench(request: pytest.FixtureRequest) -> Iterator[RealBench]:
    """A node that its userData installed on at its first boot, in the order of the tests below."""
    with RealBench(row("install", request.param)) as bench:
        bench.boot()
        yield bench


def test_userdata_installs_and_the_first_boot_ends_on_soci(bench: RealBench) -> None:
    assert bench.lies(HEALTHY) == [], bench.report()
    done = bench.json("/opt/install.json")
    assert (done["outcome"], done["soci_version"], done["wiring"]) == ("installed", real.SOCI, "nodeadm")
    assert done["sha256"] == bench.release.sha256
    assert f"v{real.SOCI}" in bench.sh(f"{BINARY} --version")
    assert bench.snapshotter() == SOCI
    assert f"v{bench.row.ami.containerd}" in bench.sh("containerd --version")  # type: ignore[attr-defined]
    assert bench.node.run(["systemctl", "--failed", "--no-legend"]).stdout == ""


def test_kubelet_pulls_in_pieces_and_runs_on_socis_snapshots(bench: RealBench) -> None:
    reference = bench.registry.push(layered(b"pulled", LAYERS, size=40_000_000), "pulled")
    bench.registry.log.clear()
    pod = bench.run_pod(reference, name="pulled")
    assert pod.snapshotter == SOCI
    assert len(bench.pieces()) == 2 * LAYERS, bench.pieces()
    mounts = bench.sh(f"grep io.containerd.runtime.v2.task/k8s.io/{pod.container.id}/rootfs /proc/mounts")
    assert f"{ROOT}/snapshotter/snapshots/" in mounts
    bench.remove_pod("pulled")


def test_doctor_is_content(bench: RealBench) -> None:
    found = bench.doctor()
    assert (found["verdict"], bench.unwell()) == ("healthy", []), found


def test_install_again_changes_nothing(bench: RealBench) -> None:
    done = bench.node.run(f"{AGENT} install --json {bench.options()}")
    assert json.loads(done.stdout)["outcome"] == "unchanged", done.stdout


def test_a_pod_and_its_image_outlive_a_reboot(bench: RealBench) -> None:
    reference = bench.registry.push(layered(b"stays"), "stays")
    bench.run_pod(reference, name="stays", policy="IfNotPresent")
    bench.registry.log.clear()
    bench.reboot()
    assert bench.wait_pod("stays").snapshotter == SOCI
    assert not [request for request in bench.registry.log if "/blobs/" in request.path]


def test_a_boot_with_a_dead_soci_ends_on_overlayfs_and_says_so(bench: RealBench) -> None:
    bench.node.write(BROKEN, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    bench.reboot()
    assert bench.snapshotter() == OVERLAYFS
    # Its image lies in SOCI alone, and is pulled again.
    assert bench.wait_pod("stays").snapshotter == OVERLAYFS
    assert bench.problems(OVERLAYFS) == [], bench.report()
    assert bench.lies(guarded("SOCI did not answer")) == [], bench.report()
    assert bench.doctor()["verdict"] == "degraded"


def test_the_next_boot_with_a_sound_soci_is_on_soci_again(bench: RealBench) -> None:
    bench.sh(f"rm {BROKEN}")
    bench.reboot()
    assert bench.wait_pod("stays").snapshotter == SOCI
    assert bench.problems(SOCI) == [], bench.report()
    assert bench.lies(HEALTHY) == [], bench.report()


def test_rollback_gives_the_node_back_to_overlayfs(bench: RealBench) -> None:
    bench.remove_pod("stays")
    done = bench.node.run([AGENT, "rollback", "--json"], check=False, timeout=120)
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "rolled-back"), done.stderr
    assert bench.problems(OVERLAYFS) == [], bench.report()
    for path in (AGENT, BINARY, RECORD, ROOT):
        assert not bench.node.exists(path), path
    bench.reboot()
    assert bench.problems(OVERLAYFS) == [], bench.report()

"""The newest containerd's and kubelet's dealings with images through SOCI's socket, beyond one pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.node.lab import images, real
from tests.node.lab.cri import CONTAINERD, SOCI, Cri
from tests.node.lab.eks import with_containerd
from tests.node.matrix import SOCI as SNAPSHOTTER
from tests.node.real_bench import NEEDS_PROGRAMS, RealBench, layered, row

pytestmark = NEEDS_PROGRAMS

ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
MANY = 40
# Off unless asked for in this kubelet; SOCI's socket does not know its calls.
_KUBELET = json.dumps({"featureGates": {"CRIListStreaming": True}})
_COLLECT = {
    "kind": "KubeletConfiguration",
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "evictionHard": {"imagefs.available": "99%"},
    "evictionPressureTransitionPeriod": "1s",
    "imageMinimumGCAge": "1s",
}
"""Of kubelet: the disk is too full for whatever image no container uses. Static pods it leaves alone."""


@pytest.fixture(scope="module")
def bench() -> Iterator[RealBench]:
    node = row("cri", real.CONTAINERDS[-1], nodeconfig=with_containerd("", _KUBELET))
    with RealBench(node) as bench:
        bench.boot()
        assert bench.problems(SNAPSHOTTER) == [], bench.report()
        yield bench


def snapshots(bench: RealBench) -> int:
    """Directories of snapshots below SOCI's root."""
    return int(bench.sh(f"ls {ROOT}/snapshotter/snapshots | wc -l"))


def listed(bench: RealBench, socket: str) -> set[str]:
    with Cri(bench.node, socket) as cri:
        return {tag for tag in cri.images() if "registry.test" in tag}


def image_disk(bench: RealBench) -> dict[str, Any]:
    """What kubelet says of the disk that images lie on."""
    summary = json.loads(bench.sh("curl -fsS --max-time 10 http://127.0.0.1:10255/stats/summary"))
    found: dict[str, Any] = summary["node"]["runtime"]["imageFs"]
    return found


def test_kubelet_goes_back_to_the_calls_that_soci_knows(bench: RealBench) -> None:
    assert "StreamImages not implemented, falling back" in bench.sh("journalctl -b -u kubelet -o cat")


def test_kubelet_sees_what_images_take_and_where(bench: RealBench) -> None:
    with Cri(bench.node, SOCI) as cri:
        assert cri.image_filesystem() == ROOT
        before = image_disk(bench)["usedBytes"]
        reference = bench.registry.push(layered(b"measured", 8, 10_000_000), "measured")
        cri.pull(reference)
        bench.wait(lambda: image_disk(bench)["usedBytes"] > before + 60_000_000)
        cri.remove(reference)
        # The fixture's own image may not have been counted yet.
        bench.wait(lambda: image_disk(bench)["usedBytes"] < before + 30_000_000)


def test_many_images_are_pulled_at_once_listed_and_removed(bench: RealBench) -> None:
    kept = snapshots(bench)
    references = [bench.registry.push(images.app(seed=b"many%d" % n), f"many{n}") for n in range(MANY)]

    def pull(reference: str) -> None:
        with Cri(bench.node, SOCI) as cri:
            cri.pull(reference)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(pull, references))
    assert set(references) <= listed(bench, SOCI)
    assert listed(bench, SOCI) == listed(bench, CONTAINERD)
    assert snapshots(bench) > kept + MANY
    with Cri(bench.node, SOCI) as cri:
        for reference in references:
            cri.remove(reference)
    assert not set(references) & listed(bench, CONTAINERD)
    bench.wait(lambda: snapshots(bench) <= kept)


def test_two_pods_of_one_image_pull_it_at_once(bench: RealBench) -> None:
    for number in range(3):
        reference = bench.registry.push(layered(b"twice%d" % number), f"twice{number}")
        with ThreadPoolExecutor(2) as pool:
            names = [f"twice{number}{letter}" for letter in "ab"]
            pods = list(pool.map(lambda name: bench.run_pod(reference, name=name), names))  # noqa: B023
        assert [pod.snapshotter for pod in pods] == [SNAPSHOTTER] * 2
        for name in names:
            bench.remove_pod(name)


def test_kubelets_garbage_collection_frees_socis_disk(bench: RealBench) -> None:
    kept = bench.registry.push(layered(b"kept"), "kept")
    unused = bench.registry.push(layered(b"unused"), "unused")
    bench.run_pod(kept, name="kept")
    with Cri(bench.node, SOCI) as cri:
        cri.pull(unused)
    before = snapshots(bench)
    bench.node.write("/etc/kubernetes/kubelet/config.json.d/99-collect.conf", json.dumps(_COLLECT))
    bench.node.run("systemctl restart kubelet")
    bench.wait(lambda: unused not in listed(bench, CONTAINERD))
    bench.wait(lambda: snapshots(bench) < before)
    assert kept in listed(bench, CONTAINERD)
    assert bench.wait_pod("kept").snapshotter == SNAPSHOTTER
    bench.node.run("rm /etc/kubernetes/kubelet/config.json.d/99-collect.conf; systemctl restart kubelet")
    # The pause image is pinned, and new sandboxes need it.
    assert bench.problems(SNAPSHOTTER) == [], bench.report()

"""A node of the real programs with its mirror and registry, whose pods are kubelet's own static ones."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.node.lab import cluster, images, real
from tests.node.lab.cri import Container
from tests.node.lab.images import File, Image
from tests.node.matrix import AGENT, Bench, Row

MANIFESTS = "/etc/kubernetes/manifests"
FROM_MIRROR = f"--mirror {{mirror}} --soci-version {real.SOCI} --sha256 {{sha256}}"
"""Options of ``install``: the release archive of the real SOCI, from the lab's mirror."""


def _needs(lacking: str) -> pytest.MarkDecorator:
    """Leave tests out where programs are not built; with ``SOCI_LAB_REAL=required`` they run, and fail."""
    return pytest.mark.skipif(bool(lacking) and os.environ.get("SOCI_LAB_REAL") != "required", reason=lacking)


NEEDS_PROGRAMS = _needs(real.missing())
NEEDS_CLUSTER = _needs(cluster.missing())
_UP_SECONDS = 15.0
"""Until a kubelet that was just started is well."""
_POD_SECONDS = 40.0
"""A pod that is going to run does so long before, the pull included."""


def serving(bench: Bench) -> None:
    """Have the mirror serve the release."""
    bench.mirror.release(bench.release)


def row(name: str, containerd: str, **others: Any) -> Row:
    """A row on a node of the real programs, installed from the mirror."""
    given = {"options": FROM_MIRROR, "prepare": serving, **others}
    return Row(name, ami=real.RealAmi(containerd=containerd), release=real.release, **given)


def layered(seed: bytes, layers: int = 4, size: int = 3_000_000) -> Image:
    """An image of several layers.

    Args:
        seed: gives other layers, and so another image.
        layers: how many, the program's own aside.
        size: of each in bytes, unpacked; packed it is half of that.
    """
    fillings = []
    for number in range(layers):
        noise = random.Random(seed + b"%d" % number).randbytes(size // 2)
        fillings.append([File(f"filling{number}", noise + bytes(size // 2), 0o644)])
    return images.build([[File("app", images.sleeper())], *fillings], ["/app"])


@dataclasses.dataclass(frozen=True)
class Rule:
    """What keeps a node out of a trap.

    Attributes:
        module: of the product.
        name: the function in it, or ``Class.method``.
        left_out: what stands for it where it is left out.
    """

    module: str
    name: str
    left_out: str = "lambda *arguments, **named: None"

    @property
    def patch(self) -> tuple[str, str]:
        """The product's source without it.

        Raises:
            AssertionError: there is no such function any more, so leaving it out would prove nothing.
        """
        found: object = importlib.import_module(f"soci_bootstrap.{self.module}")
        for part in self.name.split("."):
            found = getattr(found, part, None)
        assert found is not None, f"the product has no {self.module}.{self.name} any more"
        return self.module, f"{self.name} = {self.left_out}"


STRANDED = Rule("runtime.ctr", "Ctr.unusable_images", "lambda *arguments: []")
"""Removing the records of images that the active snapshotter lacks."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """A static pod as kubelet shows it.

    Attributes:
        container: its one container, and no sandbox: kubelet keeps that to itself.
        snapshotter: that the container's root file system comes from.
    """

    name: str
    container: Container
    snapshotter: str


class RealBench(Bench):
    """A row's node of the real programs. Its images are pulled, and its containers run, by kubelet.

    Args:
        row: as ``row`` makes it.
        patches: source to append to modules of the product.
    """

    def __init__(self, row: Row, patches: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(row, patches)
        self.pod_seconds = _POD_SECONDS

    def run_pod(self, image: str, *, name: str = "", policy: str = "Always") -> Pod:
        """Have kubelet pull an image and run it.

        Raises:
            AssertionError: it does not run in time; holds what kubelet says of it.
        """
        self._pulls += 1
        name = name or f"pod{self._pulls}"
        # kubelet would read a half-written one.
        staged = f"/etc/kubernetes/{name}.json.tmp"
        self.node.write(staged, json.dumps(_manifest(name, image, policy)))
        self.node.run(["mv", staged, f"{MANIFESTS}/{name}.json"])
        return self.wait_pod(name)

    def wait_pod(self, name: str) -> Pod:
        """Wait for a static pod that has a manifest already.

        Raises:
            AssertionError: it does not run in time.
        """
        end = time.monotonic() + self.pod_seconds
        while True:
            status = self._pod_status(name)
            if status.get("state", {}).get("running"):
                break
            if time.monotonic() > end:
                raise AssertionError(f"pod {name}: {self.complaints(name) or status or 'not there'}")
            time.sleep(0.3)
        container = str(status["containerID"]).rpartition("/")[2]
        return Pod(name, Container("", container), self.snapshotter_of(container))

    def snapshotter_of(self, container: str) -> str:
        """Which one a container's root file system comes from."""
        info = self.node.run(["ctr", "-n", "k8s.io", "containers", "info", container]).stdout
        return str(json.loads(info)["Snapshotter"])

    def remove_pod(self, name: str) -> None:
        """Take a pod's manifest away, and wait until nothing of it runs."""
        self.node.run(["rm", "-f", f"{MANIFESTS}/{name}.json"])
        self.wait(lambda: not self._sandboxes_of(name))

    def complaints(self, name: str) -> str:
        """The last error of kubelet's that names a pod; empty where there is none."""
        lines = self.sh(f"journalctl -b -u kubelet -o cat | grep -F {name} | grep '^E'").splitlines()
        return lines[-1] if lines else ""

    def start_reference(self, reference: str, *, pull: bool = True) -> tuple[Container, str]:
        """Run an image as ``Bench.start_reference`` does, by kubelet."""
        pod = self.run_pod(reference, policy="Always" if pull else "Never")
        return pod.container, pod.snapshotter

    def problems(self, via: str) -> list[str]:
        """Say why this node does not run new images through ``via``; empty where it does."""
        state = self.node.state("containerd")
        if state != "active":
            return [f"containerd is {state}"]
        end = time.monotonic() + _UP_SECONDS
        while not (kubelet := self.kubelet())["ready"]:
            if time.monotonic() > end:
                return [f"kubelet: {error}" for error in kubelet["errors"]]
        name = f"probe{self._pulls}"
        reference = self.registry.push(layered(name.encode()), name)
        try:
            pod = self.run_pod(reference, name=name)
            self.remove_pod(name)
        except AssertionError as error:
            return [f"pull and run: {str(error).splitlines()[0]}"]
        return [] if pod.snapshotter == via else [f"the image lies in {pod.snapshotter}, not {via}"]

    def options(self) -> str:
        """Options of ``install`` that fetch the release from the mirror."""
        return FROM_MIRROR.format(mirror=self.mirror.url, sha256=self.release.sha256)

    def doctor(self) -> dict[str, Any]:
        """What the agent's doctor says, as its JSON."""
        done = self.node.run([AGENT, "doctor", "--json"], check=False, timeout=120)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def unwell(self) -> list[str]:
        """Doctor's checks that warn or fail."""
        checks: Sequence[dict[str, str]] = self.doctor()["checks"]
        return [f"{c['id']}: {c['found']}" for c in checks if c["status"] in ("warn", "fail")]

    def pieces(self) -> list[str]:
        """The ranges of layers that the registry was asked for, several for one beyond a chunk's size."""
        asked = [r.headers.get("Range", "") for r in self.registry.log if "/blobs/" in r.path]
        return [each for each in asked if each not in ("", "bytes=0-1")]

    def _pod_status(self, name: str) -> dict[str, Any]:
        shown = self.sh("curl -fsS --max-time 5 http://127.0.0.1:10255/pods")
        for pod in json.loads(shown)["items"] or [] if shown else []:
            if pod["metadata"]["name"].startswith(f"{name}-"):
                found: list[dict[str, Any]] = pod["status"].get("containerStatuses") or [{}]
                return found[0]
        return {}

    def _sandboxes_of(self, name: str) -> str:
        # kubelet keeps those that have ended for a while.
        return self.sh(f"crictl pods -q --state ready --name ^{name}-")


class JoinedBench(RealBench):
    """The same in a cluster of one, whose API server is asked if the node joined and runs pods.

    Args:
        row: as ``row`` makes it.
        patches: source to append to modules of the product.
    """

    def __init__(self, row: Row, patches: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(row, patches)
        try:
            self.cluster: cluster.Cluster = self._stack.enter_context(cluster.Cluster(self.node))
        except BaseException:
            self._stack.close()
            raise

    def problems(self, via: str) -> list[str]:
        """Say why the API server does not call the node ready, or no new image runs through ``via``."""
        self._pulls += 1
        name = f"joined{self._pulls}"
        reference = self.registry.push(layered(name.encode()), name)
        try:
            self.cluster.wait_ready(self.pod_seconds)
            self.cluster.run_pod(name, reference)
            container = self.cluster.wait_running(name, self.pod_seconds)
            snapshotter = self.snapshotter_of(container)
            self.cluster.kubectl("delete", "pod", name, "--wait")
        except AssertionError as error:
            return [str(error).splitlines()[0]]
        return [] if snapshotter == via else [f"the image lies in {snapshotter}, not {via}"]


def _manifest(name: str, image: str, policy: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            # There is no CNI, and nothing to wait for when a test takes it away.
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": image, "imagePullPolicy": policy}],
        },
    }

"""A wired node, with a daemon or without, on which the hooks of containerd's start run."""

from __future__ import annotations

import json
from contextlib import ExitStack

from soci_bootstrap import paths
from soci_bootstrap.hooks import guard, verify
from soci_bootstrap.paths import CONTAINERD_ENDPOINT
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.programs import Completed
from tests.support.daemons import listening
from tests.support.nodes import Node, captured, write

CONFIG = "/etc/containerd/config.toml"
KUBELET = "/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf"
ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
STATIC = captured("containerd-nodeadm-static-soci.toml")
OVERLAYFS = STATIC.replace(b"snapshotter = 'soci'", b"snapshotter = 'overlayfs'")
PAUSE = {"/etc/eks/pause.tar": b"tar"}
TASK = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/rootfs"
IN_USE = {
    "/proc/self/mountinfo": f"500 30 0:60 / {TASK} rw - overlay overlay rw,upperdir={ROOT}/snapshots/9/fs\n"
}
STOPPED = Completed(1, b"", b"ctr: connection error: timeout")
CTR = "ctr -n k8s.io "
IMAGES = {
    f"{CTR}images ls": b"REF LABELS\npause x io.cri-containerd.pinned=pinned\n",
    f"{CTR}images check": b"REF UNPACKED\npause false\na:1 true\nb:1 false\n",
    f"{CTR}images rm": b"",
}
WORKS = {
    f"{CTR}images import": b"",
    f"{CTR}snapshots": b"",
    "systemctl --no-block": b"",
    **IMAGES,
}


class Hook:
    """A wired node, with a daemon or without, on which one hook runs."""

    def __init__(self, tmp_path, monkeypatch) -> None:
        self.root = tmp_path / "node"
        self.address = tmp_path / "soci.sock"
        self.owed = self.root / "run/soci-bootstrap/restart-owed"
        self.stack = ExitStack()
        self.wired = Wired(
            mode=WiringMode.DIRECT,
            dialect="v3",
            address=str(self.address),
            root=ROOT,
            static=False,
            containerd_config=CONFIG,
            kubelet_config="",
            kubelet_dir="/etc/kubernetes/kubelet/config.json.d",
            fallback="",
        )
        for hook in (guard, verify):
            monkeypatch.setattr(hook, "PATIENCE", 0.05)
        monkeypatch.setattr(paths, "JOURNAL", str(tmp_path / "no journal"))

    def node(self, programs=None, outcome="installed", config=STATIC, **files) -> Node:
        endpoint = captured("kubelet-40-nodeadm.conf").replace(
            b"/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock", str(self.address).encode()
        )
        record = {"outcome": outcome, "wiring": self.wired.to_json()}
        config = config.replace(
            b"/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock", str(self.address).encode()
        )
        tree = {CONFIG: config, KUBELET: endpoint, paths.RECORD: json.dumps(record), **PAUSE, **files}
        return Node(write(self.root, tree), programs if programs is not None else WORKS)

    def put_endpoint(self, address: str) -> None:
        """Kubelet's image endpoint and containerd's address at another socket."""
        for path in (CONFIG, KUBELET):
            file = self.root / path.lstrip("/")
            file.write_bytes(file.read_bytes().replace(str(self.address).encode(), address.encode()))

    def daemon(self, *said: bytes) -> None:
        self.stack.enter_context(listening(self.address, *said))

    def owe_a_restart(self) -> None:
        self.owed.parent.mkdir(parents=True)
        self.owed.touch()


def run_guard(node: Node) -> None:
    guard.guard(node, Deadline(guard.RESERVE + 0.2))


def run_verify(node: Node) -> None:
    verify.verify(node, Deadline(10))


def unwired(node: Node) -> bool:
    config = (node.read(CONFIG) or b"").decode()
    return "snapshotter = 'overlayfs'" in config and CONTAINERD_ENDPOINT.encode() in (
        node.read(KUBELET) or b""
    )


def wired(node: Node) -> bool:
    return "snapshotter = 'soci'" in (
        node.read(CONFIG) or b""
    ).decode() and CONTAINERD_ENDPOINT.encode() not in (node.read(KUBELET) or b"")

"""The published static recipe, by hand: what the lab's own tests and baselines compare with."""

from __future__ import annotations

import json

from tests.node.lab import eks
from tests.node.lab.cri import SOCI
from tests.node.lab.node import Node
from tests.node.lab.soci import build

ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
CONTAINERD = f"""\
[proxy_plugins.soci]
type = "snapshot"
address = "{SOCI}"
[proxy_plugins.soci.exports]
root = "{ROOT}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "soci"
disable_snapshot_annotations = false
discard_unpacked_layers = false
"""
KUBELET = {"imageServiceEndpoint": f"unix://{SOCI}"}
CONFIG = """\
[content_store]
type = "containerd"
[cri_keychain]
enable_keychain = true
image_service_path = "/run/containerd/containerd.sock"
[pull_modes.parallel_pull_unpack]
enable = true
concurrent_download_chunk_size = "16mb"
"""
_SERVICE = f"""\
[Unit]
Before=containerd.service
[Service]
Type=notify
ExecStart=/usr/local/bin/soci-snapshotter-grpc --address fd:// \\
    --config /etc/soci-snapshotter-grpc/config.toml --root {ROOT}
[Install]
WantedBy=multi-user.target
"""
_SOCKET = f"""\
[Socket]
ListenStream={SOCI}
SocketMode=0660
[Install]
WantedBy=sockets.target
"""


def nodeconfig() -> str:
    """The recipe's NodeConfig."""
    return eks.with_containerd(CONTAINERD, json.dumps(KUBELET))


def install(node: Node, *, import_pause: bool = True) -> None:
    """Put the daemon, its configuration and units on a node that is off.

    Args:
        node: made with ``nodeconfig()``.
        import_pause: bring the sandbox image into SOCI after containerd's start; the recipe forgets.
    """
    node.write("/usr/local/bin/soci-snapshotter-grpc", build.daemon(), 0o755)
    node.write("/etc/soci-snapshotter-grpc/config.toml", CONFIG)
    node.write("/etc/systemd/system/soci-snapshotter.service", _SERVICE)
    node.write("/etc/systemd/system/soci-snapshotter.socket", _SOCKET)
    eks.enable(node, "soci-snapshotter.socket", "sockets.target")
    if import_pause:
        local = "" if node.root.name == "bullseye" or node.root.name == "bookworm" else "--local "
        script = f"#!/bin/sh\nexec ctr -n k8s.io images import --snapshotter soci {local}/etc/eks/pause.tar\n"
        node.write("/opt/lab/import-pause", script, 0o755)
        dropin = "[Service]\nExecStartPost=-/opt/lab/import-pause\n"
        node.write("/etc/systemd/system/containerd.service.d/90-pause.conf", dropin)

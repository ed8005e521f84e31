"""The part of an EKS AMI that every node shares, as a cached layer over a Debian root.

kubelet's and nodeadm's stand-ins, a runc that works here, containerd in runtime.slice, and the
pause image: in /etc/eks/pause.tar and, as at a real AMI's build, in containerd on overlayfs.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.node.lab import images, rootfs
from tests.node.lab.node import Node

INSIDE = Path(__file__).with_name("inside")
_PROGRAMS = {
    "nodeadm.py": "/opt/lab/python/nodeadm.py",
    "nodeadm_disks.py": "/opt/lab/python/nodeadm_disks.py",
    "nodeadm_templates.py": "/opt/lab/python/nodeadm_templates.py",
    "kubelet.py": "/usr/bin/kubelet",
    "runc": "/usr/sbin/runc",
    "cloud-final": "/opt/lab/cloud-final",
}


def layer(root: str) -> Path:
    """The layer to put upon the named root; built first if it is missing or anything in it has changed."""
    rootfs.get(root)
    return cached(root, stamp(root), lambda target: _build(root, target))


def cached(name: str, stamp: str, build: Callable[[Path], object]) -> Path:
    """The layer of that name, built first unless the cache has one with this stamp."""
    place = rootfs.cache_dir() / "amis" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "stamp").exists() or (place / "stamp").read_text() != stamp:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            build(place / "root")
            (place / "stamp").write_text(stamp)
    return place / "root"


def stamp(root: str) -> str:
    """Digest of all that decides what the layer upon a root holds."""
    digest = hashlib.sha256((rootfs.cache_dir() / "roots" / root / "stamp").read_bytes())
    for path in sorted(INSIDE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode() + path.read_bytes())
    digest.update(images.pause().digest.encode() + Path(__file__).read_bytes())
    return digest.hexdigest()


def _build(root: str, target: Path) -> None:
    with Node(root) as node:
        furnish(node, target)


def furnish(node: Node, target: Path) -> None:
    """Make a node what every AMI is, and keep what that changed on its disk as a layer."""
    for name, path in _PROGRAMS.items():
        node.write(path, (INSIDE / name).read_bytes(), 0o755)
    node.write(
        "/usr/bin/nodeadm", '#!/bin/sh\nexec /usr/bin/python3 -B /opt/lab/python/nodeadm.py "$@"\n', 0o755
    )
    node.write("/etc/systemd/system/kubelet.service", (INSIDE / "units/kubelet.service").read_bytes())
    node.write(
        "/etc/systemd/system/containerd.service.d/00-runtime-slice.conf",
        "[Service]\nSlice=runtime.slice\n",
    )
    node.write("/etc/hostname", "ip-10-0-0-1.us-west-2.compute.internal\n")
    _vendor(node)
    node.write("/etc/eks/pause.tar", images.pause().archive(images.PAUSE))
    node.boot()
    # Debian's own example configuration is not on the AMI.
    node.run("rm -f /etc/containerd/config.toml && systemctl mask --quiet systemd-modules-load.service")
    node.run("mkdir -p /etc/eks && containerd --version > /etc/eks/containerd-version.txt")
    node.run("systemctl start containerd && ctr -n k8s.io images import /etc/eks/pause.tar")
    node.run(["ctr", "-n", "k8s.io", "images", "label", images.PAUSE, "io.cri-containerd.pinned=pinned"])
    # As on the AMI, no other snapshotter can be given its layer from the content store.
    node.run(["ctr", "-n", "k8s.io", "content", "rm", *images.pause().layers])
    node.run("systemctl stop containerd; rm -rf /etc/.updated /var/log/journal; : > /etc/machine-id; sync")
    node.kill()
    rootfs.copy_tree(node.disk.upper, target)
    rootfs.copy_tree(node.disk.var_lib, target / "var/lib")


def _vendor(node: Node) -> None:
    """tomli and tomli_w, pure Python, for the stand-ins: Debian's bullseye has neither."""
    for name, sources in {"tomli": ("tomli", "tomllib"), "tomli_w": ("tomli_w",)}.items():
        spec = next(found for source in sources if (found := importlib.util.find_spec(source)))
        assert spec.submodule_search_locations
        for path in Path(spec.submodule_search_locations[0]).glob("*.py"):
            node.write(f"/opt/lab/python/{name}/{path.name}", path.read_bytes())

"""Pulling one image: containerd's default, the FastImagePull gate's settings, and what ``install`` sets up.

Needs a real release of SOCI, which is not downloaded here: ``--release FILE``.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, Sample, figure, ratio
from scripts.bench_lib.nodes import ON_NODE
from tests.node.lab import images, rootfs
from tests.node.lab.cri import Cri
from tests.node.lab.eks import NODECONFIG, Ami, eks_node
from tests.node.lab.images import File, Image
from tests.node.lab.mirror import Registry
from tests.node.lab.node import Node
from tests.node.lab.soci.build import Release

OF_DEFAULT, OF_GATE = 0.45, 0.70
"""Allowed, as ratios."""
RATE = 50_000_000
"""Bytes a second that the registry gives to each connection."""

_AMI = Ami("trixie-containerd2")
"""containerd 2 as on today's AMIs, since SOCI's parallel mode has not been tried on bullseye's 1.4."""
_ROUNDS = 3
_DAEMON, _CONFIG = "/usr/bin/soci-snapshotter-grpc", "/etc/soci-snapshotter-grpc/config.toml"
_VARIANTS = {"default": NODECONFIG, "gate": NODECONFIG + "    FastImagePull: true\n", "ours": NODECONFIG}
# The targets are of a disk in memory: SOCI waits until each layer is on the disk, overlayfs does not.
_DISKS = """#!/bin/sh
set -e
for place in /var/lib/containerd /var/lib/soci-snapshotter-grpc; do
    mkdir -p $place && cp -a $place /run/bench-was
    mount -t tmpfs -o mode=711 tmpfs $place
    cp -a /run/bench-was/. $place && rm -rf /run/bench-was
done
"""
_KUBELET_READY = """
until grep -qs '"ready": true' /run/lab/kubelet.json; do sleep 0.1; done
cat /run/lab/kubelet.json
"""
_LAYERS = [
    (suite, parts)
    for suite in ("bullseye", "bookworm", "trixie")
    for parts in (("lib", "share"), ("bin", "sbin"))
]


def run(release: Release) -> list[Figure]:
    """Each pull is the first on a node of its own, so that nothing is left of the one before."""
    image = _image()
    size = sum(map(len, image.blobs.values())) / (1 << 20)
    rounds, names = [], list(_VARIANTS)
    for number in range(_ROUNDS + 1):
        turn = number % len(names)  # nobody always comes first
        rounds.append({name: _pull(name, release, image) for name in names[turn:] + names[:turn]})
    seconds = {name: [entry[name][0] for entry in rounds[1:]] for name in names}  # the first warms up
    unpacker = rounds[-1]["ours"][1]
    samples = [{name: Sample(taken, 0, 0) for name, (taken, _) in entry.items()} for entry in rounds[1:]]
    about = f"{size:.0f} MiB in {len(image.layers)} layers, {RATE / 1e6:.0f} MB/s a connection, containerd 2"
    return [
        ratio("pull", f"ours with {unpacker} / containerd's default", samples, "ours", "default", OF_DEFAULT),
        ratio("pull", f"ours with {unpacker} / the FastImagePull gate", samples, "ours", "gate", OF_GATE),
        *(figure("pull", f"{about}: {name}", "s", seconds[name]) for name in names),
    ]


def _pull(name: str, release: Release, image: Image) -> tuple[float, str]:
    """Seconds that one pull took, and the decompressor that SOCI was told to use."""
    tarball = f"/opt/bench/{release.name}"
    install = f"#!/bin/sh\nexec {ON_NODE} install --strict --tarball {tarball} --sha256 {release.sha256}\n"
    scripts = [_DISKS, install] if name == "ours" else [_DISKS]
    with eks_node(_AMI, nodeconfig=_VARIANTS[name], scripts=scripts) as node:
        _give_python39(node)
        nodes.place(node)
        node.write(_DAEMON, release.binary, 0o755)  # the same in all, as the AMI's own
        node.write(tarball, release.data)
        node.boot()
        state = json.loads(node.run(_KUBELET_READY).stdout)
        with Registry(node, rate=RATE) as registry, Cri(node, state["image"][len("unix://") :]) as cri:
            reference = registry.push(image)
            os.sync()
            started = time.perf_counter()
            cri.pull(reference, timeout=900)
            taken = time.perf_counter() - started
        snapshotter = "overlayfs" if name == "default" else "soci"
        held = node.run(["ctr", "-n", "k8s.io", "snapshots", "--snapshotter", snapshotter, "ls"]).stdout
        if len(held.splitlines()) <= len(image.layers):
            raise RuntimeError(f"{name}: {snapshotter} lacks the image:\n{held}\n{node.journal()}")
        path = re.search(r'^path = "(.+)"', node.read(_CONFIG), re.MULTILINE) if name != "default" else None
        return taken, "/".join(Path(path[1]).parts[-2:]) if path else "none"


def _give_python39(node: Node) -> None:
    """Python 3.9 as on AL2023, for which we carry a decompressor, on a root that has a newer one."""
    usr = rootfs.get("bullseye").layers[0] / "usr"
    found = [usr / "bin/python3.9", *usr.glob("lib/*/libssl.so.1.1"), *usr.glob("lib/*/libcrypto.so.1.1")]
    for path in [*found, *usr.glob("lib/*/libffi.so.7")]:
        node.write(f"/usr/{path.relative_to(usr)}", path.read_bytes(), 0o755)
    rootfs.copy_tree(usr / "lib/python3.9", node.disk.path("/usr/lib/python3.9"))
    node.disk.path("/usr/bin/python3").symlink_to("python3.9")


def _image() -> Image:
    with tarfile.open(nodes.cached("pull-1", _archive)) as archive:
        files = {info.name: archive.extractfile(info) for info in archive}
        data = {name: file.read() for name, file in files.items() if file}
    blobs = {f"sha256:{name[13:]}": held for name, held in data.items() if name.startswith("blobs/sha256/")}
    manifest = blobs.pop(json.loads(data["index.json"])["manifests"][0]["digest"])
    layers = tuple(layer["digest"] for layer in json.loads(manifest)["layers"])
    return Image(manifest, blobs, layers, ())


def _archive() -> Iterator[bytes]:
    """Programs, libraries and text of three Debians, two layers each."""
    layers = [[file for part in parts for file in _files(suite, part)] for suite, parts in _LAYERS]
    yield images.build(layers, ["/bin/true"], level=6).archive("pull")


def _files(suite: str, part: str) -> Iterator[File]:
    root = rootfs.get(suite).layers[0]
    for place, _, names in os.walk(root / "usr" / part):
        here = f"{suite}/{Path(place).relative_to(root)}"
        yield File(here)
        for path in (Path(place, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield File(f"{here}/{path.name}", path.read_bytes(), path.stat().st_mode & 0o7777)

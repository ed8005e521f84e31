"""Nodes of the real programs: containerd with ctr and its shim, kubelet, crictl and SOCI.

The rest is as on any node of the lab with Amazon Linux 2023's Python: Debian bullseye.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.node.lab import ami, eks, rootfs
from tests.node.lab.eks import Ami
from tests.node.lab.node import Node
from tests.node.lab.soci import build
from tests.node.lab.soci.build import Release
from tests.node.real.sets import SETS, ProgramSet

CONTAINERDS = ("2.2.9", "2.3.7", "2.4.2")
"""Versions of containerd that there are nodes with, oldest first."""
KUBERNETES, SOCI, CRI_TOOLS = "1.37.2", "0.16.1", "1.37.0"
_ROOT = "bullseye"
_DAEMON = "soci-snapshotter-grpc"
_INSIDE = ami.INSIDE / "real"
_ENDPOINTS = """\
runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
"""


@dataclasses.dataclass(frozen=True)
class RealAmi(Ami):
    """An AMI of the real programs.

    Attributes:
        containerd: version of its containerd, one of ``CONTAINERDS``.
    """

    root: str = _ROOT
    kubelet_version: str = f"v{KUBERNETES}"
    soci: str = SOCI
    containerd: str = CONTAINERDS[-1]

    def layers(self) -> list[Path]:
        """What lies upon the root; made first, of programs built before, where the cache lacks it."""
        if lacking := missing([self.containerd]):
            raise rootfs.LabError(lacking)
        layer = _layer(self.containerd)
        return [layer, _programs(layer)]

    def daemon(self) -> bytes:
        """Its own SOCI: the real one, but where a test has it fail."""
        return build.front()


def missing(containerds: Sequence[str] = CONTAINERDS) -> str:
    """Say which programs of such nodes have not been built; empty where all are there."""
    found = {
        each.name: names
        for version in containerds
        for _, each, programs in _programs_of(version)
        if (names := each.missing(programs))
    }
    listed = "; ".join(f"{name} ({', '.join(names)})" for name, names in found.items())
    return f"not built: {listed}; run scripts/setup real" if found else ""


@functools.cache
def release() -> Release:
    """SOCI's release as upstream lays it out, of the daemon that was built here."""
    return _packed(SETS[f"soci-{SOCI}"].place, (SETS[f"soci-{SOCI}"].place / _DAEMON).read_bytes())


@functools.cache
def faulty_release() -> Release:
    """The same, whose daemon fails where a test says so, as ``Ami.daemon`` does."""
    return _packed(None, build.front())


def _packed(place: Path | None, binary: bytes) -> Release:
    """A release of a daemon; kept in a directory, since a real one takes seconds to pack."""
    name = f"soci-snapshotter-{SOCI}-linux-{build.this_arch()}.tar.gz"
    if place and (place / name).exists():
        return Release(SOCI, build.this_arch(), (place / name).read_bytes(), binary)
    members = {
        "THIRD_PARTY_LICENSES": b"licences\n",
        "NOTICE.md": b"notice\n",
        "soci": b"#!/bin/sh\nexit 0\n",
    }
    data = build.pack({**members, _DAEMON: binary})
    if place:
        staged = place / f"{name}.{os.getpid()}"
        staged.write_bytes(data)
        staged.rename(place / name)
    return Release(SOCI, build.this_arch(), data, binary)


def _programs_of(containerd: str) -> list[tuple[str, ProgramSet, Sequence[str]]]:
    """Each directory of a node that programs lie in, their set, and their names."""
    return [
        ("usr/bin", SETS[f"containerd-{containerd}"], ("containerd", "containerd-shim-runc-v2", "ctr")),
        ("usr/local/bin", SETS[f"cri-tools-{CRI_TOOLS}"], ("crictl",)),
        ("opt/lab/real", SETS[f"kubernetes-{KUBERNETES}"], ("kubelet",)),
        # For faults; what a test installs is fetched.
        ("opt/lab/real", SETS[f"soci-{SOCI}"], (_DAEMON,)),
    ]


def _layer(containerd: str) -> Path:
    rootfs.get(_ROOT)
    digest = hashlib.sha256(ami.stamp(_ROOT).encode() + Path(__file__).read_bytes())
    for _, each, _ in _programs_of(containerd):
        digest.update(each.place.name.encode())
    return ami.cached(
        f"real-containerd-{containerd}", digest.hexdigest(), lambda target: _build(containerd, target)
    )


def _build(containerd: str, target: Path) -> None:
    programs = _programs(target)
    for directory, each, names in _programs_of(containerd):
        (programs / directory).mkdir(parents=True, exist_ok=True)
        for name in names:
            _link(each.place / name, programs / directory / name)
    with Node(_ROOT, upon=[programs]) as node:
        ami.furnish(node, target)
        node.write("/usr/bin/kubelet", (_INSIDE / "kubelet").read_bytes(), 0o755)
        node.write("/opt/lab/python/kubelet_endpoints.py", (ami.INSIDE / "kubelet.py").read_bytes())
        node.write("/opt/lab/kubelet-state", (_INSIDE / "kubelet_state.py").read_bytes())
        unit = "lab-kubelet-state.service"
        node.write(f"/etc/systemd/system/{unit}", (_INSIDE / unit).read_bytes())
        eks.enable(node, unit, "kubelet.service")
        node.write("/etc/crictl.yaml", _ENDPOINTS)
        rootfs.copy_tree(node.disk.upper, target)


def _programs(layer: Path) -> Path:
    """The directory beside a layer that the programs lie in, as a layer of their own."""
    return layer.with_name("programs")


def _link(source: Path, target: Path) -> None:
    """Have a program in two places, on the disk once where that can be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

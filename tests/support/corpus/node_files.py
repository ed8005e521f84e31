"""The nodes that hostile inputs are laid on, and how such an input is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

Content = Union[bytes, str, None]
"""A file's bytes; ``-> target`` a link, ``DIRECTORY`` and ``FIFO`` these, None for not there."""
DIRECTORY, FIFO = "(directory)", "(fifo)"

SETTINGS = "/etc/soci-bootstrap/config.toml"
CACHE = "/run/eks/nodeadm/config.json"
CONTAINERD = "/etc/containerd/config.toml"
KUBELET = "/etc/kubernetes/kubelet/config.json"
VERSION = "/etc/eks/containerd-version.txt"
PAUSE = "/etc/eks/pause.tar"
STATE = "/var/lib/soci-bootstrap"
RECORD, HOOKS = f"{STATE}/record.json", f"{STATE}/state.json"
BLOBS = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
CERTS = "/etc/containerd/certs.d"
UNITS = "/usr/lib/systemd/system"

V3 = '[plugins."io.containerd.cri.v1.images"]\n'
REGISTRY = "version = 3\n" + V3[:-2] + f'.registry]\nconfig_path = "{CERTS}"\n'
DIRECT: Mapping[str, Content] = {
    VERSION: "containerd github.com/containerd/containerd/v2 2.2.6 8bba4b5\n",
    f"{UNITS}/containerd.service": "[Service]\nExecStart=/usr/bin/containerd\n",
    f"{UNITS}/kubelet.service": f"[Service]\nExecStart=/usr/bin/kubelet --config {KUBELET}\n",
    CONTAINERD: 'version = 3\nroot = "/var/lib/containerd"\n' + V3 + "users_own = 1\n",
    KUBELET: '{"kind": "KubeletConfiguration", "maxPods": 42}\n',
}
"""A node whose containerd and kubelet we merge into."""
NODE: Mapping[str, Content] = {
    **DIRECT,
    f"{UNITS}/nodeadm-run.service": "[Service]\nExecStart=/usr/bin/nodeadm init --config-source file:///etc/eks/nodeadm.d\n",
    "/etc/eks/nodeadm.d": DIRECTORY,
    CACHE: '{"spec": {"containerd": {}, "kubelet": {"config": {"maxPods": 42}}}}',
}
"""A node of an EKS AMI that reads nodeadm.d."""


@dataclass(frozen=True)
class Case:
    """One input; ``problem`` is what the refusal must say, None where install must succeed."""

    name: str
    problem: str | None
    files: Mapping[str, Content] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    base: Mapping[str, Content] = field(default_factory=lambda: NODE)
    installed: bool = False
    """The files go on top of a finished install."""
    edits: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """On top of a finished install: what to overwrite in these JSON documents, by dotted key."""


def settings(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"settings: {name}", problem, {SETTINGS: text})


def environ(name: str, problem: str | None, **variables: str) -> Case:
    named = {f"SOCI_BOOTSTRAP_{key}": value for key, value in variables.items()}
    return Case(f"environment: {name}", problem, environ=named)


def cache(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"NodeConfig: {name}", problem, {CACHE: text})


def user_toml(name: str, toml: str, problem: str | None) -> Case:
    return cache(name, json.dumps({"spec": {"containerd": {"config": toml}}}), problem)


def containerd(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"containerd: {name}", problem, {CONTAINERD: text}, base=DIRECT)


def kubelet(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"kubelet: {name}", problem, {KUBELET: text}, base=DIRECT)


def unit(name: str, unit: str, text: Content, problem: str | None = None) -> Case:
    return Case(f"unit: {name}", problem, {f"{UNITS}/{unit}": text}, base=DIRECT)


def certs(name: str, files: Mapping[str, Content], config: str = REGISTRY) -> Case:
    below = {f"{CERTS}/{path}": text for path, text in files.items()}
    return Case(f"registries: {name}", None, {CONTAINERD: config, **below}, base=DIRECT)


def record(name: str, problem: str | None, **edits: object) -> Case:
    return Case(f"record: {name}", problem, installed=True, edits={RECORD: edits})


def wired(address: object, root: object = "/var/lib/containerd/soci") -> str:
    """The published recipe, with these."""
    return (
        f'{V3}snapshotter = "soci"\n[proxy_plugins.soci]\ntype = "snapshot"\n'
        f"address = {json.dumps(address)}\n[proxy_plugins.soci.exports]\nroot = {json.dumps(root)}\n"
    )

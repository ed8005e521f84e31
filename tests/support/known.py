"""Facts as known of an EKS node, to be varied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from soci_bootstrap.facts import AmiSoci, Facts
from soci_bootstrap.facts.containerd import Containerd
from soci_bootstrap.facts.content_store import ContentStore
from soci_bootstrap.facts.kubelet import Kubelet
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.facts.nodeconfig import NodeConfig
from tests.support.nodes import captured

V3 = captured("containerd-nodeadm-v3.toml")
FACTS = Facts(
    live=True,
    arch="amd64",
    machine=Machine(4, 8 << 30),
    python=(3, 9),
    boot_id="b",
    containerd=Containerd(present=True, version=(2, 2, 6), config=V3),
    kubelet=Kubelet(present=True),
    nodeadm_dropins=True,
    node_config=NodeConfig(),
    ami=AmiSoci(),
    store=ContentStore(),
)
OTHER = replace(FACTS, nodeadm_dropins=False)


def facts(base: Facts = FACTS, *, containerd: dict[str, Any] | None = None, **changes) -> Facts:
    return replace(base, containerd=replace(base.containerd, **(containerd or {})), **changes)

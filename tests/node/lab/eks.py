"""A node as an EKS AMI boots it: nodeadm-config, userData, nodeadm-run, containerd, kubelet."""

from __future__ import annotations

import dataclasses
import email
import json
from collections.abc import Sequence
from pathlib import Path

from tests.node.lab import ami, mirror, rootfs
from tests.node.lab.node import Node
from tests.node.lab.soci import build

NODECONFIG = """\
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: my-cluster
    apiServerEndpoint: https://example.com
    certificateAuthority: Y2VydGlmaWNhdGVBdXRob3JpdHk=
    cidr: 10.100.0.0/16
  featureGates:
    InstanceIdNodeName: true
"""
NEWEST = 20260724
SOCI_SINCE, NODEADM_D_SINCE = 20250813, 20251020
RUN = "/usr/bin/nodeadm init --skip config --config-source imds://user-data"
RUN_WITH_DROPINS = (
    f"{RUN} --config-source file:///etc/eks/nodeadm.d/ --config-cache /run/eks/nodeadm/config.json"
)
"""What nodeadm-run.service executes, before and since ``NODEADM_D_SINCE``."""
_INSTANCE = {
    "id": "i-1234567890abcdef0",
    "region": "us-west-2",
    "type": "m5.xlarge",
    "availabilityZone": "us-west-2a",
    "mac": "0e:49:61:0f:c3:11",
}
_CLOUD_CONFIG = """\
datasource_list: [NoCloud]
network: {config: disabled}
cloud_init_modules: []
cloud_config_modules: []
cloud_final_modules: [scripts-user]
"""
_NOT_AS_ON_AL2023 = {
    # There multi-user.target waits for nodeadm-run, which waits for these.
    "cloud-final.service": "After=multi-user.target\n",
    "cloud-init.target": "After=multi-user.target\n",
    # There nodeadm-config, an ordinary service, comes before this one.
    "cloud-init.service": "Before=sysinit.target\n",
}
"""Lines to take out of Debian's units of cloud-init, where they have them."""


@dataclasses.dataclass(frozen=True)
class Ami:
    """Which AMI, and on what instance.

    Attributes:
        root: a name of ``rootfs.NODE_ROOTS``; decides containerd's version.
        generation: the AMI's date as a number; 20250812 has no SOCI, 20251019 has it but reads no
            nodeadm.d, 20251020 reads it; from 20251208 local disks know SOCI, from 20260512 the gate has its
            dependency and import.
        vcpus: what nodeadm sees, for the gate; the machine's own in /proc don't change.
        memory_gib: the same.
        soci: version of the AMI's own daemon, where it has one.
    """

    root: str = "trixie-containerd2"
    generation: int = NEWEST
    vcpus: int = 4
    memory_gib: float = 16
    kubelet_version: str = "v1.34.1"
    soci: str = "0.11.1"

    def layers(self) -> list[Path]:
        """What lies upon the root, uppermost first; built first where the cache lacks it."""
        return [ami.layer(self.root)]

    def daemon(self) -> bytes:
        """Its own SOCI."""
        return build.daemon(self.soci)


def eks_node(
    ami_: Ami | None = None,
    *,
    nodeconfig: str = NODECONFIG,
    scripts: Sequence[str] = (),
    userdata: str = "",
    cloud_init: bool = False,
    private_network: bool = True,
) -> Node:
    """A node that has never booted; ``boot`` runs its whole first boot.

    Args:
        ami_: which AMI; the newest by default.
        nodeconfig: the NodeConfig part of the userData.
        scripts: its shell parts, run in order before nodeadm-run.
        userdata: a whole MIME document in the stead of both.
        cloud_init: have the real cloud-init run it (some seconds), not a stand-in for its last stage.
        private_network: see ``Node``.
    """
    chosen = ami_ or Ami()
    userdata = userdata or mime(nodeconfig, scripts)
    node = Node(chosen.root, private_network=private_network, upon=chosen.layers())
    mirror.introduce(node)
    _describe(node, chosen)
    _install_units(node, chosen)
    node.write("/opt/lab/user-data", userdata)
    if cloud_init:
        _seed_cloud_init(node, userdata)
    else:
        _seed_stand_in(node, userdata)
    return node


def mime(nodeconfig: str, scripts: Sequence[str] = ()) -> str:
    """A userData document as Karpenter writes it: yours first, the NodeConfig last."""
    parts = [f'Content-Type: text/x-shellscript; charset="us-ascii"\n\n{script}\n' for script in scripts]
    parts.append(f"Content-Type: application/node.eks.aws\n\n{nodeconfig}\n")
    body = "".join(f"--//\n{part}" for part in parts)
    return f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="//"\n\n{body}--//--\n'


def with_containerd(config: str, kubelet: str = "") -> str:
    """The minimal NodeConfig, plus a containerd configuration (TOML) and kubelet's (JSON)."""
    text = f"{NODECONFIG}  containerd:\n    config: {json.dumps(config)}\n" if config else NODECONFIG
    return f"{text}  kubelet:\n    config: {kubelet}\n" if kubelet else text


def _describe(node: Node, chosen: Ami) -> None:
    facts = {
        "generation": chosen.generation,
        "vcpus": chosen.vcpus,
        "memory_gib": chosen.memory_gib,
        "kubelet_version": chosen.kubelet_version,
        "instance": _INSTANCE,
    }
    node.write("/opt/lab/ami.json", json.dumps(facts))


def _install_units(node: Node, chosen: Ami) -> None:
    units = "/etc/systemd/system"
    run = RUN
    config = (ami.INSIDE / "units/nodeadm-config.service").read_text()
    if chosen.generation >= NODEADM_D_SINCE:
        run = RUN_WITH_DROPINS
        node.disk.path("/etc/eks/nodeadm.d").mkdir(parents=True)
    else:
        config = config.replace(" --config-cache /run/eks/nodeadm/config.json", "")
    node.write(f"{units}/nodeadm-config.service", config)
    template = (ami.INSIDE / "units/nodeadm-run.service").read_text()
    node.write(f"{units}/nodeadm-run.service", template.replace("@NODEADM_RUN@", run))
    for unit in ("nodeadm-config.service", "nodeadm-run.service"):
        enable(node, unit)
    if chosen.generation >= SOCI_SINCE:
        for unit in ("soci-snapshotter.service", "soci-snapshotter.socket"):
            node.write(f"{units}/{unit}", (ami.INSIDE / "units" / unit).read_bytes())
        node.write("/usr/bin/soci-snapshotter-grpc", chosen.daemon(), 0o755)
        enable(node, "soci-snapshotter.socket", "sockets.target")


def enable(node: Node, unit: str, target: str = "multi-user.target") -> None:
    """Enable a unit of a node that is off."""
    link = node.disk.path(f"/etc/systemd/system/{target}.wants/{unit}")
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(f"/etc/systemd/system/{unit}")


def _seed_cloud_init(node: Node, userdata: str) -> None:
    node.write("/var/lib/cloud/seed/nocloud/user-data", userdata)
    node.write("/var/lib/cloud/seed/nocloud/meta-data", f"instance-id: {_INSTANCE['id']}\n")
    node.write("/etc/cloud/cloud.cfg.d/99-lab.cfg", _CLOUD_CONFIG)
    disabled = node.disk.path("/etc/cloud/cloud-init.disabled")
    disabled.parent.mkdir(parents=True, exist_ok=True)
    rootfs.white_out(disabled)
    for name, line in _NOT_AS_ON_AL2023.items():
        place = node.disk.find(f"/usr/lib/systemd/system/{name}")
        if place.exists():
            node.write(f"/etc/systemd/system/{name}", place.read_text().replace(line, ""))


def _seed_stand_in(node: Node, userdata: str) -> None:
    node.write(
        "/etc/systemd/system/cloud-final.service", (ami.INSIDE / "units/cloud-final.service").read_bytes()
    )
    enable(node, "cloud-final.service")
    message = email.message_from_string(userdata)
    for number, part in enumerate(message.walk(), 1):
        if part.get_content_type() == "text/x-shellscript":
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            node.write(f"/opt/lab/userdata.d/part-{number:03}", payload, 0o755)

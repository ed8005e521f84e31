"""The options that only `render` has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KINDS = (
    "userdata",
    "ec2nodeclass",
    "launch-template",
    "terraform",
    "ssm-document",
    "image-builder",
    "packer",
)

#: Kinds that hold a userData document, so that a NodeConfig part can stand in it.
USER_DATA_KINDS = ("userdata", "ec2nodeclass", "launch-template", "terraform")


@dataclass(frozen=True)
class RenderOptions:
    """The options that only `render` has.

    Attributes:
        kind: one of ``KINDS``.
        zipapp_url: where nodes fetch the zipapp from, https:// or s3://.
        zipapp_sha256: its digest, 64 hex digits; None takes the running zipapp's own.
        node_config: path of a NodeConfig document to carry as a part of its own.
        instance_store_policy: ``RAID0`` or None; an EC2NodeClass only.
        name: what the rendered object is called.
        cluster_name: for an EC2NodeClass's role and discovery tags, and the SSM command line's targets.
        ami_version: the AL2023 EKS AMI an EC2NodeClass asks for: ``latest`` or ``vYYYYMMDD``.
    """

    kind: str = ""
    zipapp_url: str | None = None
    zipapp_sha256: str | None = None
    node_config: str | None = None
    instance_store_policy: str | None = None
    name: str | None = None
    cluster_name: str | None = None
    ami_version: str | None = None


def misplaced(options: RenderOptions) -> Iterator[str]:
    """Tell each option that the rendered document has no place for: it would be lost without a word."""
    for flag, value, kinds in (
        ("--node-config", options.node_config, USER_DATA_KINDS),
        ("--instance-store-policy", options.instance_store_policy, ("ec2nodeclass",)),
        ("--cluster-name", options.cluster_name, ("ec2nodeclass", "ssm-document")),
        ("--ami-version", options.ami_version, ("ec2nodeclass",)),
        ("--name", options.name, tuple(kind for kind in KINDS if kind != "userdata")),
    ):
        if value is not None and options.kind not in kinds:
            yield f"{flag} has no place in a {options.kind} document; it is for {', '.join(kinds)}"

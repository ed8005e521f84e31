"""The options that only `render` has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RenderOptions:
    """The options that only `render` has.

    Attributes:
        kind: one of ``commands.KINDS``.
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

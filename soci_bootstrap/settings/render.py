"""What `render` is asked for, checked on its own terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from soci_bootstrap.fetch.release import ZIPAPP_URL

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

# One rule for what a Kubernetes object, a launch template, an SSM document and an AMI may all be called.
_NAME = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]")
# The EKS API's own rule for cluster names.
_CLUSTER = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
_AMI_VERSION = re.compile(r"latest|v[0-9]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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


def problems(options: RenderOptions) -> list[str]:
    """Everything wrong with ``options``, each with what was expected; empty when they are good."""
    return [*_bad_values(options), *_options_of_other_kinds(options)]


def _bad_values(options: RenderOptions) -> Iterator[str]:
    if options.kind not in KINDS:
        yield f"render: found {options.kind or 'no kind'!r}, expected one of {', '.join(KINDS)}"
    if options.zipapp_url is not None and not ZIPAPP_URL.fullmatch(options.zipapp_url):
        yield f"--zipapp-url: found {options.zipapp_url!r}, expected an https:// or s3:// URL of the zipapp"
    if options.zipapp_sha256 is not None and not _SHA256.fullmatch(options.zipapp_sha256.lower()):
        yield f"--zipapp-sha256: found {options.zipapp_sha256!r}, expected 64 hex digits"
    if options.instance_store_policy not in (None, "RAID0"):
        yield f"--instance-store-policy: found {options.instance_store_policy!r}, expected RAID0"
    if options.name is not None and not _NAME.fullmatch(options.name):
        yield (
            f"--name: found {options.name!r}, expected 3 to 63 lower-case letters, digits and hyphens, "
            "a letter first and no hyphen last"
        )
    if options.cluster_name is not None and not _CLUSTER.fullmatch(options.cluster_name):
        yield (
            f"--cluster-name: found {options.cluster_name!r}, expected at most 100 letters, digits, "
            "hyphens and underscores, a letter or digit first"
        )
    if options.ami_version is not None and not _AMI_VERSION.fullmatch(options.ami_version):
        yield f"--ami-version: found {options.ami_version!r}, expected latest or a release like v20260724"


def _options_of_other_kinds(options: RenderOptions) -> Iterator[str]:
    """An option that the rendered document has no place for would be lost without a word."""
    for flag, value, kinds in (
        ("--node-config", options.node_config, USER_DATA_KINDS),
        ("--instance-store-policy", options.instance_store_policy, ("ec2nodeclass",)),
        ("--cluster-name", options.cluster_name, ("ec2nodeclass", "ssm-document")),
        ("--ami-version", options.ami_version, ("ec2nodeclass",)),
        ("--name", options.name, tuple(kind for kind in KINDS if kind != "userdata")),
    ):
        if value is not None and options.kind in KINDS and options.kind not in kinds:
            yield f"{flag} has no place in a {options.kind} document; it is for {', '.join(kinds)}"

"""Karpenter's EC2NodeClass (karpenter.k8s.aws/v1) with our userData in it."""

from __future__ import annotations

from soci_bootstrap.render.kinds.userdata import user_data
from soci_bootstrap.render.request import Document
from soci_bootstrap.render.text import yaml_block, yaml_scalar

DEFAULT_CLUSTER = "my-cluster"


def ec2_node_class(request: Document) -> str:
    """Render the manifest, ready for `kubectl apply -f`.

    Role and discovery tags are those of Karpenter's getting-started guide. Karpenter appends its own
    NodeConfig to the userData, and replaces nodes when the literal userData changes.
    """
    options = request.options
    cluster = options.cluster_name or DEFAULT_CLUSTER
    policy = (
        f"  instanceStorePolicy: {options.instance_store_policy}\n" if options.instance_store_policy else ""
    )
    discovery = f"    - tags:\n        karpenter.sh/discovery: {yaml_scalar(cluster)}\n"
    return (
        "apiVersion: karpenter.k8s.aws/v1\n"
        "kind: EC2NodeClass\n"
        "metadata:\n"
        f"  name: {yaml_scalar(request.name)}\n"
        "spec:\n"
        "  amiSelectorTerms:\n"
        f"    - alias: al2023@{options.ami_version or 'latest'}\n"
        f"  role: {yaml_scalar('KarpenterNodeRole-' + cluster)}\n"
        f"  subnetSelectorTerms:\n{discovery}"
        f"  securityGroupSelectorTerms:\n{discovery}"
        f"{policy}"
        f"  userData: {yaml_block(user_data(request), 4)}"
    )

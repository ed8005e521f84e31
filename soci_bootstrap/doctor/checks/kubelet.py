"""The check of kubelet's image endpoint: registry credentials reach SOCI through it alone."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.facts.kubelet import ARGUMENTS


def endpoint(node: Node) -> Finding:
    """It is SOCI's, or where the node failed open containerd's own."""
    expected = f"unix://{node.daemon.address}"
    named, effective = node.endpoint, node.containerd.effective
    if isinstance(named, Unknown):
        return named.judged(expected)
    if named is None:
        return skip("no kubelet on this node", expected)
    found = named.address or "none, so containerd's own"
    wired = isinstance(effective, Effective) and effective.snapshotter == "soci"
    if named.address == expected:
        if node.failed_open and not wired and node.answers is not True:
            return fail(
                f"{found}, where nothing answers: kubelet can't pull",
                paths.CONTAINERD_ENDPOINT,
                f"{INSTALL}, or set imageServiceEndpoint to {paths.CONTAINERD_ENDPOINT} in {named.source}",
            )
        return ok(f"{found}, set in {named.source}", expected)
    own = named.address in {"", paths.CONTAINERD_ENDPOINT}
    if node.failed_open and own:
        return warn(f"{found}, since the node failed open", expected, "see failed-open")
    if not _ours(node):
        return skip(f"{found}; SOCI is not installed", expected)
    if named.source == ARGUMENTS:
        return fail(
            f"{found}, set in {ARGUMENTS}, which win over every file",
            expected,
            "take --image-service-endpoint out of them (spec.kubelet.flags in the NodeConfig) and restart it",
        )
    if own:
        return fail(
            f"{found}: pulls from private registries have no credentials",
            expected,
            f"{INSTALL}, then restart kubelet, or reboot",
        )
    return fail(f"{found}, set in {named.source}", expected, f"{INSTALL}, then restart kubelet, or reboot")


def _ours(node: Node) -> bool:
    record = node.recorded
    return bool(record and record.managed) or node.service_file != ""

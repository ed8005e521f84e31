"""Checks of kubelet: it runs, and its image endpoint is the one through which credentials reach SOCI."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import NEEDS_ROOT, Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL
from soci_bootstrap.doctor.observe.node import Node, Unit
from soci_bootstrap.facts.kubelet import ARGUMENTS


def active(node: Node) -> Finding:
    """It runs, where it did: a switch that was cut short leaves it stopped."""
    expected = f"{paths.KUBELET_SERVICE} active"
    unit, containerd = node.unit(paths.KUBELET_SERVICE), node.unit(paths.CONTAINERD_SERVICE)
    if isinstance(unit, Unknown):
        return unit.judged(expected)
    if unit.load != "loaded":
        return skip(f"no {paths.KUBELET_SERVICE} on this node", expected)
    if unit.active in {"active", "reloading"}:
        return ok("active", expected)
    enabled = unit.enabled in {"enabled", "enabled-runtime"}
    if unit.started or (enabled and isinstance(containerd, Unit) and containerd.active == "active"):
        return fail(
            f"{unit.active} ({unit.sub}, {unit.result}): no pod is started or looked after",
            expected,
            f"systemctl start kubelet; if it ends again: journalctl -b -u {paths.KUBELET_SERVICE}",
        )
    return skip("it has not started in this boot yet", expected)


def endpoint(node: Node) -> Finding:
    """It is SOCI's, or where the node failed open containerd's own."""
    expected = f"unix://{node.daemon.address}"
    named = node.endpoint
    if isinstance(named, Unknown):
        return named.judged(expected)
    if named is None:
        return skip("no kubelet on this node", expected)
    found = named.address or "none, so containerd's own"
    if named.address == expected:
        if node.failed_open and not node.wired and node.answers is not True:
            return fail(
                f"{found}, where nothing answers: kubelet can't pull",
                paths.CONTAINERD_ENDPOINT,
                f"{INSTALL}, or set imageServiceEndpoint to {paths.CONTAINERD_ENDPOINT} in {named.source}",
            )
        return ok(f"{found}, set in {named.source}", expected)
    own = named.address in {"", paths.CONTAINERD_ENDPOINT}
    if node.failed_open and own:
        return warn(f"{found}, since the node failed open", expected, "see failed-open")
    if node.hidden and own and not node.wired:
        return skip(f"{found}; whether it should be SOCI's is not known: {NEEDS_ROOT}", expected)
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
    return bool(record and record.managed) or node.wired or (node.service_file != "" and not node.foreign)

"""Checks of nodeadm's side: the NodeConfig, our drop-in, those after it, the FastImagePull gate."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import Finding, Unknown, ok, skip, warn
from soci_bootstrap.doctor.managed import own, wanted
from soci_bootstrap.doctor.observe.node import Node

_GATE_VCPUS = 4
_GATE_MEMORY = 7 << 30


def readable(node: Node) -> Finding:
    """Nodeadm's NodeConfig can be read."""
    expected = f"{paths.NODECONFIG_CACHE}, where the node has nodeadm"
    if isinstance(node.node_config, Unknown):
        return node.node_config.judged(expected)
    return ok("readable, or none", expected)


def dropin(node: Node) -> Finding:
    """The drop-in by which nodeadm wires containerd and kubelet at each boot."""
    if paths.NODEADM_DROPIN not in wanted(node):
        return skip(_unknown(node) or "the wiring needs none here", paths.NODEADM_DROPIN)
    if node.failed_open:
        return skip("failing open replaced it", paths.NODEADM_DROPIN)
    if node.baked:
        return skip("baked: the first boot wires", paths.NODEADM_DROPIN)
    return own(node, paths.NODEADM_DROPIN)


def later(node: Node) -> Finding:
    """No drop-in that sorts after ours overrides it."""
    expected = f"no drop-in after {paths.NODEADM_DROPIN} that names a snapshotter or an image endpoint"
    config = node.node_config
    if isinstance(config, Unknown):
        return config.judged(expected)
    if paths.NODEADM_DROPIN not in wanted(node):
        why = _unknown(node)
        return skip(why, expected) if why else ok("the wiring has no drop-in here", expected)
    if config.later:
        return warn(
            f"{', '.join(config.later)}, which wins over our wiring",
            expected,
            "take snapshotter and imageServiceEndpoint out of it, or rename it to sort before 50-",
        )
    return ok("none", expected)


def gate(node: Node) -> Finding:
    """A FastImagePull gate that nodeadm would silently ignore on a node of this size."""
    expected = f"the gate off, overridden by our drop-in, or {_GATE_VCPUS} vCPU and 7 GiB at least"
    config, machine = node.node_config, node.machine
    if isinstance(config, Unknown):
        return config.judged(expected)
    if not config.gate:
        return ok("off", expected)
    if paths.NODEADM_DROPIN in wanted(node):
        return ok("on, and overridden by our drop-in", expected)
    if why := _unknown(node):
        return skip(f"on; whether our drop-in overrides it is not known: {why}", expected)
    if isinstance(machine, Unknown):
        return machine.judged(expected)
    if machine.vcpus < _GATE_VCPUS or machine.memory_bytes < _GATE_MEMORY:
        return warn(
            f"on, and ignored by nodeadm: {machine.vcpus} vCPU, {machine.memory_bytes / (1 << 30):.1f} GiB",
            expected,
            "run `soci-bootstrap install`, which works on nodes of this size too",
        )
    return ok("on, and heeded by nodeadm on a node of this size", expected)


def _unknown(node: Node) -> str:
    """Why it can't be told whether the wiring has a drop-in; empty where it can."""
    return node.record.why if isinstance(node.record, Unknown) else ""

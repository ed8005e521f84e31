"""Checks of images and snapshots, as containerd and its disk have them."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.plan.tuning import DISCARD_FIXED_IN
from soci_bootstrap.state.record import Binary


def layers(node: Node) -> Finding:
    """No layer lies in the content store that ``discard_unpacked_layers`` would trip over."""
    expected = "no layer in the content store, or discard_unpacked_layers = false"
    if isinstance(node.document, Unknown):
        return node.document.judged(expected)
    pull = node.document.get("pull_modes", {}).get("parallel_pull_unpack", {})
    if pull.get("discard_unpacked_layers") is not True:
        return ok("discard_unpacked_layers = false", expected)
    if _fixed(node):
        return ok("this release of SOCI copes with it", expected)
    if isinstance(node.store, Unknown):
        return node.store.judged(expected)
    if node.store.foreign_layer:
        return fail(
            f"{node.store.foreign_layer} with discard_unpacked_layers = true: an image with that layer "
            "can't be pulled (SOCI issue 2035)",
            expected,
            f"{INSTALL}, which turns discard_unpacked_layers off, or remove the image that holds the layer",
        )
    return ok("no layer there", expected)


def probe(node: Node) -> Finding:
    """Containerd prepares a snapshot in SOCI and removes it: the one proof that pulls get there."""
    expected = "a snapshot prepared in SOCI, and removed again"
    found = node.images.probe
    if isinstance(found, Unknown):
        return found.judged(expected)
    if found:
        return fail(found, expected, "systemctl restart containerd on a drained node, or reboot")
    return ok("prepared and removed", expected)


def pause(node: Node) -> Finding:
    """The pause image is in SOCI: without it no pod's sandbox starts on containerd 2.2.3 and newer."""
    expected = "the pause image in SOCI"
    effective, unpacked = node.containerd.effective, node.images.unpacked
    if not isinstance(effective, Effective) or effective.snapshotter != "soci":
        return skip("containerd does not pull with SOCI", expected)
    if isinstance(unpacked, Unknown):
        return unpacked.judged(expected)
    reference = effective.sandbox
    if unpacked.get(reference):
        return ok(reference, expected)
    if not node.pause_cached and reference not in unpacked:
        return ok(
            f"{reference or 'no pause image named'}: not cached on this node, pulled when needed", expected
        )
    found = "only in another snapshotter" if reference in unpacked else "not on this node"
    return fail(
        f"{reference}: {found}",
        expected,
        "systemctl restart containerd (its start imports it), or ctr -n k8s.io images import "
        f"--snapshotter soci --discard-unpacked-layers=false --local {paths.PAUSE_IMAGE}",
    )


def snapshots(node: Node) -> Finding:
    """How many snapshots lie where, and whether containers run on SOCI."""
    expected = "on a node that pulls with SOCI, snapshots there"
    soci, overlayfs, running = node.images.soci, node.images.overlayfs, node.images.running
    if isinstance(soci, Unknown) and isinstance(overlayfs, Unknown):
        return soci.judged(expected)
    counts = ", ".join(
        f"{'unknown' if isinstance(count, Unknown) else count} on {name}"
        for name, count in (("soci", soci), ("overlayfs", overlayfs))
    )
    effective = node.containerd.effective
    if running is True and isinstance(effective, Effective) and effective.snapshotter != "soci":
        return warn(
            f"{counts}; containers run on SOCI while containerd pulls with {effective.snapshotter}",
            expected,
            "drain the node, then restart containerd and SOCI, or replace it",
        )
    return ok(f"{counts}{'; containers run on SOCI' if running is True else ''}", expected)


def _fixed(node: Node) -> bool:
    record = node.recorded
    binary: Binary | None = record.binary if record else None
    return binary is not None and tuple(map(int, binary.version.split("."))) >= DISCARD_FIXED_IN

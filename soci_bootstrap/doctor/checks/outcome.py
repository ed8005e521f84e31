"""Checks of what happened and what is to come: failing open, staged changes, what install would do."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import Finding, Unknown, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL, desired, difference, matches, rewired
from soci_bootstrap.doctor.observe.node import Node

_BELOW_ROOT = "below --root nothing runs"
_NEXT_BOOT = "it takes effect by itself: reboot, or replace the node"


def waiting(node: Node) -> str:
    """Why what was installed has not taken effect yet, empty where it has."""
    if not node.live:
        return _BELOW_ROOT
    record = node.recorded
    if record is None:
        return ""
    if record.outcome == "staged" and record.boot_id == node.boot_id:
        return "staged: it takes effect at the next boot"
    if record.outcome == "baked":
        return "baked: it takes effect when an instance boots from this image"
    unit = node.unit(paths.CONTAINERD_SERVICE)
    if isinstance(unit, Unknown) or unit.load != "loaded" or node.failed_open:
        return ""
    if not unit.started and unit.active == "inactive":
        return "containerd has not started in this boot yet"
    return ""


def staged(node: Node) -> Finding:
    """The installed version is in effect."""
    expected = "what was installed is in effect"
    record = node.recorded
    if record is None:
        return skip(node.record.why if isinstance(node.record, Unknown) else "no record", expected)
    if not node.live:
        return warn("an image: it takes effect when it boots", expected, _NEXT_BOOT)
    why = waiting(node)
    if why:
        return warn(why, expected, _NEXT_BOOT)
    if record.outcome == "staged":
        return warn(
            "staged in an earlier boot, and the boot-time unit has not put it into effect",
            expected,
            f"see `journalctl -b -t soci-bootstrap`, or {INSTALL[4:]}",
        )
    return ok("it is", expected)


def failed_open(node: Node) -> Finding:
    """The node pulls through SOCI as wired; where it fell back to overlayfs, why."""
    expected = "no failing open recorded"
    for unknown in (node.record, node.state):
        if isinstance(unknown, Unknown):
            return unknown.judged(expected) if unknown is node.state else skip(unknown.why, expected)
    reason = node.failed_open
    if not reason:
        return ok("none", expected)
    state = node.state
    when = ""
    if not isinstance(state, Unknown) and state.degraded:
        boot = "this boot" if state.boot_id == node.boot_id else "an earlier boot"
        when = f" ({state.at}, in {boot})" if state.at else ""
    return warn(
        f"{reason}{when}",
        expected,
        "remove the cause; the node tries again at its next boot, or `soci-bootstrap install` does now",
    )


def decidable(node: Node) -> Finding:
    """The desired state can be told from the recorded settings, so the next boot can tell it."""
    expected = "facts that an install could decide by"
    if isinstance(node.desired, Unknown):
        return node.desired.judged(expected)
    return ok("they are", expected)


def plan(node: Node) -> Finding:
    """An install now would change nothing: facts and settings are what they were."""
    expected = "nothing that an install would change"
    if node.failed_open:
        return skip("it failed open: the next try decides anew", expected)
    if node.recorded is None:
        return skip("no record", expected)
    if node.recorded.outcome == "baked":
        return skip("baked: each boot decides anew", expected)
    if isinstance(node.desired, Unknown):
        return skip(node.desired.why, expected)
    changes = _changes(node)
    if changes:
        return warn(
            f"{len(changes)} would change: {', '.join(changes[:5])}",
            expected,
            "the next boot does it, or `soci-bootstrap install` does now; `soci-bootstrap plan` shows it",
        )
    return ok("nothing", expected)


def _changes(node: Node) -> list[str]:
    """Paths that are as they were left, though something else is wanted by now; edits are `files`'s."""
    record, apart = node.recorded, rewired(node)
    recorded = record.managed if record else {}
    changes = []
    for path, managed in desired(node).items():
        held = node.files.get(path)
        if held is None or isinstance(held, Unknown) or path in apart or matches(held, managed):
            continue
        before = recorded.get(path)
        if before is None or not difference(held, (before,)):
            changes.append(path)
    if node.daemon.config in changes and _only_discards(node):
        changes.remove(node.daemon.config)
    return changes


def _only_discards(node: Node) -> bool:
    """Layers that kept `discard_unpacked_layers` off are gone by now: leaving it off costs little."""
    from soci_bootstrap.configfiles import toml
    from soci_bootstrap.plan.items import File

    if isinstance(node.desired, Unknown) or isinstance(node.document, Unknown):
        return False
    path = node.daemon.config
    data = next((i.data for i in node.desired.items if isinstance(i, File) and i.path == path), b"")
    wanted_, found = toml.loads(data, path), dict(node.document)
    try:
        pull = found["pull_modes"]["parallel_pull_unpack"]
        if pull["discard_unpacked_layers"]:
            return False
        wanted_["pull_modes"]["parallel_pull_unpack"]["discard_unpacked_layers"] = False
    except (KeyError, TypeError):
        return False
    return wanted_ == found

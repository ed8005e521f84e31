"""Checks of containerd: what its files amount to, which only `containerd config dump` tells."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL
from soci_bootstrap.doctor.observe.node import Node

_COUNTS_SINCE = (1, 7, 16)
_REWIRE = f"{INSTALL}, then restart containerd on a drained node, or reboot"


def active(node: Node) -> Finding:
    """It runs."""
    expected = "containerd.service active"
    unit = node.unit(paths.CONTAINERD_SERVICE)
    if isinstance(unit, Unknown):
        return unit.judged(expected)
    if unit.load != "loaded":
        return skip(f"no {paths.CONTAINERD_SERVICE} on this node", expected)
    if unit.active != "active":
        return fail(f"{unit.active} ({unit.sub}, {unit.result})", expected, "see journalctl -b -u containerd")
    return ok("active", expected)


def version(node: Node) -> Finding:
    """It is new enough to count SOCI's disk use."""
    expected = "1.7.16 or newer"
    found = node.containerd.version
    if found is None:
        return skip("unknown" if node.containerd.present else "no containerd on this node", expected)
    text = ".".join(map(str, found))
    if found < _COUNTS_SINCE:
        # True of every node of that AMI, and nothing on the node repairs it: no verdict hangs on it.
        return ok(f"{text}, which does not count SOCI's disk use in kubelet's image statistics", expected)
    return ok(text, expected)


def dump(node: Node) -> Finding:
    """Its configuration can be read as it reads it itself."""
    expected = "`containerd config dump` to work"
    found = node.containerd.effective
    if not isinstance(found, Unknown):
        return ok("it does", expected)
    return fail(found.why, expected, found.remedy) if found.remedy else found.judged(expected)


def imports(node: Node) -> Finding:
    """No imported file names another snapshotter, as a GPU toolkit's copy of the CRI section may."""
    expected = "no imported file that names another snapshotter"
    others = node.containerd.others
    if isinstance(others, Unknown):
        return others.judged(expected)
    if not others or node.failed_open:
        return ok("none", expected)
    names = ", ".join(f"{path} ({name})" for path, name in others)
    effective = node.containerd.effective
    if isinstance(effective, Effective) and effective.snapshotter == "soci":
        return ok(f"{names}, without effect", expected)
    return fail(f"{names} shadows the wiring", expected, 'take `snapshotter` out of it, or set it to "soci"')


def snapshotter(node: Node) -> Finding:
    """CRI pulls with SOCI."""
    expected = "soci"
    found = _effective(node).snapshotter
    if found == "soci":
        return ok(found, expected)
    if node.failed_open:
        return warn(f"{found}, since the node failed open", expected, "see failed-open")
    if _user_wires(node):
        return warn(found, expected, "wire it in your NodeConfig: --wiring none leaves that to you")
    return fail(found, expected, _REWIRE)


def plugin(node: Node) -> Finding:
    """It knows SOCI, at the socket on which SOCI listens."""
    expected = f"proxy_plugins.soci at {node.daemon.address}"
    effective = _effective(node)
    if not effective.plugin:
        return fail("no proxy_plugins.soci", expected, _REWIRE)
    if effective.address != node.daemon.address:
        return fail(effective.address or "no address", expected, _REWIRE)
    return ok(effective.address, expected)


def exports(node: Node) -> Finding:
    """Kubelet's image statistics look at the disk that the daemon uses."""
    expected = f"exports.root {node.daemon.root}, the daemon's"
    root = _effective(node).root
    version = node.containerd.version
    if not root and version is not None and version < _COUNTS_SINCE:
        return skip("this containerd knows no exports", expected)
    if not root:
        return warn("no exports.root: kubelet counts no image's disk use", expected, _REWIRE)
    if root.rstrip("/") != node.daemon.root.rstrip("/"):
        return fail(root, expected, _REWIRE)
    return ok(root, expected)


def annotated(node: Node) -> Finding:
    """SOCI is told what to pull: without annotations it can't pull in parallel."""
    expected = "disable_snapshot_annotations = false"
    effective = _effective(node)
    if effective.annotations or effective.snapshotter != "soci":
        return ok("false" if effective.annotations else "not wired", expected)
    return fail("disable_snapshot_annotations = true: SOCI is not told of layers", expected, _REWIRE)


def unpacks(node: Node) -> Finding:
    """Containerd's own parallel unpacking breaks remote snapshotters (containerd issue 13264)."""
    expected = "max_concurrent_unpacks = 1 in containerd's transfer plugin"
    found = _effective(node).unpacks
    if found > 1:
        return warn(
            f"{found}, which breaks proxy snapshotters (containerd issue 13264)",
            expected,
            "take it out of your containerd configuration: SOCI unpacks in parallel by itself",
        )
    return ok(str(found), expected)


def registries(node: Node) -> Finding:
    """Parallel pull reads no hosts.toml: what it says of mirrors and certificates goes unheeded."""
    expected = "no mirror, CA, client certificate or skip_verify, or a registry that can be reached directly"
    found, answers = node.registries, node.reachable
    if isinstance(found, Unknown):
        return found.judged(expected)
    if isinstance(answers, Unknown):
        return answers.judged(expected)
    if not found:
        return ok("none", expected)
    listed = "; ".join(
        f"{told.name} ({told.why} in {told.source}; itself: {_answer(answers.get(told.name))})"
        for told in found
    )
    if any(answers.values()):
        return fail(
            f"SOCI ignores it: {listed}",
            expected,
            "let the node reach the registry itself (VPC endpoint, proxy, trust), or leave SOCI out here",
        )
    return warn(
        f"SOCI ignores it and asks the registry itself: {listed}",
        expected,
        "no harm while these registries can be reached directly; remove the mirror where it must be used",
    )


def _answer(why_not: str | None) -> str:
    return "not asked" if why_not is None else why_not or "answers"


def _effective(node: Node) -> Effective:
    found = node.containerd.effective
    return Effective() if isinstance(found, Unknown) else found


def _user_wires(node: Node) -> bool:
    record = node.recorded
    return bool(record) and (record.wiring.get("mode") if record else "") == "none"

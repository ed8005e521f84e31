"""How what stands at a path differs from what this tool put there, or would put there now."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.plan import steps
from soci_bootstrap.plan.items import Absent, File, Link, managed_of
from soci_bootstrap.state.record import Managed
from soci_bootstrap.state.wiring import from_json as wired_from_json

INSTALL = "run `soci-bootstrap install`"


def wanted(node: Node) -> dict[str, tuple[Managed, ...]]:
    """By path, what may stand there: as recorded, and as the node's present facts would have it."""
    record = node.recorded
    found: dict[str, tuple[Managed, ...]] = {
        path: (managed,) for path, managed in (record.managed if record else {}).items()
    }
    for path, managed in desired(node).items():
        found[path] = (*found.get(path, ()), managed)
    return found


def desired(node: Node) -> dict[str, Managed]:
    """By path, what an install would put there now; empty where that isn't known, or none was asked for."""
    if isinstance(node.desired, Unknown) or node.foreign:
        return {}
    return {
        item.path: managed_of(item) for item in node.desired.items if isinstance(item, (File, Link, Absent))
    }


def difference(held: steps.Observed, choices: tuple[Managed, ...]) -> str:
    """Describe how a path differs from all of ``choices``; empty where it is one of them."""
    if not choices or any(matches(held, managed) for managed in choices):
        return ""
    if len(choices) == 1 and choices[0].merged and held.entry.kind == "file":
        # Another's file, and what our part of it would be now isn't known: not ours to complain of.
        return ""
    managed, entry = choices[0], held.entry
    if entry.kind == "absent":
        return "missing"
    if managed.kind == "absent":
        return "there, though it was removed"
    if entry.kind != managed.kind:
        target = f" to {entry.target}" if entry.target else ""
        return f"a {entry.kind}{target} instead of a {managed.kind}"
    if managed.kind == "link":
        return f"leads to {entry.target} instead of {managed.target}"
    if all(held.sha256 != choice.sha256 for choice in choices):
        return "edited"
    return f"mode {entry.mode:04o} instead of {managed.mode:04o}"


def matches(held: steps.Observed, managed: Managed) -> bool:
    """Tell whether a path still is what was put there."""
    entry = held.entry
    if entry.kind != managed.kind:
        return False
    if managed.kind == "file":
        # A daemon about to be put there has no digest yet.
        return entry.mode == managed.mode and held.sha256 in {managed.sha256 or held.sha256, *managed.earlier}
    return managed.kind != "link" or entry.target == managed.target


def own(node: Node, path: str) -> Finding:
    """The finding for one file of ours: missing is a failure, edited a warning, unknown neither."""
    expected = f"{path} as installed"
    held = node.files.get(path, steps.Observed())
    if isinstance(held, Unknown):
        return held.judged(expected)
    if node.foreign:
        return skip("SOCI was not installed by soci-bootstrap", expected)
    if held.entry.kind == "link" and held.entry.target == "/dev/null":
        return fail("masked: it is a link to /dev/null", expected, f"remove {path}, then {INSTALL}")
    choices = wanted(node).get(path, ())
    if held.entry.kind == "absent":
        if any(choice.kind == "absent" for choice in choices):
            return ok(f"nothing at {path}, and nothing is needed there", expected)
        return fail(f"nothing at {path}", expected, INSTALL)
    if isinstance(node.record, Unknown) and not choices:
        return skip(node.record.why, expected)
    differs = difference(held, choices)
    if differs:
        return warn(f"{path}: {differs}", expected, f"{INSTALL}, which puts it back")
    return ok(path, expected)


def rewired(node: Node) -> frozenset[str]:
    """Paths that failing open changes: there they differ from what was installed, as they should."""
    record = node.recorded
    wired = wired_from_json(record.wiring) if record else None
    if wired is None or not node.failed_open:
        return frozenset()
    return frozenset({paths.NODEADM_DROPIN, wired.containerd_config, wired.kubelet_config}) | frozenset(
        path for path in wanted(node) if wired.kubelet_dir and path.startswith(f"{wired.kubelet_dir}/")
    )

"""Checks of what everything else rests on: who asks, the machine, the record, the agent, every file."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import NEEDS_ROOT, Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL, difference, own, rewired, wanted
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import steps
from soci_bootstrap.state.record import Outcome

_LISTED = 5


def privileges(node: Node) -> Finding:
    """Without root half of the node is hidden, and a verdict over the other half is a guess."""
    expected = "root"
    if node.root:
        return ok("root", expected)
    if not node.live and node.record != Unknown(NEEDS_ROOT):
        return ok("not needed below --root", expected)
    return warn("an unprivileged user: what needs root is skipped", expected, "run it with sudo")


def platform(node: Node) -> Finding:
    """SOCI is published for this architecture."""
    expected = " or ".join(release.ARCHITECTURES)
    if isinstance(node.arch, Unknown):
        return fail(node.arch.why, expected, "leave soci-bootstrap out of this node group's userData")
    machine = node.machine
    size = (
        ""
        if isinstance(machine, Unknown)
        else f", {machine.vcpus} vCPU, {machine.memory_bytes / (1 << 30):.1f} GiB"
    )
    return ok(f"{node.arch}{size}", expected)


def record(node: Node) -> Finding:
    """The record that install left can be read: the hooks and the boot-time unit need it."""
    expected = f"{paths.RECORD}, as install writes it"
    if isinstance(node.record, Unknown):
        return node.record.judged(expected)
    if node.record is None:
        if node.absent:
            return skip("none", expected)
        return warn(
            "none: what is here was not installed by soci-bootstrap, or its record was lost",
            expected,
            INSTALL,
        )
    found = node.record
    if found.outcome is Outcome.ROLLING_BACK:
        return fail("a rollback was cut short", expected, "run `soci-bootstrap rollback`: it goes on")
    if found.outcome is Outcome.AT_WORK:
        return warn("a run is at work, or was cut short", expected, f"{INSTALL}: it goes on")
    return ok(f"{found.outcome.value}, by soci-bootstrap {found.agent or 'of unknown version'}", expected)


def installed(node: Node) -> Finding:
    """There is something to look at; a node that is none of ours says so once."""
    expected = "SOCI installed on this node"
    found = node.recorded
    if found and found.outcome is Outcome.FAILED and not found.wiring:
        why = f"failed open: {node.failed_open}" if node.failed_open else "failed, and was taken back"
        return fail(f"the install {why}", expected, f"remove the cause, then {INSTALL[4:]}")
    if node.absent:
        return warn("never installed: neither a record nor a file of it", expected, INSTALL)
    if _anything(node):
        return ok("yes", expected)
    # Nothing of it, and `record` says why that is no proof.
    return skip(node.record.why if isinstance(node.record, Unknown) else "no SOCI", expected)


def python(node: Node) -> Finding:
    """The agent, and so the hooks and the boot-time unit, run on the node's Python."""
    expected = paths.PYTHON
    if isinstance(node.python, Unknown):
        return node.python.judged(expected)
    if node.python:
        return ok(expected, expected)
    return warn(
        "no /usr/bin/python3: the hooks that keep this node safe can't run",
        expected,
        "install python3",
    )


def agent(node: Node) -> Finding:
    """The agent is where the hooks call it, and executable."""
    held = node.files.get(paths.AGENT, steps.Observed())
    found = own(node, paths.AGENT)
    mode = held.entry.mode if isinstance(held, steps.Observed) and held.entry.kind == "file" else 0o111
    if found.status in {"ok", "skip"} and not mode & 0o111:
        return fail(
            f"{paths.AGENT} is not executable", f"{paths.AGENT} as installed", f"chmod 755 {paths.AGENT}"
        )
    return found


def files(node: Node) -> Finding:
    """Every other file of ours is as it was put."""
    expected = "every managed file as it was installed"
    if node.recorded is None:
        why = node.record.why if isinstance(node.record, Unknown) else "no record"
        return skip(why, expected)
    apart, drifted, hidden = rewired(node), [], 0
    known = wanted(node)
    for path, held in node.files.items():
        if path in apart or path not in node.recorded.managed or path == node.daemon.program:
            continue
        if isinstance(held, Unknown):
            hidden += 1
        elif differs := difference(held, known[path]):
            drifted.append(f"{path}: {differs}")
    if drifted:
        more = f"; and {len(drifted) - _LISTED} more" if len(drifted) > _LISTED else ""
        return warn(
            "; ".join(drifted[:_LISTED]) + more,
            expected,
            f"{INSTALL}, which puts them back; move edits that are meant to last into its settings",
        )
    unread = f", {hidden} of them unreadable" if hidden else ""
    return ok(f"{len(node.recorded.managed)} as installed{unread}", expected)


def _anything(node: Node) -> bool:
    """Something of SOCI is on this node, whoever put it there."""
    entry = node.binary.entry
    found = node.recorded
    there = not isinstance(entry, Unknown) and entry.kind != "absent"
    return there or node.service_file != "" or bool(found and found.managed)

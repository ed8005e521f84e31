"""Checks of SOCI's running daemon."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, warn
from soci_bootstrap.doctor.observe.node import Node

_OFTEN = 3
"""Restarts in one boot that are no accident any more."""
_MEMORY_SHARE = 8
_MEMORY_MIN = 512 << 20
_RESTART = f"systemctl restart {paths.SOCI_SERVICE} (its snapshots and running containers are kept)"
_SIGNATURES = (
    (
        "compressed digests did not match",
        "a layer of it lies in the content store (SOCI issue 2035): install again, which copes with it",
    ),
    ("no space left on device", "free space below SOCI's root, or give the node a larger disk"),
    ("too many open files", "run `soci-bootstrap install`, which sets the unit's LimitNOFILE"),
)


def socket_active(node: Node) -> Finding:
    """Systemd listens for it."""
    expected = f"{paths.SOCI_SOCKET} active"
    unit = node.unit(paths.SOCI_SOCKET)
    if isinstance(unit, Unknown):
        return unit.judged(expected)
    if unit.active != "active":
        return fail(
            f"{unit.active} ({unit.result})",
            expected,
            f"systemctl restart {paths.SOCI_SOCKET} {paths.SOCI_SERVICE}",
        )
    return ok(f"active ({unit.sub})", expected)


def service_active(node: Node) -> Finding:
    """It runs."""
    expected = f"{paths.SOCI_SERVICE} active"
    unit = node.unit(paths.SOCI_SERVICE)
    if isinstance(unit, Unknown):
        return unit.judged(expected)
    if unit.active != "active":
        last = "" if isinstance(node.errors, Unknown) or not node.errors else f": {node.errors[-1][:300]}"
        return fail(
            f"{unit.active} ({unit.sub}, {unit.result}){last}",
            expected,
            f"systemctl restart {paths.SOCI_SERVICE}; if it ends again: "
            f"journalctl -b -u {paths.SOCI_SERVICE}",
        )
    return ok(f"active, process {unit.pid}", expected)


def answers(node: Node) -> Finding:
    """It answers as a gRPC server; that something listens proves nothing."""
    expected = f"a gRPC server at {node.daemon.address}"
    if isinstance(node.answers, Unknown):
        return node.answers.judged(expected)
    if not node.answers:
        return fail("no answer: every pull waits for it", expected, _RESTART)
    return ok("it answers", expected)


def restarts(node: Node) -> Finding:
    """It was not restarted again and again."""
    expected = f"fewer than {_OFTEN} restarts"
    unit = node.unit(paths.SOCI_SERVICE)
    if isinstance(unit, Unknown):
        return unit.judged(expected)
    if unit.restarts >= _OFTEN:
        return warn(
            f"{unit.restarts} restarts in this boot", expected, f"see journalctl -b -u {paths.SOCI_SERVICE}"
        )
    return ok(str(unit.restarts), expected)


def current(node: Node) -> Finding:
    """It runs what is installed: neither its program nor its configuration changed since it started."""
    expected = "started after its program and configuration were last changed"
    if isinstance(node.process.deleted, Unknown):
        return node.process.deleted.judged(expected)
    changed = list(node.process.older_than)
    if node.process.deleted and node.daemon.program not in changed:
        changed.insert(0, node.daemon.program)
    if changed:
        return warn(f"changed since: {', '.join(changed)}", expected, _RESTART)
    return ok("it was", expected)


def memory(node: Node) -> Finding:
    """Its own memory; it grows while idle (SOCI issue 1850)."""
    machine = node.machine
    limit = _MEMORY_MIN
    if not isinstance(machine, Unknown):
        limit = max(limit, machine.memory_bytes // _MEMORY_SHARE)
    expected = f"less than {limit >> 20} MiB, page cache aside"
    found = node.process.resident
    if isinstance(found, Unknown):
        return found.judged(expected)
    if found >= limit:
        return warn(f"{found >> 20} MiB", expected, f"{_RESTART}: it grows while idle (SOCI issue 1850)")
    return ok(f"{found >> 20} MiB", expected)


def journal(node: Node) -> Finding:
    """The last errors of the running daemon; a registry's refusal is no fault of the node's."""
    expected = "no error that means trouble"
    if isinstance(node.errors, Unknown):
        return node.errors.judged(expected)
    for line in reversed(node.errors):
        for text, hint in _SIGNATURES:
            if text in line.lower():
                return warn(line[:300], expected, hint)
    unit = node.unit(paths.SOCI_SERVICE)
    if node.errors and not isinstance(unit, Unknown) and unit.active != "active":
        return warn(
            " | ".join(e[:200] for e in node.errors[-3:]), expected, f"journalctl -b -u {paths.SOCI_SERVICE}"
        )
    if node.errors:
        return ok(f"{len(node.errors)} errors, the last: {node.errors[-1][:200]}", expected)
    return ok("none", expected)

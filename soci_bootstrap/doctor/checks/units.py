"""Checks of the systemd side: files, enablement, and that systemd has read them."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import own, wanted
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.plan import steps

SERVICE_FILE = f"{paths.UNITS}/{paths.SOCI_SERVICE}"
SOCKET_FILE = f"{paths.UNITS}/{paths.SOCI_SOCKET}"
SERVICE_DROPIN = f"{paths.UNITS}/{paths.SOCI_SERVICE}.d/{paths.UNIT_DROPIN}"
BOOT_FILE = f"{paths.UNITS}/{paths.BOOT_SERVICE}"
LINKS = {
    paths.SOCI_SOCKET: f"{paths.UNITS}/sockets.target.wants/{paths.SOCI_SOCKET}",
    paths.SOCI_SERVICE: f"{paths.UNITS}/{paths.CONTAINERD_SERVICE}.wants/{paths.SOCI_SERVICE}",
    paths.BOOT_SERVICE: f"{paths.UNITS}/multi-user.target.wants/{paths.BOOT_SERVICE}",
}


def service(node: Node) -> Finding:
    """SOCI's service unit: ours, or the AMI's where that brings one."""
    return _unit_file(node, SERVICE_FILE, node.service_file)


def socket(node: Node) -> Finding:
    """SOCI's socket unit."""
    return _unit_file(node, SOCKET_FILE, node.socket_file)


def service_dropin(node: Node) -> Finding:
    """The drop-in that names the daemon's root and configuration."""
    return own(node, SERVICE_DROPIN)


def hooks(node: Node) -> Finding:
    """Containerd's drop-in, without which nothing guards its start; and systemd goes by it."""
    found = own(node, paths.CONTAINERD_DROPIN)
    unit = node.unit(paths.CONTAINERD_SERVICE)
    if found.status != "ok" or isinstance(unit, Unknown) or unit.load != "loaded":
        return found
    if paths.CONTAINERD_DROPIN not in unit.dropins:
        return warn(
            "systemd has not read it yet",
            f"{paths.CONTAINERD_DROPIN} among containerd.service's drop-ins",
            "systemctl daemon-reload",
        )
    return found


def boot(node: Node) -> Finding:
    """The boot-time unit: without it a reboot keeps yesterday's tuning and wiring."""
    found = own(node, BOOT_FILE)
    if found.status == "fail":
        return warn(found.found, found.expected, found.hint)
    return found


def systemd(node: Node) -> Finding:
    """Systemd answers; everything about units and what runs comes from it."""
    expected = "systemctl to answer"
    if not isinstance(node.units, Unknown):
        return ok("it does", expected)
    return (
        fail(node.units.why, expected, node.units.remedy)
        if node.units.remedy
        else node.units.judged(expected)
    )


def masked(node: Node) -> Finding:
    """None of them is masked."""
    expected = "no unit masked"
    if isinstance(node.units, Unknown):
        return node.units.judged(expected)
    names = [
        name
        for name in (paths.SOCI_SERVICE, paths.SOCI_SOCKET, paths.BOOT_SERVICE)
        if "masked" in (node.units[name].load if name in node.units else "")
        or "masked" in (node.units[name].enabled if name in node.units else "")
    ]
    if names:
        return fail(f"masked: {', '.join(names)}", expected, f"systemctl unmask {' '.join(names)}")
    return ok("none", expected)


def enabled(node: Node) -> Finding:
    """They start by themselves at the next boot."""
    expected = f"{paths.SOCI_SOCKET}, {paths.SOCI_SERVICE} and {paths.BOOT_SERVICE} enabled"
    if node.foreign:
        return skip("SOCI was not installed by soci-bootstrap", expected)
    missing = [name for name in LINKS if not _is_enabled(node, name)]
    if missing:
        return warn(f"not enabled: {', '.join(missing)}", expected, f"systemctl enable {' '.join(missing)}")
    return ok("enabled", expected)


def loaded(node: Node) -> Finding:
    """The unit files are the ones that systemd has in memory."""
    expected = "no unit file changed since systemd read it"
    if isinstance(node.units, Unknown):
        return node.units.judged(expected)
    stale = [name for name, unit in node.units.items() if unit.reload]
    if stale:
        return warn(f"changed since: {', '.join(stale)}", expected, "systemctl daemon-reload")
    return ok("none", expected)


def _unit_file(node: Node, path: str, standing: str) -> Finding:
    managed = path in wanted(node)
    held = node.files.get(path, steps.Observed())
    if managed or not standing or (isinstance(held, steps.Observed) and held.entry.kind == "link"):
        return own(node, path)
    if isinstance(node.record, Unknown):
        # What depends on it needs it there; whose it is, and whether edited, only the record tells.
        return ok(f"{standing}; not compared with what was installed: {node.record.why}", "a unit file")
    # The AMI's own, which is never ours to change.
    return ok(f"{standing}, not ours", "a unit file")


def _is_enabled(node: Node, name: str) -> bool:
    held = node.files.get(LINKS[name], steps.Observed())
    if isinstance(held, Unknown) or held.entry.kind == "link":
        return True
    unit = node.unit(name)
    return not isinstance(unit, Unknown) and unit.enabled in {"enabled", "enabled-runtime", "linked"}

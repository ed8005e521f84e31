"""Every check, in the order of causes: the first that is not well names the root of the trouble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor.checks import (
    binary,
    config,
    containerd,
    daemon,
    disks,
    images,
    kubelet,
    nodeadm,
    outcome,
    prerequisites,
    units,
)
from soci_bootstrap.doctor.finding import (
    FAILED_OPEN,
    INSTALLED,
    PLAN,
    PRIVILEGES,
    STAGED,
    Check,
    Finding,
    Status,
    skip,
    warn,
)
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.errors import BootstrapError


@dataclass(frozen=True)
class Rule:
    """One check.

    Attributes:
        id: its name in the contract's document; never changed once released.
        judge: decides it from the observation.
        after: checks that must not have failed, or this one would only repeat them.
        running: it is about what runs, so only where what was installed has taken effect.
        soci: it fails pulls only while containerd is wired: a node that failed open lives without.
    """

    id: str
    judge: Callable[[Node], Finding]
    after: tuple[str, ...] = ()
    running: bool = False
    soci: bool = True


_HERE = (INSTALLED,)
_THERE = (*_HERE, "binary.present")
_PARSED = (*_HERE, "config.present", "config.parses")
_SERVING = (*_HERE, "service.active", "soci.answers")
_SYSTEMD = ("systemd",)
_DUMPED = ("containerd.config",)

RULES: tuple[Rule, ...] = (
    Rule(PRIVILEGES, prerequisites.privileges),
    Rule("platform", prerequisites.platform),
    Rule("record", prerequisites.record),
    Rule(INSTALLED, prerequisites.installed),
    Rule("binary.present", binary.present, _HERE),
    Rule("binary.executable", binary.executable, _THERE),
    Rule("binary.architecture", binary.architecture, _THERE),
    Rule("binary.digest", binary.digest, _THERE),
    Rule("binary.runs", binary.runs, (*_THERE, "binary.executable", "binary.architecture")),
    Rule("binary.version", binary.version, (*_THERE, "binary.runs")),
    Rule("config.present", config.present, _HERE),
    Rule("config.parses", config.parses, (*_HERE, "config.present")),
    Rule("config.rules", config.rules, _PARSED),
    Rule("config.ours", config.ours, (*_HERE, "config.present")),
    Rule("decompressor.present", config.decompressor_present, _PARSED),
    Rule("decompressor.works", config.decompressor_works, (*_PARSED, "decompressor.present")),
    Rule("python", prerequisites.python, _HERE),
    Rule("agent", prerequisites.agent, _HERE),
    Rule("service.unit", units.service, _HERE),
    Rule("service.drop-in", units.service_dropin, _HERE),
    Rule("socket.unit", units.socket, _HERE),
    Rule("containerd.hooks", units.hooks, _HERE),
    Rule("boot-unit", units.boot, _HERE),
    Rule("units.enabled", units.enabled, _HERE),
    Rule("systemd", units.systemd, soci=False),
    Rule("units.masked", units.masked, (*_HERE, *_SYSTEMD)),
    Rule("units.loaded", units.loaded, (*_HERE, *_SYSTEMD)),
    Rule("node-config", nodeadm.readable, soci=False),
    Rule("node-config.drop-in", nodeadm.dropin, _HERE),
    Rule("node-config.later", nodeadm.later, _HERE),
    Rule("node-config.gate", nodeadm.gate),
    Rule("files", prerequisites.files, _HERE),
    Rule(STAGED, outcome.staged, _HERE),
    Rule(FAILED_OPEN, outcome.failed_open),
    Rule("containerd.active", containerd.active, _SYSTEMD, running=True, soci=False),
    Rule(
        "socket.active",
        daemon.socket_active,
        (*_HERE, *_SYSTEMD, "socket.unit", "units.masked"),
        running=True,
    ),
    Rule(
        "service.active",
        daemon.service_active,
        (*_HERE, *_SYSTEMD, "binary.present", "service.unit", "units.masked"),
        running=True,
    ),
    Rule("soci.answers", daemon.answers, (*_HERE, "service.active"), running=True),
    Rule("service.restarts", daemon.restarts, (*_HERE, *_SYSTEMD, "service.unit"), running=True),
    Rule("service.current", daemon.current, (*_HERE, "service.active"), running=True),
    Rule("service.memory", daemon.memory, (*_HERE, "service.active"), running=True),
    Rule("service.journal", daemon.journal, (*_HERE, "service.unit"), running=True),
    Rule("disk.database", disks.database, (*_HERE, "service.active"), running=True),
    Rule("disk.array", disks.array, _HERE),
    Rule("disk.shared", disks.shared, _HERE),
    Rule("disk.space", disks.space, soci=False),
    Rule("disk.inodes", disks.inodes, soci=False),
    Rule("containerd.version", containerd.version, soci=False),
    Rule("containerd.config", containerd.dump, soci=False),
    Rule("containerd.imports", containerd.imports, _HERE),
    Rule("containerd.snapshotter", containerd.snapshotter, (*_HERE, *_DUMPED), running=True),
    Rule("containerd.plugin", containerd.plugin, (*_HERE, *_DUMPED), running=True),
    Rule("containerd.exports", containerd.exports, (*_HERE, "containerd.plugin"), running=True),
    Rule("containerd.annotations", containerd.annotated, (*_HERE, *_DUMPED), running=True),
    Rule("containerd.unpacks", containerd.unpacks, _DUMPED),
    Rule("containerd.registries", containerd.registries),
    Rule("kubelet.active", kubelet.active, _SYSTEMD, soci=False),
    Rule("kubelet.endpoint", kubelet.endpoint, running=True, soci=False),
    Rule("content.layers", images.layers, _PARSED),
    Rule("snapshot.probe", images.probe, (*_SERVING, "containerd.active", "containerd.plugin"), running=True),
    Rule(
        "image.pause", images.pause, (*_SERVING, "containerd.active", "containerd.snapshotter"), running=True
    ),
    Rule("snapshots", images.snapshots, ("containerd.active",), running=True),
    Rule("facts", outcome.decidable, _HERE),
    Rule(PLAN, outcome.plan, (*_HERE, "facts")),
)


def judge(node: Node) -> tuple[Check, ...]:
    """Every check's finding, in order; a check that fails to judge is a finding too."""
    waiting = outcome.waiting(node)
    findings: dict[str, Finding] = {}
    for rule in RULES:
        findings[rule.id] = _found(rule, node, waiting, findings)
    return tuple(_check(rule, findings[rule.id], node) for rule in RULES)


def unlooked(why: str) -> tuple[Check, ...]:
    """Every check of a doctor that did not get as far as looking, in order."""
    return tuple(Check(rule.id, Status.SKIP, f"not looked at: {why}", "doctor to run", "") for rule in RULES)


def _check(rule: Rule, found: Finding, node: Node) -> Check:
    harmless = found.status is Status.FAIL and _harmless(node, rule)
    status = Status.WARN if harmless else found.status
    return Check(rule.id, status, found.found, found.expected, found.hint)


def _found(rule: Rule, node: Node, waiting: str, before: Mapping[str, Finding]) -> Finding:
    if rule.running and waiting:
        return skip(waiting, "looked at once it takes effect")
    for name in rule.after:
        if before[name].status is Status.FAIL or (name == INSTALLED and before[name].status is Status.WARN):
            return skip(f"not looked at, see {name}", f"{name} to be well first")
        if before[name].status is Status.SKIP:
            return skip(before[name].found, f"{name} to be well first")
    try:
        return rule.judge(node)
    except Exception as error:  # noqa: BLE001 - one check's bug must not hide the others
        found = str(error) if isinstance(error, BootstrapError) else f"{type(error).__name__}: {error}"
        return warn(f"the check itself failed: {found}", "a check that ends", "report this as a bug")


def _harmless(node: Node, rule: Rule) -> bool:
    """Tell whether pulls go on without SOCI: nothing installed, or containerd pulls with something else.

    Where it is hidden whether the node failed open, it may have.
    """
    if not rule.soci:
        return node.absent
    known = isinstance(node.containerd.effective, Effective)
    return node.absent or (not node.wired and (node.hidden or (bool(node.failed_open) and known)))

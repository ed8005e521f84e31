"""Every check by itself: a node that is well, one thing about it changed, and what is then said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from soci_bootstrap.configfiles import soci, toml
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap.doctor import table
from soci_bootstrap.doctor.checks.units import LINKS, SERVICE_DROPIN, SERVICE_FILE, SOCKET_FILE
from soci_bootstrap.doctor.finding import EXIT_STATUS, NEEDS_ROOT, Check, Status, Unknown, attempt, verdict
from soci_bootstrap.doctor.observe.files import PATHS
from soci_bootstrap.doctor.observe.node import (
    Binary,
    Containerd,
    Disk,
    Images,
    Node,
    Process,
    Unit,
)
from soci_bootstrap.doctor.rules import RULES, judge
from soci_bootstrap.errors import CommandError, StateError
from soci_bootstrap.facts.content_store import ContentStore
from soci_bootstrap.facts.kubelet import ARGUMENTS, Endpoint
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.facts.registries import Registry
from soci_bootstrap.paths import (
    AGENT,
    CONTAINERD_DROPIN,
    DAEMON,
    GATE_DROPIN,
    NODEADM_DROPIN,
    SOCI_ADDRESS,
    SOCI_CONFIG,
    SOCI_ROOT,
)
from soci_bootstrap.plan.desired import Desired
from soci_bootstrap.plan.items import Absent, File
from soci_bootstrap.plan.steps import Observed as Held
from soci_bootstrap.plan.tuning import tune
from soci_bootstrap.plan.wiring import Wiring
from soci_bootstrap.state.health import State
from soci_bootstrap.state.record import Binary as Recorded
from soci_bootstrap.state.record import Managed, Outcome, Phase, Record
from soci_bootstrap.system.tree import ABSENT, Entry

GIB = 1 << 30
UNPIGZ = Decompressor("unpigz", "/usr/bin/unpigz", ("-d", "-c"))
PULL = tune(Machine(8, 32 * GIB), UNPIGZ, discard_unpacked_layers=True)
TEXT = soci.render(PULL)
PAUSE = "localhost/kubernetes/pause:latest"
ENDPOINT = f"unix://{SOCI_ADDRESS}"
CONTAINERDS = "unix:///run/containerd/containerd.sock"
SERVICE, SOCKET, BOOT = "soci-snapshotter.service", "soci-snapshotter.socket", "soci-bootstrap.service"
TARGETS = {path: f"/etc/systemd/system/{name}" for name, path in LINKS.items()}
FILES = (*(path for path in PATHS if path not in TARGETS), AGENT, NODEADM_DROPIN)
WIRED = {
    "mode": "nodeadm",
    "dialect": "v3",
    "address": SOCI_ADDRESS,
    "root": SOCI_ROOT,
    "static": False,
    "containerd_config": "/etc/containerd/config.toml",
    "kubelet_config": "/etc/kubernetes/kubelet/config.json",
    "kubelet_dir": "/etc/kubernetes/kubelet/config.json.d",
    "fallback": "",
}


def digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def mode(path: str) -> int:
    return 0o755 if path == AGENT else 0o644


MANAGED = {
    **{path: Managed("file", mode(path), digest(path)) for path in FILES},
    **{path: Managed("link", target=target) for path, target in TARGETS.items()},
    SOCI_CONFIG: Managed("file", 0o644, hashlib.sha256(TEXT).hexdigest()),
    DAEMON: Managed("file", 0o755, digest(DAEMON)),
}
HELD: dict[str, Any] = {
    **{path: Held(Entry("file", mode(path)), digest(path)) for path in FILES},
    **{path: Held(Entry("link", target=target)) for path, target in TARGETS.items()},
    SOCI_CONFIG: Held(Entry("file", 0o644), hashlib.sha256(TEXT).hexdigest()),
}
RECORD = Record(
    outcome=Outcome.INSTALLED,
    agent="1.0",
    boot_id="this",
    binary=Recorded(DAEMON, "0.15.0", "amd64", "a" * 64, digest(DAEMON), 60, 1, 2),
    managed=MANAGED,
    wiring=WIRED,
)
DESIRED = Desired(
    (File("config", SOCI_CONFIG, TEXT, Phase.CONFIGURATION),),
    Wiring("nodeadm", "v3", SOCI_ADDRESS, SOCI_ROOT, False, (), None),
    UNPIGZ,
    DAEMON,
    SOCI_CONFIG,
    "0.15.0",
    None,
)
UNITS = {
    SERVICE: Unit("loaded", "active", "running", "enabled", (SERVICE_DROPIN,), pid=7, started=9.0),
    SOCKET: Unit("loaded", "active", "running", "enabled", started=8.0),
    "containerd.service": Unit("loaded", "active", "running", "", (CONTAINERD_DROPIN,), started=9.5),
    "kubelet.service": Unit("loaded", "active", "running", started=10.0),
    BOOT: Unit("loaded", "inactive", "dead", "enabled", started=0.0),
}
EFFECTIVE = Effective("soci", True, True, SOCI_ADDRESS, SOCI_ROOT, PAUSE)
DISK = Disk(1, "/dev/nvme0n1p1", 50 * GIB, 100 * GIB, 900_000, 1_000_000)
WELL = Node(
    boot_id="this",
    machine=Machine(8, 32 * GIB),
    record=RECORD,
    desired=DESIRED,
    binary=Binary(
        Entry("file", 0o755, size=60),
        "amd64",
        sha256=digest(DAEMON),
        version=(0, b"soci-snapshotter-grpc version v0.15.0 abc\n"),
    ),
    config=TEXT,
    document=toml.loads(TEXT, "x"),
    decompressor="/usr/bin/unpigz",
    decompressor_entry=Entry("file", 0o755),
    decompressor_works="",
    files=HELD,
    service_file=SERVICE_FILE,
    socket_file=SOCKET_FILE,
    units=UNITS,
    answers=True,
    process=Process(40 << 20),
    errors=(),
    node_config=NodeConfig(),
    containerd=Containerd(True, (2, 1, 9), effective=EFFECTIVE),
    endpoint=Endpoint(ENDPOINT, "/etc/kubernetes/kubelet/config.json"),
    store=ContentStore(),
    pause_cached=True,
    images=Images("", {PAUSE: True}, 3, 1, False),
    soci_disk=DISK,
    containerd_disk=DISK,
    registries=(),
)


def checked(node: Node) -> dict[str, Check]:
    return {check.id: check for check in judge(node)}


def document(**pull: object) -> Mapping[str, Any]:
    found = toml.loads(TEXT, "x")
    found["pull_modes"]["parallel_pull_unpack"].update(pull)
    return found


def held(path: str, found: object) -> Node:
    return replace(WELL, files={**HELD, path: found})


def unit(name: str, **changed: Any) -> Node:
    return replace(WELL, units={**UNITS, name: replace(UNITS[name], **changed)})


def effective(**changed: Any) -> Node:
    return replace(WELL, containerd=replace(WELL.containerd, effective=replace(EFFECTIVE, **changed)))


def binary(**changed: Any) -> Node:
    return replace(WELL, binary=replace(WELL.binary, **changed))


def recorded(**changed: Any) -> Node:
    return replace(WELL, record=replace(RECORD, **changed))


def disk(**changed: Any) -> Node:
    return replace(WELL, soci_disk=replace(DISK, **changed))


def machine(vcpus: int, gib: float, config: NodeConfig, **changed: Any) -> Node:
    return replace(WELL, machine=Machine(vcpus, int(gib * GIB)), node_config=config, **changed)


def wants(data: bytes) -> Desired:
    return replace(DESIRED, items=(File("config", SOCI_CONFIG, data, Phase.CONFIGURATION),))


MIRRORED = (Registry("r.example", "a mirror", "/x"),)
FAILED_OPEN = State(degraded="SOCI did not answer", at="2026-01-01T00:00:00Z", boot_id="this")
UNWIRED = replace(effective(snapshotter="overlayfs"), state=FAILED_OPEN)
NOTHING = Node(arch="amd64", units={}, answers=Unknown("no"))


def kubelet(**changed: Any) -> Node:
    return unit("kubelet.service", **changed)


STAGED_NOW = replace(RECORD, outcome=Outcome.STAGED)
DEAD = {**UNITS, SERVICE: replace(UNITS[SERVICE], active="failed")}
HIDDEN = replace(WELL, record=Unknown(NEEDS_ROOT), desired=Unknown(NEEDS_ROOT), state=Unknown(NEEDS_ROOT))
MAYBE_OPEN = replace(HIDDEN, root=False, containerd=effective(snapshotter="overlayfs").containerd)
"""A node that failed open, or was never switched, to a user that may not see which."""
FOREIGN = replace(
    WELL,
    record=None,
    files={},
    service_file="/usr/lib/systemd/system/soci-snapshotter.service",
    socket_file="/usr/lib/systemd/system/soci-snapshotter.socket",
)
STOCK = replace(
    FOREIGN, containerd=effective(snapshotter="overlayfs", plugin=False).containerd, endpoint=Endpoint()
)
"""An AMI that brings SOCI, which nobody wired."""
BY_ANOTHER = FOREIGN
"""The same, and the FastImagePull gate or a static NodeConfig wired it."""


@dataclass(frozen=True)
class Case:
    """A node, the check in question, its status, and a word of what it found."""

    check: str
    node: Node
    status: str
    found: str = ""
    verdict: str = ""


def without_dropin() -> Node:
    return recorded(managed={path: managed for path, managed in MANAGED.items() if path != NODEADM_DROPIN})


WIRED_BY_THE_USER = replace(DESIRED, items=(Absent("wiring", NODEADM_DROPIN, Phase.WIRING),))
SMALLER = tune(Machine(2, 4 * GIB), UNPIGZ, discard_unpacked_layers=True)
KEEPING = tune(Machine(8, 32 * GIB), UNPIGZ, discard_unpacked_layers=False)
EDITED = Held(Entry("file", 0o644), "0" * 64)
GONE = Held(ABSENT)
CASES = [
    Case("privileges", replace(WELL, root=False), "warn", "unprivileged", "unknown"),
    Case("privileges", replace(WELL, root=False, live=False), "ok", "below --root"),
    Case(
        "privileges",
        replace(WELL, root=False, live=False, record=Unknown(NEEDS_ROOT)),
        "warn",
        "unprivileged",
        "unknown",
    ),
    Case("platform", replace(WELL, arch=Unknown("not for riscv64", "leave it out")), "fail", "riscv64"),
    Case("record", replace(WELL, record=None), "warn", "none", "degraded"),
    Case(
        "record",
        replace(WELL, record=Unknown("record.json can't be used", "install")),
        "warn",
        "can't be used",
    ),
    Case("record", replace(WELL, record=Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case("record", recorded(outcome=Outcome.AT_WORK), "warn", "cut short"),
    Case("record", recorded(outcome=Outcome.ROLLING_BACK), "fail", "rollback was cut short", "broken"),
    Case("installed", NOTHING, "warn", "never installed", "absent"),
    Case("installed", STOCK, "warn", "never installed", "absent"),
    Case("installed", recorded(outcome=Outcome.FAILED, wiring=None), "fail", "failed, and was taken back"),
    Case("installed", replace(STOCK, root=False), "warn", "never installed", "absent"),
    Case("installed", replace(STOCK, soci_disk=replace(DISK, free=0)), "warn", "never installed", "absent"),
    Case("installed", replace(NOTHING, record=Unknown("broken", "mend it")), "skip", "broken", "degraded"),
    Case("installed", replace(NOTHING, record=Unknown(NEEDS_ROOT), root=False), "skip", "", "unknown"),
    Case("record", BY_ANOTHER, "warn", "not installed by soci-bootstrap", "degraded"),
    Case("agent", BY_ANOTHER, "skip", "not installed by soci-bootstrap"),
    Case("service.unit", BY_ANOTHER, "ok", "not ours"),
    Case("service.active", replace(BY_ANOTHER, units=DEAD), "fail", "failed", "broken"),
    Case(
        "installed",
        replace(
            UNWIRED, record=Record(outcome=Outcome.FAILED, managed=MANAGED), state=State(degraded="no route")
        ),
        "warn",
        "no route",
        "degraded",
    ),
    Case("binary.present", binary(entry=ABSENT), "fail", f"nothing at {DAEMON}", "broken"),
    Case("binary.present", binary(entry=Entry("dir")), "fail", "is a dir"),
    Case("binary.present", binary(entry=Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case("binary.executable", binary(entry=Entry("file", 0o644)), "fail", "0644"),
    Case("binary.executable", binary(noexec=True), "fail", "noexec"),
    Case("binary.architecture", binary(arch="arm64"), "fail", "arm64"),
    Case("binary.architecture", binary(arch=""), "ok", "no ELF"),
    Case("binary.digest", binary(sha256="b" * 64), "fail", "changed after"),
    Case("binary.digest", binary(sha256=Unknown("Input/output error", "mend the disk")), "warn", "Input"),
    Case("binary.digest", recorded(binary=None), "skip", "no digest known"),
    Case("binary.runs", binary(version=(127, b"x\nno such loader\n")), "fail", "status 127: no such loader"),
    Case("binary.runs", binary(version=(1, b"")), "fail", "status 1"),
    Case("binary.runs", binary(version=Unknown("Exec format error", "install it")), "fail", "Exec format"),
    Case("binary.runs", binary(version=Unknown("below --root")), "skip", "below --root"),
    Case("binary.version", binary(version=(0, b"v0.9.0")), "fail", "no parallel pull"),
    Case("binary.version", binary(version=(0, b"version v0.14.1")), "warn", "0.14.1"),
    Case("binary.version", binary(version=(0, b"hello")), "warn", "no version"),
    Case("config.present", replace(WELL, config=None), "fail", f"nothing at {SOCI_CONFIG}"),
    Case(
        "config.present", replace(WELL, config=Unknown("is no regular file", "move it")), "warn", "no regular"
    ),
    Case("config.parses", replace(WELL, document=Unknown("is not TOML: x", "mend it")), "fail", "not TOML"),
    Case("config.rules", replace(WELL, document=document(max_unpacks=3)), "fail", "max_unpacks"),
    Case(
        "config.rules",
        replace(WELL, document=document(concurrent_download_chunk_size="8MiB")),
        "fail",
        "8MiB",
    ),
    Case("config.rules", replace(WELL, document=document(enable=False)), "warn", "parallel pull is off"),
    Case("config.rules", replace(WELL, document={}), "fail", "content_store"),
    Case("config.ours", replace(WELL, config=TEXT + b"\n"), "warn", "edited", "degraded"),
    Case("config.ours", replace(WELL, record=None, config=TEXT), "ok"),
    Case("config.ours", replace(WELL, record=None, desired=Unknown("x")), "skip", "no record"),
    Case(
        "decompressor.present", replace(WELL, decompressor_entry=ABSENT), "fail", "nothing at /usr/bin/unpigz"
    ),
    Case("decompressor.present", replace(WELL, decompressor_entry=Entry("file", 0o644)), "fail", "0644"),
    Case("decompressor.present", replace(WELL, decompressor=""), "ok", "none named"),
    Case("decompressor.present", replace(WELL, decompressor_entry=Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case("decompressor.works", replace(WELL, decompressor_works="took a corrupt stream"), "fail", "corrupt"),
    Case("decompressor.works", replace(WELL, decompressor_works=Unknown("below --root")), "skip"),
    Case("python", replace(WELL, python=False), "warn", "no /usr/bin/python3"),
    Case("python", replace(WELL, python=Unknown("loop", "mend it")), "warn", "loop"),
    Case("agent", held(AGENT, GONE), "fail", "nothing"),
    Case("agent", held(AGENT, EDITED), "warn", "edited"),
    Case("service.unit", held(SERVICE_FILE, GONE), "fail", "nothing"),
    Case("service.unit", held(SERVICE_FILE, Held(Entry("link", target="/dev/null"))), "fail", "masked"),
    Case("service.unit", held(SERVICE_FILE, EDITED), "warn", "edited"),
    Case(
        "service.unit",
        replace(
            without_dropin(),
            record=Record(outcome=Outcome.INSTALLED),
            service_file="/usr/lib/x.service",
            files={},
        ),
        "ok",
        "not ours",
    ),
    Case("service.drop-in", held(SERVICE_DROPIN, GONE), "fail", "nothing"),
    Case("service.drop-in", held(SERVICE_DROPIN, Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case("socket.unit", held(SOCKET_FILE, GONE), "fail", "nothing"),
    Case("containerd.hooks", held(CONTAINERD_DROPIN, GONE), "fail", "nothing"),
    Case("containerd.hooks", unit("containerd.service", dropins=()), "warn", "not read it"),
    Case("boot-unit", held(f"/etc/systemd/system/{BOOT}", GONE), "warn", "nothing"),
    Case("units.enabled", replace(held(LINKS[BOOT], GONE), units={**UNITS, BOOT: Unit()}), "warn", BOOT),
    Case("units.enabled", held(LINKS[SOCKET], GONE), "ok"),
    Case("systemd", replace(WELL, units=Unknown("no bus", "start systemd")), "fail", "no bus"),
    Case("units.masked", unit(SOCKET, load="masked"), "fail", SOCKET),
    Case("units.masked", unit(SERVICE, enabled="masked-runtime"), "fail", SERVICE),
    Case("units.loaded", unit(SERVICE, reload=True), "warn", SERVICE),
    Case("node-config", replace(WELL, node_config=Unknown("not JSON", "see nodeadm")), "warn", "not JSON"),
    Case("node-config.drop-in", held(NODEADM_DROPIN, GONE), "fail", "nothing"),
    Case("node-config.drop-in", replace(held(NODEADM_DROPIN, GONE), state=FAILED_OPEN), "skip", "replaced"),
    Case("node-config.drop-in", without_dropin(), "skip", "none here"),
    Case(
        "node-config.drop-in",
        replace(held(NODEADM_DROPIN, GONE), desired=WIRED_BY_THE_USER),
        "ok",
        "nothing is needed",
    ),
    Case(
        "node-config.drop-in",
        replace(
            recorded(managed={**MANAGED, NODEADM_DROPIN: Managed("absent")}),
            files={**HELD, NODEADM_DROPIN: EDITED},
            desired=WIRED_BY_THE_USER,
        ),
        "warn",
        "though it was removed",
    ),
    Case(
        "node-config.later", replace(WELL, node_config=NodeConfig(later=("/x/90.yaml",))), "warn", "90.yaml"
    ),
    Case(
        "node-config.later",
        replace(without_dropin(), node_config=NodeConfig(later=("/x/90.yaml",))),
        "ok",
        "no drop-in",
    ),
    Case("node-config.gate", machine(2, 4, NodeConfig(gate=True)), "ok", "overridden"),
    Case("node-config.gate", machine(2, 16, NodeConfig(gate=True), record=None), "warn", "2 vCPU"),
    Case("node-config.gate", machine(4, 6.9, NodeConfig(gate=True), record=None), "warn", "6.9 GiB"),
    Case("node-config.gate", machine(4, 7, NodeConfig(gate=True), record=None), "ok", "heeded"),
    Case(
        "files", held(AGENT, Held(Entry("file", 0o600), digest(AGENT))), "warn", "mode 0600 instead of 0755"
    ),
    Case("files", held(LINKS[SOCKET], Held(Entry("link", target="/x"))), "warn", "leads to /x"),
    Case("files", held(AGENT, Held(Entry("dir"))), "warn", "a dir instead of a file"),
    Case("files", held(AGENT, Unknown(NEEDS_ROOT)), "ok", "unreadable"),
    Case("files", replace(held(NODEADM_DROPIN, GONE), state=FAILED_OPEN), "ok"),
    Case("files", replace(WELL, record=None), "skip", "no record"),
    Case(
        "files",
        replace(
            recorded(managed={**MANAGED, GATE_DROPIN: Managed("absent")}),
            files={**HELD, GATE_DROPIN: EDITED},
        ),
        "warn",
        "though it was removed",
    ),
    Case(
        "files",
        replace(
            recorded(managed={**MANAGED, "/m": Managed("file", 0o644, "1" * 64, merged=True)}),
            files={**HELD, "/m": EDITED},
        ),
        "ok",
    ),
    Case("staged", recorded(outcome=Outcome.STAGED), "warn", "next boot", "pending"),
    Case("staged", recorded(outcome=Outcome.STAGED, boot_id="another"), "warn", "earlier boot", "pending"),
    Case("staged", recorded(outcome=Outcome.BAKED, wiring={}), "warn", "boots from this image", "pending"),
    Case("staged", replace(WELL, live=False), "warn", "an image", "pending"),
    Case(
        "staged",
        unit("containerd.service", active="inactive", started=0.0),
        "warn",
        "has not started in this boot",
        "pending",
    ),
    Case("failed-open", replace(WELL, state=FAILED_OPEN), "warn", "did not answer (2026", "degraded"),
    Case(
        "failed-open",
        replace(recorded(outcome=Outcome.FAILED), state=State(degraded="no route")),
        "warn",
        "no route",
        "degraded",
    ),
    Case("failed-open", replace(WELL, record=Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case(
        "containerd.active", unit("containerd.service", active="failed", result="timeout"), "fail", "timeout"
    ),
    Case("containerd.active", replace(unit("containerd.service", load="not-found")), "skip", "no containerd"),
    Case("socket.active", unit(SOCKET, active="inactive"), "fail", "inactive"),
    Case("service.active", unit(SERVICE, active="failed", result="exit-code"), "fail", "exit-code"),
    Case(
        "service.active",
        replace(unit(SERVICE, active="activating", sub="auto-restart"), errors=("bad chunk size",)),
        "fail",
        "bad chunk size",
        "broken",
    ),
    Case(
        "service.active",
        replace(
            unit(SERVICE, active="failed"), **vars(UNWIRED) | {"units": unit(SERVICE, active="failed").units}
        ),
        "warn",
        "failed",
        "degraded",
    ),
    Case("soci.answers", replace(WELL, answers=False), "fail", "no answer", "broken"),
    Case("soci.answers", replace(WELL, answers=Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case("service.restarts", unit(SERVICE, restarts=2), "ok", "2"),
    Case("service.restarts", unit(SERVICE, restarts=3), "warn", "3"),
    Case(
        "service.current", replace(WELL, process=Process(1, older_than=(SOCI_CONFIG,))), "warn", SOCI_CONFIG
    ),
    Case("service.current", replace(WELL, process=Process(1, deleted=True)), "warn", DAEMON),
    Case("service.memory", replace(WELL, process=Process(5 * GIB)), "warn", "5120 MiB"),
    Case("service.memory", replace(WELL, process=Process(Unknown(NEEDS_ROOT))), "skip", NEEDS_ROOT),
    Case("service.journal", replace(WELL, errors=("fetch: 404 not found",)), "ok", "404"),
    Case(
        "service.journal", replace(WELL, errors=("x", "write: no space left on device")), "warn", "no space"
    ),
    Case(
        "service.journal",
        replace(WELL, errors=("unpack: Compressed digests did not match",)),
        "warn",
        "digests did not match",
    ),
    Case("service.journal", replace(unit(SERVICE, active="failed"), errors=("a", "b")), "warn", "a | b"),
    Case(
        "service.journal",
        replace(WELL, errors=Unknown("no journalctl", "install it")),
        "warn",
        "no journalctl",
    ),
    Case("disk.database", replace(WELL, process=Process(1, astray="/x/metadata.db")), "fail", "metadata.db"),
    Case("disk.array", replace(WELL, node_config=NodeConfig(raid="raid0")), "warn", "on /dev/nvme"),
    Case(
        "disk.array",
        replace(disk(source="/dev/md127"), node_config=NodeConfig(raid="raid0")),
        "warn",
        "on /dev/",
    ),
    Case(
        "disk.array",
        replace(
            WELL,
            node_config=NodeConfig(raid="raid0"),
            soci_disk=replace(DISK, source="/dev/mapper/vg-data", array=True),
            containerd_disk=replace(DISK, source="/dev/md127", array=True),
        ),
        "ok",
        "on the array",
    ),
    Case("disk.shared", disk(device=2, source="/dev/sdb"), "warn", "SOCI on /dev/sdb", "degraded"),
    Case("disk.space", disk(free=9 * GIB), "warn", "9 %"),
    Case("disk.space", disk(free=1 << 20), "fail", "0 %", "broken"),
    Case("disk.space", disk(size=0), "skip"),
    Case("disk.inodes", disk(inodes_free=40_000), "warn", "4 %"),
    Case("disk.inodes", disk(inodes_free=10), "fail", "10"),
    Case("disk.inodes", disk(inodes=0), "ok", "no limit"),
    Case(
        "containerd.version",
        replace(WELL, containerd=replace(WELL.containerd, version=(1, 7, 15))),
        "ok",
        "1.7.15, which does not count SOCI's disk use",
        "healthy",
    ),
    Case("containerd.version", replace(WELL, containerd=replace(WELL.containerd, version=None)), "skip"),
    Case(
        "containerd.config",
        replace(WELL, containerd=replace(WELL.containerd, effective=Unknown("did not end", "run it"))),
        "fail",
        "did not end",
    ),
    Case(
        "containerd.imports",
        replace(
            effective(snapshotter="overlayfs"),
            containerd=replace(
                effective(snapshotter="overlayfs").containerd,
                others=(("/etc/containerd/conf.d/99-nvidia.toml", "overlayfs"),),
            ),
        ),
        "fail",
        "99-nvidia.toml",
    ),
    Case(
        "containerd.imports",
        replace(WELL, containerd=replace(WELL.containerd, others=(("/x.toml", "overlayfs"),))),
        "ok",
        "without effect",
    ),
    Case("containerd.snapshotter", effective(snapshotter="overlayfs"), "fail", "overlayfs", "broken"),
    Case("containerd.snapshotter", UNWIRED, "warn", "failed open", "degraded"),
    Case(
        "containerd.snapshotter",
        replace(effective(snapshotter="overlayfs"), record=replace(RECORD, wiring={**WIRED, "mode": "none"})),
        "warn",
        "overlayfs",
    ),
    Case("containerd.plugin", effective(plugin=False), "fail", "no proxy_plugins"),
    Case("containerd.plugin", effective(address="/run/other.sock"), "fail", "other.sock"),
    Case("containerd.exports", effective(root="/var/lib/other"), "fail", "/var/lib/other", "broken"),
    Case("containerd.exports", effective(root=""), "warn", "no exports.root"),
    Case("containerd.exports", effective(root=f"{SOCI_ROOT}/"), "ok"),
    Case("containerd.annotations", effective(annotations=False), "fail", "disable_snapshot_annotations"),
    Case("containerd.unpacks", effective(unpacks=4), "warn", "13264"),
    Case(
        "containerd.registries",
        replace(WELL, registries=MIRRORED, reachable={"r.example": ""}),
        "warn",
        "answers",
    ),
    Case(
        "containerd.registries",
        replace(WELL, registries=MIRRORED, reachable={"r.example": "timed out"}),
        "fail",
        "timed out",
    ),
    Case(
        "containerd.registries",
        replace(WELL, registries=(Registry("_default", "a mirror", "/x"),)),
        "warn",
        "not asked",
    ),
    Case("kubelet.active", kubelet(active="inactive"), "fail", "no pod is started", "broken"),
    Case("kubelet.active", kubelet(active="activating", sub="auto-restart"), "fail", "auto-restart"),
    Case(
        "kubelet.active", replace(kubelet(active="inactive"), record=STAGED_NOW), "fail", "inactive", "broken"
    ),
    Case("kubelet.active", kubelet(active="inactive", started=0.0), "skip", "not started in this boot"),
    Case("kubelet.active", kubelet(active="inactive", started=0.0, enabled="enabled"), "fail", "inactive"),
    Case("kubelet.active", kubelet(load="not-found", active="inactive"), "skip", "no kubelet.service"),
    Case(
        "kubelet.active",
        replace(UNWIRED, units=kubelet(active="failed", result="exit-code").units),
        "fail",
        "exit-code",
        "broken",
    ),
    Case("kubelet.endpoint", replace(WELL, endpoint=None), "skip", "no kubelet"),
    Case("kubelet.endpoint", STOCK, "skip", "not installed"),
    Case("kubelet.endpoint", replace(MAYBE_OPEN, endpoint=Endpoint()), "skip", NEEDS_ROOT, "unknown"),
    Case("containerd.snapshotter", MAYBE_OPEN, "warn", "overlayfs", "unknown"),
    Case("soci.answers", replace(HIDDEN, answers=False, root=False), "fail", "no answer", "broken"),
    Case("kubelet.endpoint", replace(WELL, endpoint=Endpoint()), "fail", "credentials", "broken"),
    Case("kubelet.endpoint", replace(WELL, endpoint=Endpoint("unix:///x", "/y")), "fail", "unix:///x"),
    Case(
        "kubelet.endpoint",
        replace(WELL, endpoint=Endpoint(CONTAINERDS, ARGUMENTS)),
        "fail",
        "win over every file",
    ),
    Case("kubelet.endpoint", replace(UNWIRED, endpoint=Endpoint(CONTAINERDS, "/y")), "warn", "failed open"),
    Case("kubelet.endpoint", replace(UNWIRED, answers=False), "fail", "can't pull", "broken"),
    Case("kubelet.endpoint", replace(NOTHING, endpoint=Endpoint()), "skip", "not installed"),
    Case("content.layers", replace(WELL, store=ContentStore("sha256:f")), "fail", "2035", "broken"),
    Case(
        "content.layers",
        replace(WELL, store=ContentStore("sha256:f"), document=document(discard_unpacked_layers=False)),
        "ok",
        "false",
    ),
    Case("content.layers", replace(WELL, store=Unknown(NEEDS_ROOT)), "skip", NEEDS_ROOT),
    Case(
        "snapshot.probe",
        replace(WELL, images=replace(WELL.images, probe="ctr failed: x")),
        "fail",
        "ctr failed",
    ),
    Case("snapshot.probe", replace(WELL, answers=False), "skip", "see soci.answers"),
    Case(
        "image.pause",
        replace(WELL, images=replace(WELL.images, unpacked={PAUSE: False})),
        "fail",
        "another snap",
    ),
    Case("image.pause", replace(WELL, images=replace(WELL.images, unpacked={})), "fail", "not on this node"),
    Case(
        "image.pause",
        replace(WELL, pause_cached=False, images=replace(WELL.images, unpacked={})),
        "ok",
        "when needed",
    ),
    Case(
        "snapshots",
        replace(effective(snapshotter="overlayfs"), images=replace(WELL.images, running=True)),
        "warn",
        "containers run on SOCI while",
    ),
    Case("snapshots", replace(WELL, images=Images()), "skip"),
    Case("plan", replace(WELL, desired=wants(soci.render(SMALLER))), "warn", SOCI_CONFIG, "pending"),
    Case(
        "facts",
        replace(WELL, desired=Unknown("no containerd", "install it")),
        "warn",
        "no containerd",
        "degraded",
    ),
    Case("plan", replace(WELL, desired=Unknown("no containerd", "install it")), "skip", "no containerd"),
    Case("plan", replace(WELL, state=FAILED_OPEN), "skip", "failed open"),
    Case(
        "plan",
        replace(
            WELL,
            desired=replace(DESIRED, items=(Absent("gate", GATE_DROPIN, Phase.WIRING),)),
            files={**HELD, GATE_DROPIN: EDITED},
        ),
        "warn",
        GATE_DROPIN,
    ),
    Case("plan", held(SOCI_CONFIG, EDITED), "ok"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check}: {case.status} {case.found}")
def test_one_thing_changed(case: Case) -> None:
    checks = checked(case.node)
    found = checks[case.check]
    assert (found.status.value, case.found in found.found) == (case.status, True), found
    if case.verdict:
        assert verdict(tuple(checks.values())) == case.verdict, unwell(checks)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check}: {case.status} {case.found}")
def test_the_contract_holds_for_each(case: Case) -> None:
    checks = judge(case.node)
    assert [check.id for check in checks] == [rule.id for rule in RULES]
    assert len({check.id for check in checks}) == len(checks) >= 20
    for check in checks:
        assert check.found
        assert check.expected
        assert bool(check.hint) == (check.status in {Status.WARN, Status.FAIL}), check
    word = verdict(checks)
    assert (word == "broken") == any(check.status is Status.FAIL for check in checks)
    assert word != "absent" or case.node.record is None
    assert (word == "healthy") == all(check.status in {Status.OK, Status.SKIP} for check in checks)
    assert word in EXIT_STATUS


FIRST = [
    case
    for case in CASES
    if case.status in {"warn", "fail"} and case.check not in {"files", "plan", "snapshots"}
]


def unwell(checks: Mapping[str, Check]) -> list[str]:
    return [check.id for check in checks.values() if check.status in {Status.WARN, Status.FAIL}]


# What one fault shows in two places, the root of it first.
BEFORE = {
    "node-config.gate": {"record"},
    "kubelet.endpoint": {"failed-open"},
    "kubelet.active": {"failed-open", "staged"},
    "containerd.snapshotter": {"failed-open", "privileges"},
    "service.active": {"failed-open", "record"},
    "service.journal": {"service.active"},
    "soci.answers": {"privileges"},
    "installed": {"record", "privileges"},
}


@pytest.mark.parametrize("case", FIRST, ids=lambda case: f"{case.check}: {case.status} {case.found}")
def test_the_fault_is_named_first(case: Case) -> None:
    assert unwell(checked(case.node))[0] in {case.check, *BEFORE.get(case.check, ())}


def test_a_node_that_is_well() -> None:
    checks = judge(WELL)
    assert [check for check in checks if check.status is not Status.OK] == []
    assert verdict(checks) == "healthy"


@pytest.mark.parametrize(
    "edited", [None, CONTAINERD_DROPIN, SERVICE_FILE, SOCKET_FILE, SERVICE_DROPIN, SOCI_CONFIG]
)
def test_without_the_record_nothing_is_said_to_be_as_installed(edited: str | None) -> None:
    files = {**HELD, edited: EDITED} if edited else HELD
    checks = checked(replace(HIDDEN, files=files, node_config=NodeConfig(gate=True)))
    assert unwell(checks) == []
    unknown = {name for name, check in checks.items() if NEEDS_ROOT in check.found}
    assert unknown == {
        *(
            "record",
            "binary.digest",
            "config.ours",
            "agent",
            "service.unit",
            "service.drop-in",
            "socket.unit",
        ),
        *("containerd.hooks", "boot-unit", "node-config.drop-in", "node-config.later", "node-config.gate"),
        *("files", "staged", "failed-open", "facts", "plan"),
    }
    assert {name for name in unknown if checks[name].status is not Status.SKIP} == {
        "service.unit",
        "socket.unit",
    }


def test_without_the_record_what_is_missing_is_told() -> None:
    assert checked(replace(HIDDEN, files={**HELD, AGENT: Held()}))["agent"].status is Status.FAIL


def test_layers_that_went_away_are_no_reason_to_retune() -> None:
    kept = soci.render(KEEPING)
    held_now = Held(Entry("file", 0o644), hashlib.sha256(kept).hexdigest())
    managed = {**MANAGED, SOCI_CONFIG: Managed("file", 0o644, hashlib.sha256(kept).hexdigest())}
    node = replace(
        WELL,
        config=kept,
        document=toml.loads(kept, "x"),
        record=replace(RECORD, managed=managed),
        files={**HELD, SOCI_CONFIG: held_now},
    )
    assert checked(node)["plan"].status is Status.OK
    assert checked(replace(node, desired=wants(soci.render(SMALLER))))["plan"].status is Status.WARN


def test_a_check_that_fails_is_a_finding() -> None:
    node = replace(WELL, document={"pull_modes": 3})
    assert checked(node)["content.layers"].status is Status.WARN
    assert "check itself failed" in checked(node)["content.layers"].found


@pytest.mark.parametrize(
    ("error", "why", "remedy"),
    [
        (StateError("x can't be read", found="bad", remedy="mend it"), "x can't be read: bad", "mend it"),
        (CommandError("ctr failed"), "ctr failed", "repair it, then run doctor again"),
        (
            OSError(5, "Input/output error"),
            "OSError: [Errno 5] Input/output error",
            "repair it, then run doctor again",
        ),
        (ValueError("odd"), "unexpected ValueError: odd", "report this as a bug"),
    ],
)
def test_what_fails_is_not_taken_for_nothing(error: Exception, why: str, remedy: str) -> None:
    def look() -> str:
        raise error

    assert attempt(look) == Unknown(why, remedy)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), CommandError("ctr", found="x: permission denied")]
)
def test_without_root_it_is_skipped(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> str:
        raise error

    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert attempt(look) == Unknown(NEEDS_ROOT)


UNWELL = replace(WELL, answers=False, errors=("x: no space left on device\x1b[2J\n",))


def test_the_table_shows_what_is_not_well_and_the_verdict_last() -> None:
    text = table.render("broken", judge(UNWELL), colour=False, everything=False)
    lines = text.splitlines()
    assert lines[:3] == [
        "FAIL  soci.answers: no answer: every pull waits for it",
        "      expected: a gRPC server at",
        f"        {SOCI_ADDRESS}",
    ]
    assert lines[3].startswith("      remedy: systemctl restart")
    assert lines[5].startswith("WARN  service.journal")
    assert lines[-3].startswith(f"{len(RULES)} checks: 1 fail, 1 warn, ")
    assert lines[-2] == "broken: SOCI does not work on this node (soci.answers: no answer: every pull"
    assert lines[-1] == "      waits for it)"
    assert "\x1b" not in text
    assert not any(line.startswith(("ok", "skip")) for line in lines)


def test_the_table_of_everything() -> None:
    lines = table.render("broken", judge(UNWELL), colour=False, everything=True).splitlines()
    assert sum(line.startswith(("FAIL", "WARN", "ok", "skip")) for line in lines) == len(RULES)
    assert lines[-2].startswith("broken: ")


def test_the_table_of_a_node_that_is_well_is_two_lines() -> None:
    lines = table.render("healthy", judge(WELL), colour=False, everything=False).splitlines()
    assert lines == [
        f"{len(RULES)} checks: 0 fail, 0 warn, {len(RULES)} ok, 0 skip (-v lists all)",
        "healthy: this node pulls with SOCI",
    ]


def test_an_absent_node_needs_no_cause() -> None:
    text = table.render("absent", judge(STOCK), colour=False, everything=False)
    assert text.endswith("\nabsent: SOCI was never installed on this node\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check}: {case.status} {case.found}")
def test_the_table_fits_80_columns(case: Case) -> None:
    checks = judge(case.node)
    text = table.render(verdict(checks), checks, colour=False, everything=True)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0].strip()


def test_the_table_in_colour() -> None:
    text = table.render("healthy", judge(WELL), colour=True, everything=True)
    assert "\x1b[32mhealthy\x1b[0m: this node" in text
    assert "\x1b[32mok  \x1b[0m  record" in text

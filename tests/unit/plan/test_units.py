from __future__ import annotations

from dataclasses import replace

import pytest

from soci_bootstrap import paths
from soci_bootstrap.errors import WiringError
from soci_bootstrap.facts import AmiSoci
from soci_bootstrap.facts.units import UnitFile, read_unit
from soci_bootstrap.paths import RESTART_OWED, RESTARTED, SOCI_ADDRESS, SOCI_SERVICE, SOCI_SOCKET
from soci_bootstrap.plan.items import File, Link
from soci_bootstrap.plan.units import agent_items, soci_items
from soci_bootstrap.state.record import Phase
from soci_bootstrap.system import System, resources
from tests.support.known import FACTS, facts
from tests.support.nodes import write

ETC = "/etc/systemd/system"
ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
DAEMON = "/usr/local/bin/soci-snapshotter-grpc"
CONFIG = "/etc/soci-snapshotter-grpc/config.toml"
AMI = AmiSoci(service=True, socket=True, address=SOCI_ADDRESS)
NEVER = {
    "NoNewPrivileges",
    "RestrictSUIDSGID",
    "PrivateDevices",
    "ProtectHome",
    "ProtectSystem",
    "PrivateTmp",
}


def wanted(found=FACTS, address=SOCI_ADDRESS, root=ROOT, daemon=DAEMON, config=CONFIG) -> dict:
    return {item.name: item for item in soci_items(found, daemon, config, address, root)}


def applied(tmp_path, items, name: str, **others: str) -> UnitFile:
    """The unit as systemd would read it from what the items put there, over files of others."""
    files = {path.replace("_", "/"): data for path, data in others.items()}
    files.update({item.path: item.data for item in items.values() if isinstance(item, File)})
    return read_unit(System(str(write(tmp_path, files))), name)


def one(unit: UnitFile, key: str, section: str = "Service") -> str:
    """The last value, which is the one that counts."""
    return unit.values(key, section)[-1]


def test_the_ground() -> None:
    agent, unit, link = agent_items(b"zipapp")
    assert isinstance(agent, File)
    assert isinstance(unit, File)
    assert isinstance(link, Link)
    assert (agent.path, agent.data, agent.mode) == ("/usr/local/sbin/soci-bootstrap", b"zipapp", 0o755)
    assert (link.path, link.target) == (f"{ETC}/multi-user.target.wants/soci-bootstrap.service", unit.path)
    assert {item.phase for item in (agent, unit, link)} == {Phase.AGENT}
    assert b"TimeoutStartSec=10" in unit.data
    assert b"TimeoutStopSec=2\n" in unit.data
    assert f"ConditionPathExists=!{paths.PLANNED}\n".encode() in unit.data
    assert b"Before=cloud-final.service nodeadm-run.service" in unit.data


def test_a_node_without_socis_units() -> None:
    items = wanted()
    assert list(items) == [
        "service",
        "service-drop-in",
        "socket",
        "containerd-drop-in",
        "socket-enabled",
        "service-enabled",
    ]
    assert items["service"].data == resources.read(f"systemd/{SOCI_SERVICE}")
    assert items["socket"].data == resources.read(f"systemd/{SOCI_SOCKET}")
    assert items["service-enabled"].path == f"{ETC}/containerd.service.wants/{SOCI_SERVICE}"
    assert items["socket-enabled"].path == f"{ETC}/sockets.target.wants/{SOCI_SOCKET}"
    assert {item.phase for item in items.values()} == {Phase.CONFIGURATION}
    assert {item.mode for item in items.values() if isinstance(item, File)} == {0o644}


def test_an_ami_with_them() -> None:
    items = wanted(facts(ami=AMI))
    assert list(items) == [
        "service-drop-in",
        "socket-drop-in",
        "containerd-drop-in",
        "socket-enabled",
        "service-enabled",
    ]
    assert all("50-soci-bootstrap" in item.path for item in items.values() if isinstance(item, File))


def test_an_ami_with_a_service_only() -> None:
    assert "service" not in wanted(facts(ami=AmiSoci(service=True)))
    assert "socket" in wanted(facts(ami=AmiSoci(service=True)))


AMI_SERVICE = """\
[Unit]
Description=soci snapshotter containerd plugin
[Service]
Type=notify
ExecStart=/usr/bin/soci-snapshotter-grpc --address fd://
Restart=no
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize("theirs", [False, True])
def test_the_service_either_way(tmp_path, theirs) -> None:
    found = facts(ami=AMI) if theirs else FACTS
    main = f"/usr/lib/systemd/system/{SOCI_SERVICE}"
    write(tmp_path, {main: AMI_SERVICE} if theirs else {})
    unit = applied(tmp_path, wanted(found), SOCI_SERVICE)
    assert unit.values("ExecStart") == (f"{DAEMON} --address fd:// --config {CONFIG} --root {ROOT}",)
    assert one(unit, "Type") == "notify"
    assert one(unit, "Slice") == "runtime.slice"
    assert one(unit, "Sockets") == SOCI_SOCKET
    assert (one(unit, "Restart"), one(unit, "RestartSec"), one(unit, "TimeoutStartSec")) == (
        "always",
        "5",
        "10",
    )
    assert one(unit, "TimeoutStopSec") == "10"
    assert one(unit, "StartLimitIntervalSec", "Unit") == "0"
    assert one(unit, "OOMScoreAdjust") == "-999"
    assert one(unit, "KillSignal") == "SIGTERM"
    assert unit.values("RequiresMountsFor", "Unit") == (ROOT,)
    assert f"mv {RESTART_OWED} {RESTARTED} " in one(unit, "ExecStartPost")
    assert one(unit, "ExecStartPost").startswith("-")
    assert not NEVER & {directive.key for directive in unit.directives}
    assert unit.values("Requires", "Unit") == ()


def test_containerds_environment(tmp_path) -> None:
    lines = ('Environment="HTTPS_PROXY=http://u:p%%40@proxy:3128"', "EnvironmentFile=-/etc/c.env")
    unit = applied(tmp_path, wanted(facts(containerd={"environment": lines})), SOCI_SERVICE)
    assert unit.values("Environment") == ('"HTTPS_PROXY=http://u:p%%40@proxy:3128"',)
    assert unit.values("EnvironmentFile") == ("-/etc/c.env",)


@pytest.mark.parametrize(
    ("ami", "address", "listens", "dropin"),
    [
        (AmiSoci(), SOCI_ADDRESS, (SOCI_ADDRESS,), False),
        (AmiSoci(), "/run/user.sock", ("/run/user.sock",), True),
        (AMI, SOCI_ADDRESS, (SOCI_ADDRESS,), True),
        (AMI, "/run/user.sock", ("/run/user.sock",), True),
        (replace(AMI, address="/run/ami.sock"), "/run/ami.sock", ("/run/ami.sock",), True),
    ],
)
def test_the_socket(tmp_path, ami, address, listens, dropin) -> None:
    items = wanted(facts(ami=ami), address)
    assert ("socket-drop-in" in items) is dropin
    main = f"[Socket]\nListenStream={ami.address}\nSocketMode=0666\n"
    write(tmp_path, {f"/usr/lib/systemd/system/{SOCI_SOCKET}": main} if ami.socket else {})
    unit = applied(tmp_path, items, SOCI_SOCKET)
    assert unit.values("ListenStream", "Socket") == listens
    assert one(unit, "SocketMode", "Socket") == "0660"
    assert one(unit, "TriggerLimitIntervalSec", "Socket") == "0"


def test_containerds_drop_in(tmp_path) -> None:
    unit = applied(tmp_path, wanted(), "containerd.service")
    assert unit.values("Wants", "Unit") == (SOCI_SERVICE,)
    assert unit.values("After", "Unit") == (SOCI_SERVICE,)
    assert unit.values("Requires", "Unit") == ()
    for key, hook in (("ExecStartPre", "guard"), ("ExecStartPost", "verify")):
        (line,) = unit.values(key)
        assert line.startswith("-")
        assert f"{paths.AGENT} hook {hook}" in line


@pytest.mark.parametrize(
    "root", ["relative", "/a b", "/a\nExecStart=/bin/evil", "/a%n", "/a/../b", "/", "/a'b", "/a$b"]
)
def test_a_path_that_would_not_stay_itself(root) -> None:
    with pytest.raises(WiringError, match="SOCI's root"):
        wanted(root=root)
    with pytest.raises(WiringError, match="the socket's address"):
        wanted(address=root)

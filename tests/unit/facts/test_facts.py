from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from soci_bootstrap import facts, paths
from soci_bootstrap.configfiles.containerd import NamedSoci
from soci_bootstrap.errors import CommandError, StateError, UnsupportedArchitectureError
from soci_bootstrap.facts import AmiSoci
from soci_bootstrap.facts import machine as machine_
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.paths import AMI_DAEMON, SOCI_SERVICE, SOCI_SOCKET
from soci_bootstrap.state.record import Before, Record
from soci_bootstrap.system import System, resources
from soci_bootstrap.system.programs import Completed
from soci_bootstrap.system.systemd import UnitState
from soci_bootstrap.system.tree import ABSENT
from tests.support.nodes import Node, captured, write

ETC = "/etc/systemd/system"
AMI_SOCKET = "[Socket]\nListenStream=/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock\n"
AMI = {f"{ETC}/{SOCI_SERVICE}": "[Service]\nRestart=no\n", f"{ETC}/{SOCI_SOCKET}": AMI_SOCKET}
ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
SHOW = """\
Id=soci-snapshotter.service
ActiveState=active
LoadState=loaded
NeedDaemonReload=no

Id=soci-snapshotter.socket
ActiveState=inactive
LoadState=not-found
NeedDaemonReload=no

Id=containerd.service
LoadState=loaded
ActiveState=active
NeedDaemonReload=yes
"""


def image(tmp_path, files, record=None, **asked) -> facts.Facts:
    return facts.observe(System(str(write(tmp_path, files))), record, **{"arch": "amd64", **asked})


def node(tmp_path, files, record=None, **programs) -> facts.Facts:
    answers = {"systemctl show": SHOW.encode(), **{name.replace("_", " "): a for name, a in programs.items()}}
    return facts.observe(Node(write(tmp_path, files), answers), record, arch="amd64")


# -- the machine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "machine", "expected"),
    [
        (None, "x86_64", "amd64"),
        (None, "aarch64", "arm64"),
        ("arm64", "x86_64", "arm64"),
        ("amd64", "riscv64", "amd64"),
    ],
)
def test_architecture(asked, machine, expected) -> None:
    assert machine_.architecture(asked, machine) == expected


@pytest.mark.parametrize("machine", ["riscv64", "i686", "armv7l", "AMD64"])
def test_unsupported_architecture(machine) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=f"found {machine}, expected x86_64 or aarch64"):
        machine_.architecture(None, machine)


def test_the_running_machines_own() -> None:
    found = machine_.this_machine()
    assert found.vcpus >= 1
    assert found.memory_bytes > 64 << 20


@pytest.mark.parametrize(
    ("vcpus", "gib", "expected"), [(4, 8.0, Machine(4, 8 << 30)), (96, 0.5, Machine(96, 1 << 29))]
)
def test_another_machine(vcpus, gib, expected) -> None:
    assert machine_.this_machine(vcpus, gib) == expected


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({}, None),
        ({"/usr/bin/python3": "-> python3.9", "/usr/bin/python3.9": ""}, (3, 9)),
        (
            {
                "/usr/bin/python3": "-> /etc/alternatives/python3",
                "/etc/alternatives/python3": "-> /usr/bin/python3.11",
                "/usr/bin/python3.11": "",
            },
            (3, 11),
        ),
        ({"/usr/bin/python3": "-> python3.9"}, None),
        ({"/usr/bin/python3": "-> python3.x", "/usr/bin/python3.x": ""}, None),
        ({"/usr/bin/python3": ""}, None),
    ],
)
def test_python(tmp_path, files, python) -> None:
    assert image(tmp_path, files).python == python


def test_a_python_without_a_version_in_its_name_is_the_one_that_runs(tmp_path) -> None:
    assert node(tmp_path, {"/usr/bin/python3": ""}).python == sys.version_info[:2]


@pytest.mark.parametrize(
    ("files", "programs"),
    [
        ({}, {}),
        ({"/usr/bin/unpigz": ""}, {"unpigz": "/usr/bin/unpigz"}),
        (
            {"/usr/bin/unpigz": "", "/usr/local/bin/igzip": ""},
            {"igzip": "/usr/local/bin/igzip", "unpigz": "/usr/bin/unpigz"},
        ),
        ({"/usr/bin/unpigz": "", "/usr/local/bin/unpigz": ""}, {"unpigz": "/usr/local/bin/unpigz"}),
        ({"/usr/bin/unpigz": "-> pigz"}, {}),
        ({"/usr/bin/unpigz": "-> pigz", "/usr/bin/pigz": ""}, {"unpigz": "/usr/bin/unpigz"}),
    ],
)
def test_decompressors(tmp_path, files, programs) -> None:
    assert image(tmp_path, files).programs == programs


# -- nodeadm ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, False),
        ("/usr/bin/nodeadm init --skip config", False),
        ("/usr/bin/nodeadm init --skip config --config-source file:///etc/eks/nodeadm.d/", True),
    ],
)
def test_nodeadm(tmp_path, start, expected) -> None:
    files = {f"{ETC}/nodeadm-run.service": f"[Service]\nExecStart={start}\n"} if start else {}
    found = image(tmp_path, files)
    assert found.nodeadm_dropins is expected


CACHE = {"/run/eks/nodeadm/config.json": captured("nodeadm-cache-static-soci.json")}
STATIC = NodeConfig(
    containerd=True,
    static=NamedSoci(ADDRESS, "/var/lib/containerd/io.containerd.snapshotter.v1.soci"),
    image_endpoint=f"unix://{ADDRESS}",
    later=("/etc/eks/nodeadm.d/60-x.yaml",),
)


@pytest.mark.parametrize("remembered", [NodeConfig(raid="raid0", later=("/x",)), STATIC])
def test_once_planned_the_users_node_config_is_remembered(tmp_path, remembered) -> None:
    """Nodeadm has merged our own drop-in into its cache by then."""
    record = Record(node_config=json.loads(json.dumps(facts.node_config_json(remembered))))
    assert node(tmp_path, {**CACHE, paths.PLANNED: ""}, record).node_config == remembered


@pytest.mark.parametrize(
    ("files", "record"),
    [
        (CACHE, Record(node_config=facts.node_config_json(NodeConfig()))),
        ({**CACHE, paths.PLANNED: ""}, None),
        ({**CACHE, paths.PLANNED: ""}, Record()),
    ],
)
def test_else_it_is_read(tmp_path, files, record) -> None:
    assert node(tmp_path, files, record).node_config.static == STATIC.static


def test_an_image_remembers_nothing(tmp_path) -> None:
    record = Record(node_config=facts.node_config_json(NodeConfig(raid="raid0")))
    assert image(tmp_path, {**CACHE, paths.PLANNED: ""}, record).node_config.raid == ""


# -- what the AMI brings ------------------------------------------------------------------------

OURS = {f"{ETC}/{name}": resources.read(f"systemd/{name}") for name in (SOCI_SERVICE, SOCI_SOCKET)}


@pytest.mark.parametrize(
    ("files", "record", "expected"),
    [
        ({}, None, AmiSoci()),
        (AMI, None, AmiSoci(service=True, socket=True, address=ADDRESS)),
        (
            {**AMI, AMI_DAEMON: ""},
            None,
            AmiSoci(service=True, socket=True, address=ADDRESS, binary=AMI_DAEMON),
        ),
        ({AMI_DAEMON: ""}, None, AmiSoci(binary=AMI_DAEMON)),
        # Ours, by their bytes or by the record.
        (OURS, None, AmiSoci()),
        (
            AMI,
            Record(before={f"{ETC}/{SOCI_SERVICE}": Before(ABSENT), f"{ETC}/{SOCI_SOCKET}": Before(ABSENT)}),
            AmiSoci(),
        ),
        ({**OURS, f"{ETC}/{SOCI_SOCKET}": AMI_SOCKET}, None, AmiSoci(socket=True, address=ADDRESS)),
        ({f"{ETC}/{SOCI_SOCKET}": "[Socket]\n"}, None, AmiSoci(socket=True)),
        (
            {
                **AMI,
                f"{ETC}/{SOCI_SOCKET}.d/10-user.conf": "[Socket]\nListenStream=\nListenStream=/run/x.sock\n",
            },
            None,
            AmiSoci(service=True, socket=True, address="/run/x.sock"),
        ),
        # What our own drop-in says is not the AMI's.
        (
            {
                **AMI,
                f"{ETC}/{SOCI_SOCKET}.d/50-soci-bootstrap.conf": "[Socket]\nListenStream=/run/ours.sock\n",
            },
            None,
            AmiSoci(service=True, socket=True, address=ADDRESS),
        ),
        ({f"/usr/lib/systemd/system/{SOCI_SERVICE}": "[Service]\n"}, None, AmiSoci(service=True)),
    ],
)
def test_ami(tmp_path, files, record, expected) -> None:
    assert image(tmp_path, files, record).ami == expected


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (b"soci-snapshotter-grpc version v0.11.1 abc\n", (0, 11, 1)),
        (b"", None),
        (Completed(1, b"", b"cannot execute"), None),
        (CommandError("Exec format error"), None),
    ],
)
def test_the_version_of_the_amis_daemon(tmp_path, answer, version) -> None:
    files = {AMI_DAEMON: ""}
    assert node(tmp_path, files, None, **{"soci-snapshotter-grpc_--version": answer}).ami.version == version


# -- systemd ------------------------------------------------------------------------------------


def test_unit_states(tmp_path) -> None:
    found = node(tmp_path, {})
    assert found.units == {
        SOCI_SERVICE: UnitState("active"),
        SOCI_SOCKET: UnitState("inactive"),
        "containerd.service": UnitState("active", needs_reload=True),
    }


def test_an_image_has_no_running_systemd(tmp_path) -> None:
    found = image(tmp_path, {"/usr/bin/systemctl": "", "/proc/sys/kernel/random/boot_id": "x"})
    assert (found.units, found.live, found.boot_id) == ({}, False, "")


def test_boot_id(tmp_path) -> None:
    assert node(tmp_path, {"/proc/sys/kernel/random/boot_id": "abc-def\n"}).boot_id == "abc-def"


def test_a_node_without_systemd(tmp_path) -> None:
    with pytest.raises(StateError, match="systemd is not on this node"):
        facts.observe(Node(tmp_path), None, arch="amd64")


def test_a_systemd_that_does_not_answer(tmp_path) -> None:
    broken = Node(tmp_path, {"systemctl show": Completed(1, b"", b"Failed to connect to bus")})
    with pytest.raises(CommandError, match="Failed to connect to bus"):
        facts.observe(broken, None, arch="amd64")


# -- the rest -----------------------------------------------------------------------------------


def test_what_is_asked_for_goes_first(tmp_path) -> None:
    found = image(tmp_path, {}, arch="arm64", vcpus=2, memory_gib=4.0)
    assert (found.arch, found.machine) == ("arm64", Machine(2, 4 << 30))


def test_registries(tmp_path) -> None:
    files = {
        "/etc/containerd/config.toml": captured("containerd-nodeadm-v3.toml"),
        "/etc/containerd/certs.d/r.test/hosts.toml": "skip_verify = true\n",
    }
    assert [registry.name for registry in image(tmp_path, files).registries] == ["r.test"]


def test_facts_are_values(tmp_path) -> None:
    assert image(tmp_path, AMI, vcpus=2, memory_gib=1.0) == image(tmp_path, {}, vcpus=2, memory_gib=1.0)
    assert replace(image(tmp_path, {}), arch="x") != image(tmp_path, {})

"""Facts of this node: containerd, kubelet, NodeConfig, units, content store, registries.

``observe`` reads them once; everything after that is decided from ``Facts``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from soci_bootstrap import paths
from soci_bootstrap.configfiles import containerd as configfiles_containerd
from soci_bootstrap.errors import CommandError
from soci_bootstrap.facts import containerd as containerd_
from soci_bootstrap.facts import content_store, nodeconfig
from soci_bootstrap.facts import kubelet as kubelet_
from soci_bootstrap.facts import registries as registries_
from soci_bootstrap.facts.machine import Machine, architecture, this_machine
from soci_bootstrap.facts.units import UnitFile, read_unit
from soci_bootstrap.state.record import Record
from soci_bootstrap.system import System, resources
from soci_bootstrap.system.systemd import Systemd, UnitState

DECOMPRESSORS = ("igzip", "unpigz")
"""The node's own, where they are on its PATH."""


@dataclass(frozen=True)
class AmiSoci:
    """SOCI as the AMI ships it: files that are never ours to change.

    Attributes:
        service: its service unit's file is there.
        socket: its socket unit's file is there.
        address: the socket it listens on.
        binary: its daemon, empty for none.
        version: that daemon's version, None where it can't be asked.
    """

    service: bool = False
    socket: bool = False
    address: str = ""
    binary: str = ""
    version: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Facts:
    """One observation of a node or an image.

    Attributes:
        live: it is this node, with systemd running; else a tree below ``--root``.
        python: the version of /usr/bin/python3, None where there is none.
        boot_id: the kernel's, empty below ``--root``.
        nodeadm_dropins: and it reads /etc/eks/nodeadm.d.
        registries: those with mirrors or certificates that SOCI does not use.
        programs: the decompressors found, by name.
        units: states by unit name, empty below ``--root``.
    """

    live: bool
    arch: str
    machine: Machine
    python: tuple[int, int] | None
    boot_id: str
    containerd: containerd_.Containerd
    kubelet: kubelet_.Kubelet
    nodeadm_dropins: bool
    node_config: nodeconfig.NodeConfig
    ami: AmiSoci
    store: content_store.ContentStore
    registries: tuple[registries_.Registry, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, UnitState] = field(default_factory=dict)


def observe(
    system: System,
    record: Record | None,
    *,
    arch: str | None = None,
    vcpus: int | None = None,
    memory_gib: float | None = None,
    units: Mapping[str, UnitState] | None = None,
) -> Facts:
    """Everything that decides the plan.

    Args:
        system: the node or the image.
        record: of the last run.
        arch: ``--arch``.
        vcpus: ``--vcpus``.
        memory_gib: ``--memory-gib``.
        units: their states, None to ask systemd for them.

    Raises:
        UnsupportedArchitectureError: nothing can be installed here.
        StateError: a file of the node can't be read as what it should be.
    """
    unit = read_unit(system, paths.CONTAINERD_SERVICE, without=paths.UNIT_DROPIN)
    containerd = containerd_.observe(system, unit)
    nodeadm_run = read_unit(system, paths.NODEADM_RUN_SERVICE)
    boot_id = (system.read(paths.BOOT_ID) or b"").decode().strip() if system.live else ""
    return Facts(
        live=system.live,
        arch=architecture(arch),
        machine=this_machine(vcpus, memory_gib),
        python=python_version(system),
        boot_id=boot_id,
        containerd=containerd,
        kubelet=kubelet_.observe(system, read_unit(system, paths.KUBELET_SERVICE)),
        nodeadm_dropins=any(paths.NODEADM_DROPINS in line for line in nodeadm_run.values("ExecStart")),
        node_config=_node_config(system, record),
        ami=_ami(system, record),
        store=content_store.observe(system, containerd.root),
        registries=registries_.observe(system, containerd.config, containerd.config_path, containerd.version),
        programs=programs(system),
        units=Systemd(system).unit_states() if units is None else units,
    )


def programs(system: System) -> dict[str, str]:
    """Find the node's own decompressors: where each is, by name."""
    return {name: path for name in DECOMPRESSORS if (path := system.which(name))}


def _node_config(system: System, record: Record | None) -> nodeconfig.NodeConfig:
    """The user's NodeConfig; once nodeadm has merged our drop-in into its cache, as remembered."""
    if record and record.node_config and system.live and system.read(paths.PLANNED) is not None:
        remembered = dict(record.node_config)
        static = remembered.pop("static")
        return nodeconfig.NodeConfig(
            **{**remembered, "later": tuple(remembered["later"])},
            static=configfiles_containerd.NamedSoci(**static) if static else None,
        )
    return nodeconfig.read(system)


def node_config_json(config: nodeconfig.NodeConfig) -> dict[str, object]:
    """Write a NodeConfig as ``_node_config`` reads it back."""
    return asdict(config)


def _ami(system: System, record: Record | None) -> AmiSoci:
    ours = record.before if record else {}
    service, socket = (
        read_unit(system, name, without=paths.UNIT_DROPIN) for name in (paths.SOCI_SERVICE, paths.SOCI_SOCKET)
    )
    foreign = {unit.name: bool(unit.path) and not _is_ours(system, unit, ours) for unit in (service, socket)}
    addresses = socket.values("ListenStream", "Socket")
    binary = paths.AMI_DAEMON if system.is_executable(paths.AMI_DAEMON) else ""
    return AmiSoci(
        service=foreign[paths.SOCI_SERVICE],
        socket=foreign[paths.SOCI_SOCKET],
        address=addresses[-1] if foreign[paths.SOCI_SOCKET] and addresses else "",
        binary=binary,
        version=_daemon_version(system, binary) if binary else None,
    )


def _is_ours(system: System, unit: UnitFile, before: Mapping[str, object]) -> bool:
    """Tell our unit from the AMI's: by the record, or by its bytes where the record was lost."""
    return unit.path in before or system.read(unit.path) == resources.read(f"systemd/{unit.name}")


def _daemon_version(system: System, path: str) -> tuple[int, int, int] | None:
    if not system.live:
        return None
    try:
        return containerd_.parse_version(system.run([path, "--version"], timeout=5).stdout)
    except CommandError:
        # One that does not run is none to rely on: ours is fetched.
        return None


def python_version(system: System) -> tuple[int, int] | None:
    """The version of the interpreter that /usr/bin/python3 is, by its name; None for none."""
    path = paths.PYTHON
    name = system.followed(path).rsplit("/", 1)[1]
    if not system.is_executable(path):
        return None
    major, _, minor = name[len("python") :].partition(".")
    if major.isdigit() and minor.isdigit():
        return int(major), int(minor)
    return sys.version_info[:2] if system.live else None

"""One observation of a node, for doctor: everything the checks are decided from.

Defaults are those of a tree in which nothing is; the checks are pure functions of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor.finding import NEEDS_ROOT, Observed, Unknown
from soci_bootstrap.facts.content_store import ContentStore
from soci_bootstrap.facts.kubelet import Endpoint
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.facts.registries import Registry
from soci_bootstrap.plan import steps
from soci_bootstrap.plan.desired import Desired
from soci_bootstrap.state.health import State
from soci_bootstrap.state.record import Record
from soci_bootstrap.system.tree import ABSENT, Entry

NOT_ASKED = Unknown("not asked for")
_OURS = (
    paths.AGENT,
    paths.CONTAINERD_DROPIN,
    paths.NODEADM_DROPIN,
    f"{paths.UNITS}/{paths.BOOT_SERVICE}",
    f"{paths.UNITS}/{paths.SOCI_SERVICE}.d/{paths.UNIT_DROPIN}",
)
"""Files that only an install puts there."""


@dataclass(frozen=True)
class Daemon:
    """SOCI's daemon as its unit starts it.

    Attributes:
        program: the binary.
        config: its ``--config``.
        root: its ``--root``.
        address: the socket that its socket unit listens on.
    """

    program: str = paths.DAEMON
    config: str = paths.SOCI_CONFIG
    root: str = paths.SOCI_ROOT
    address: str = paths.SOCI_ADDRESS


@dataclass(frozen=True)
class Binary:
    """The daemon's file.

    Attributes:
        entry: what stands there, links followed.
        arch: its ELF header's architecture by SOCI's name for it; empty for no ELF file.
        noexec: it lies on a file system that is mounted noexec.
        sha256: of its bytes.
        version: the output of ``--version`` and its status.
    """

    entry: Observed[Entry] = ABSENT
    arch: Observed[str] = ""
    noexec: bool = False
    sha256: Observed[str] = NOT_ASKED
    version: Observed[tuple[int, bytes]] = NOT_ASKED


@dataclass(frozen=True)
class Unit:
    """A unit as the running systemd shows it.

    Attributes:
        load: ``loaded``, ``not-found``, ``masked``, ...
        enabled: ``enabled``, ``disabled``, ``masked``, ...; empty for no unit file.
        started: seconds on the monotonic clock when it became active, 0 for never in this boot.
        pid: of its main process, 0 for none.
        result: why it ended, ``success`` for nothing wrong.
    """

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""
    dropins: tuple[str, ...] = ()
    reload: bool = False
    restarts: int = 0
    pid: int = 0
    started: float = 0.0
    result: str = "success"
    invocation: str = ""


@dataclass(frozen=True)
class Process:
    """SOCI's running daemon.

    Attributes:
        resident: bytes of memory of its own (RssAnon): page cache is not counted.
        older_than: files changed since it started.
        astray: an open file below its root that is no longer what stands there.
        deleted: its program's file was replaced since.
    """

    resident: Observed[int] = NOT_ASKED
    older_than: tuple[str, ...] = ()
    astray: Observed[str] = ""
    deleted: Observed[bool] = False


@dataclass(frozen=True)
class Containerd:
    """containerd as found.

    Attributes:
        present: there is one on this node.
        config: path of its configuration.
        effective: what it makes of it.
        others: files it imports that name another snapshotter: (path, snapshotter).
    """

    present: bool = False
    version: tuple[int, int, int] | None = None
    config: str = paths.CONTAINERD_CONFIG
    root: str = paths.CONTAINERD_ROOT
    effective: Observed[Effective] = NOT_ASKED
    others: Observed[tuple[tuple[str, str], ...]] = ()


@dataclass(frozen=True)
class Disk:
    """A directory's file system.

    Attributes:
        device: identifies the file system.
        source: what is mounted.
        free, size: bytes; inodes_free, inodes: counts, 0 where it has none to run out of.
        array: it is on an md array, by what the kernel says of the device.
    """

    device: int
    source: str = ""
    free: int = 0
    size: int = 0
    inodes_free: int = 0
    inodes: int = 0
    array: bool = False


@dataclass(frozen=True)
class Images:
    """containerd's images and snapshots.

    Attributes:
        probe: empty where a snapshot was prepared in SOCI and removed, else why not.
        unpacked: image reference to whether SOCI has its snapshots.
        soci, overlayfs: how many snapshots each holds.
        running: containers run on SOCI.
    """

    probe: Observed[str] = NOT_ASKED
    unpacked: Observed[Mapping[str, bool]] = NOT_ASKED
    soci: Observed[int] = NOT_ASKED
    overlayfs: Observed[int] = NOT_ASKED
    running: Observed[bool] = NOT_ASKED


@dataclass(frozen=True)
class Node:
    """The observation.

    Attributes:
        live: it is this node, with systemd running; else a tree below ``--root``.
        root: we are root.
        arch: SOCI's name for the architecture.
        python: whether /usr/bin/python3 is there.
        record: what install left, None for nothing.
        state: what the hooks left.
        desired: what install would want, by the recorded settings.
        files: what stands at every path that is, or should be, managed, and at our well-known ones.
        service_file, socket_file: main files of SOCI's units, empty for none.
        config: bytes of SOCI's config.toml, None for none.
        document: those bytes parsed.
        decompressor: the program that the config names, empty for none, and its entry.
        decompressor_works: empty where it passed its self-test, else why not.
        answers: SOCI answers as a gRPC server.
        errors: error lines of the running (or last) daemon's journal, oldest first.
        endpoint: kubelet's image endpoint, None for no kubelet.
        pause_cached: the AMI has the pause image in a file.
        registries: those of which containerd is told something that SOCI does not heed.
        reachable: what those that were asked answered, empty where they did, else why not.
    """

    live: bool = True
    root: bool = True
    boot_id: str = ""
    arch: Observed[str] = "amd64"
    machine: Observed[Machine] = NOT_ASKED
    python: Observed[bool] = True
    record: Observed[Record | None] = None
    state: Observed[State] = field(default_factory=State)
    desired: Observed[Desired] = NOT_ASKED
    daemon: Daemon = Daemon()
    binary: Binary = Binary()
    config: Observed[bytes | None] = None
    document: Observed[Mapping[str, Any]] = NOT_ASKED
    decompressor: str = ""
    decompressor_entry: Observed[Entry] = ABSENT
    decompressor_works: Observed[str] = NOT_ASKED
    files: Mapping[str, Observed[steps.Observed]] = field(default_factory=dict)
    service_file: str = ""
    socket_file: str = ""
    units: Observed[Mapping[str, Unit]] = NOT_ASKED
    answers: Observed[bool] = NOT_ASKED
    process: Process = Process()
    errors: Observed[tuple[str, ...]] = NOT_ASKED
    node_config: Observed[NodeConfig] = NOT_ASKED
    containerd: Containerd = Containerd()
    endpoint: Observed[Endpoint | None] = None
    store: Observed[ContentStore] = NOT_ASKED
    pause_cached: bool = False
    images: Images = Images()
    soci_disk: Observed[Disk] = NOT_ASKED
    containerd_disk: Observed[Disk] = NOT_ASKED
    registries: Observed[tuple[Registry, ...]] = NOT_ASKED
    reachable: Observed[Mapping[str, str]] = field(default_factory=dict)

    def unit(self, name: str) -> Observed[Unit]:
        """A unit's state; an unknown one is as systemd shows it, not found."""
        if isinstance(self.units, Unknown):
            return self.units
        return self.units.get(name, Unit())

    @property
    def baked(self) -> bool:
        """This is an image, or its builder: what a first boot writes is not there yet."""
        return self.recorded is not None and self.recorded.outcome == "baked"

    @property
    def hidden(self) -> bool:
        """This user may not see what was installed."""
        return self.record == Unknown(NEEDS_ROOT)

    @property
    def foreign(self) -> bool:
        """All that there is of SOCI is the AMI's or another's: no record, and no file of ours."""
        return self.record is None and all(
            isinstance(found, steps.Observed) and found.entry.kind == "absent"
            for found in (self.files.get(path, steps.Observed()) for path in _OURS)
        )

    @property
    def wired(self) -> bool:
        """Containerd is known to pull with SOCI."""
        effective = self.containerd.effective
        return isinstance(effective, Effective) and effective.snapshotter == "soci"

    @property
    def absent(self) -> bool:
        """Nothing was ever installed, and nobody else wired SOCI."""
        return self.foreign and not self.wired

    @property
    def recorded(self) -> Record | None:
        """The record where there is one that can be read."""
        return None if isinstance(self.record, Unknown) else self.record

    @property
    def failed_open(self) -> str:
        """Why the node failed open, empty where it did not."""
        return "" if isinstance(self.state, Unknown) else self.state.degraded

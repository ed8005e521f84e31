"""Rollback on a node that is running: containerd, kubelet, images and units, around the files."""

from __future__ import annotations

import os

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError, WorkloadsError
from soci_bootstrap.runtime import mounts, pods, probe
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import fit_images
from soci_bootstrap.runtime.pods import Running
from soci_bootstrap.runtime.switch import Switch
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome, Record
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd, has_systemd

_IMAGES_SECONDS = 30.0
_ANSWER_SECONDS = 1.0


class Runtime:
    """What runs, and bringing it back: observe, refuse, quiesce, clean, stop, restart, in that order.

    Args:
        system: the node.
        console: for progress.
        deadline: bounds every wait.
        record: of the installs.
        wired: how the node is wired, None where it never was.
    """

    def __init__(
        self, system: System, console: Console, deadline: Deadline, record: Record, wired: Wired | None
    ) -> None:
        self._system = system
        self._console = console
        self._deadline = deadline
        self._systemd = Systemd(system, deadline)
        self._record = record
        self._wired = wired
        self._running: tuple[Running, ...] = ()
        self._afterwards = ""
        self._up = False
        self._switch: Switch | None = None
        self._free = False

    def observe(self, afterwards: str) -> None:
        """Look at what runs.

        Args:
            afterwards: the snapshotter that containerd's configuration is going to name.

        Raises:
            CommandError: systemd or containerd did not say.
        """
        self._afterwards = afterwards
        self._up = self._systemd.is_active(paths.CONTAINERD_SERVICE)
        if self._wired is None:
            return
        self._running = pods.running(self._system) if self._up else ()
        resumed = self._record.outcome is Outcome.ROLLING_BACK and bool(
            self._record.units_active.get(paths.KUBELET_SERVICE)
        )
        with_soci = resumed or health.load(self._system).snapshotter == "soci" or bool(self._on_soci())
        if self._up and afterwards != "soci" and (with_soci or self._file_says_soci()):
            self._switch = Switch(self._system, self._console, self._deadline, kubelet=resumed)

    def refuse(self, *, force: bool) -> None:
        """Raise where containers would lose the ground they stand on.

        Raises:
            WorkloadsError: naming what to drain.
        """
        found = pods.labels(pods.workloads(self._on_soci()))
        if not self._up and self._wired and mounts.on_snapshotter(self._system, self._wired.root):
            found = ("containers that containerd, being down, does not name",)
        if found and not force:
            raise WorkloadsError(
                "workloads run on SOCI's snapshots, which rollback takes away",
                found=", ".join(found),
                expected="at most the pods of node agents",
                remedy="drain the node (`kubectl drain --ignore-daemonsets`), or stop them with --force",
            )

    def to_start_again(self) -> dict[str, bool]:
        """What to remember for a rollback that goes on after this one was killed."""
        return {paths.KUBELET_SERVICE: self._switch.kubelet} if self._switch else {}

    def quiesce(self) -> None:
        """Where containerd changes its snapshotter: stop kubelet, remove the pods."""
        if self._switch is not None:
            self._switch.begin(self._running)
            pods.remove_pods(self._system, [one for one in self._on_soci() if not one.kind])

    def clean_images(self) -> None:
        """With the files on their way back and SOCI still up: leave nothing of it in containerd's database.

        A snapshot that containerd knows and SOCI does not would break the next install.
        """
        if not self._up or self._wired is None or self._afterwards == "soci":
            return
        ctr = Ctr(self._system, seconds=_IMAGES_SECONDS)
        fit_images(self._system, ctr, self._afterwards)
        if probe.answers(self._wired.address, _ANSWER_SECONDS):
            try:
                ctr.remove_snapshots("soci")
            except BootstrapError as error:
                self._console.debug(f"SOCI's snapshots stay: {error}")

    def stop_units(self) -> None:
        """Stop SOCI and its socket, while their units' files are still there."""
        for unit in (paths.SOCI_SOCKET, paths.SOCI_SERVICE):
            if self._systemd.is_active(unit):
                self._systemd.run("stop", unit)
        root = self._wired.root if self._wired else ""
        self._free = bool(root) and self._afterwards != "soci" and not holds_snapshots(self._system, root)

    def restart(self) -> None:
        """With the units' files back: start what ran before us, containerd on its old configuration."""
        self._systemd.run("daemon-reload")
        for unit in (paths.SOCI_SOCKET, paths.SOCI_SERVICE):
            if self._record.units_active.get(unit):
                self._systemd.run("start", unit)
        if self._switch is not None:
            self._console.info("restarting containerd")
            self._systemd.run("restart", paths.CONTAINERD_SERVICE)
            self._switch.end()

    def root_is_free(self) -> bool:
        """Whether nothing refers to what lies in SOCI's root."""
        return self._free

    def _on_soci(self) -> tuple[Running, ...]:
        return tuple(container for container in self._running if container.snapshotter == "soci")

    def _file_says_soci(self) -> bool:
        return self._wired is not None and snapshotter(self._system, self._wired) == "soci"


def holds_snapshots(system: System, root: str) -> bool:
    """Whether a snapshotter's root holds any; what is left of an unused one is its empty database."""
    return any(system.listdir(f"{root}{below}/snapshots") for below in ("", "/snapshotter"))


def remove_runtime_files(system: System, address: str) -> None:
    """What only lives in /run: our own directory, and the socket that systemd leaves behind."""
    system.rmtree(paths.RUN)
    if not (has_systemd(system) and Systemd(system).is_active(paths.SOCI_SOCKET)):
        system.remove(address)
        system.rmdir(os.path.dirname(address))

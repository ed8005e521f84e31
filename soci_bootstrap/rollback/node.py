"""Rollback on a node that is running: containerd, kubelet, images and units, around the files."""

from __future__ import annotations

import os

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError, WorkloadsError
from soci_bootstrap.runtime import mounts, pods, probe
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import fit_images
from soci_bootstrap.runtime.pods import Running
from soci_bootstrap.runtime.switch import IMAGES_SECONDS, Switch, kubelet_is_noted, start_kubelet_if_noted
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Record
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd, has_systemd

_ANSWER_SECONDS = 1.0


class Runtime:
    """Rollback of running services: check workloads, stop pods, remove SOCI's snapshots, restart units.

    ``observe``, ``refuse``, ``quiesce``, ``clean_images``, ``stop_units``, ``restart``: in this order.

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
        self._stranded = False
        self._started = False
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
        ran_with_soci = health.load(self._system).snapshotter == "soci"
        with_soci = ran_with_soci or kubelet_is_noted(self._system) or bool(self._on_soci())
        if afterwards != "soci" and self._up and (with_soci or self._file_says_soci()):
            self._switch = Switch(self._system, self._console, self._deadline)
        self._stranded = afterwards != "soci" and not self._up and ran_with_soci

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

    def quiesce(self, *, force: bool) -> None:
        """Where containerd changes its snapshotter: stop kubelet, look again, remove the pods.

        Raises:
            WorkloadsError: workloads came to run on SOCI since ``refuse``.
            CommandError: kubelet would not stop, or a pod would not go.
        """
        if self._switch is not None:
            self._switch.quiesce(force=force, on="soci")
            self._running = pods.running(self._system)
            pods.remove_pods(self._system, [one for one in self._on_soci() if not one.kind])

    def clean_images(self) -> list[str]:
        """With the files on their way back and SOCI still up: leave nothing of it in containerd's database.

        A snapshot that containerd knows and SOCI does not would break the next install; an image on SOCI
        alone would be reported as present, and none of its containers would start.

        Returns:
            What did not work, a sentence each: it keeps nothing else from being put back.
        """
        if self._stranded:
            self._console.info("starting containerd, to remove the images that only SOCI has")
            self._started = True
            failures = self._systemd.try_run("start", paths.CONTAINERD_SERVICE)
            if failures:
                return [f"images that only SOCI has stay on record: {failures[0]}"]
        elif not self._up or self._wired is None or self._afterwards == "soci":
            return []
        ctr = Ctr(self._system, seconds=IMAGES_SECONDS)
        notes = [
            f"images that only SOCI has may stay on record: {failure}"
            for failure in fit_images(self._system, ctr, self._afterwards)
        ]
        if self._wired and probe.answers(self._wired.address, _ANSWER_SECONDS):
            try:
                ctr.remove_snapshots("soci")
            except BootstrapError as error:
                self._console.debug(f"SOCI's snapshots stay: {error}")
        return notes

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
        elif self._started:
            self._systemd.run("stop", paths.CONTAINERD_SERVICE)
        start_kubelet_if_noted(self._system, self._systemd)

    def root_is_free(self) -> bool:
        """Tell whether nothing refers to what lies in SOCI's root."""
        return self._free

    def _on_soci(self) -> tuple[Running, ...]:
        return tuple(container for container in self._running if container.snapshotter == "soci")

    def _file_says_soci(self) -> bool:
        return self._wired is not None and snapshotter(self._system, self._wired) == "soci"


def holds_snapshots(system: System, root: str) -> bool:
    """Tell whether a snapshotter's root holds any; what is left of an unused one is its empty database."""
    return any(system.listdir(f"{root}{below}/snapshots") for below in ("", "/snapshotter"))


def remove_runtime_files(system: System, address: str) -> None:
    """Remove our own directory in /run, and the socket that systemd leaves behind there."""
    system.rmtree(paths.RUN)
    if not (has_systemd(system) and Systemd(system).is_active(paths.SOCI_SOCKET)):
        system.remove(address)
        system.rmdir(os.path.dirname(address))

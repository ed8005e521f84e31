"""Switch a running containerd to SOCI: kubelet down, pods removed, containerd restarted and checked."""

from __future__ import annotations

from collections.abc import Sequence

from soci_bootstrap import paths
from soci_bootstrap.errors import PreflightError, WorkloadsError
from soci_bootstrap.runtime import pods
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import fit_images, try_out
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd

IMAGES_SECONDS = 30.0
"""For each call of ctr about images, where no hook waits."""


def note_kubelet_stopped(system: System) -> None:
    """Write down that a run stops kubelet, before it does: whoever comes next starts it again.

    In /run: a reboot starts kubelet by itself.
    """
    system.mkdir(paths.RUN, 0o700)
    system.write(paths.KUBELET_STOPPED, b"", 0o600)


def kubelet_is_noted(system: System) -> bool:
    """Tell whether a run of ours stopped kubelet, and none has started it since."""
    return system.entry(paths.KUBELET_STOPPED).kind != "absent"


def start_kubelet_if_noted(system: System, systemd: Systemd) -> bool:
    """Start kubelet where a run of ours stopped it; whether it was so.

    Raises:
        CommandError: it does not start; the note stays.
    """
    if not kubelet_is_noted(system):
        return False
    systemd.run("start", paths.KUBELET_SERVICE)
    system.remove(paths.KUBELET_STOPPED)
    return True


class Switch:
    """Containerd's change to another snapshotter: kubelet down, pods gone, restarted, checked.

    Args:
        system: the node.
        console: for progress.
        deadline: bounds every wait.

    Attributes:
        kubelet: whether kubelet is to run afterwards; one that a killed run stopped is.
    """

    def __init__(self, system: System, console: Console, deadline: Deadline) -> None:
        self._system = system
        self._console = console
        self._systemd = Systemd(system, deadline)
        self.kubelet = kubelet_is_noted(system) or self._systemd.is_active(paths.KUBELET_SERVICE)

    def quiesce(self, *, force: bool, on: str = "") -> None:
        """Stop kubelet, look again at what runs, and remove the pods.

        Args:
            force: also where workloads run.
            on: only workloads on this snapshotter count; empty for any.

        Raises:
            WorkloadsError: workloads run, which may have come since somebody looked; kubelet runs again,
                and nothing else was changed.
            CommandError: kubelet would not stop, or a pod would not go.
        """
        self._stop_kubelet()
        running = pods.running(self._system)
        found = [one for one in pods.workloads(running) if on in ("", one.snapshotter)]
        if found and not force:
            self.end()
            raise WorkloadsError(
                "workloads run on this node, which the switch would stop",
                found=", ".join(pods.labels(found)),
                expected="at most the pods of node agents",
                remedy="drain the node (`kubectl drain --ignore-daemonsets`), or stop them with --force",
            )
        self._remove(running)

    def _stop_kubelet(self) -> None:
        if self.kubelet:
            self._console.info("stopping kubelet")
            note_kubelet_stopped(self._system)
            self._systemd.run("stop", paths.KUBELET_SERVICE)

    def _remove(self, running: Sequence[pods.Running]) -> None:
        self._console.info(f"removing {len(pods.labels(pods.pods(running)))} pods")
        pods.remove_pods(self._system, pods.pods(running))

    def restart(self, wired: Wired) -> None:
        """Restart containerd, whose hooks check SOCI, look at what came of it, and fit the images.

        Raises:
            BootstrapError: containerd is down, or not on SOCI.
        """
        self._console.info("restarting containerd")
        self._systemd.run("restart", paths.CONTAINERD_SERVICE)
        found = health.load(self._system).degraded
        if found or snapshotter(self._system, wired) != "soci":
            raise PreflightError(
                "containerd did not come up with SOCI",
                found=found or f"the snapshotter {snapshotter(self._system, wired)}",
                expected="its hooks to find SOCI answering",
                remedy=f"see `journalctl -u {paths.CONTAINERD_SERVICE} -u soci-snapshotter.service`",
            )
        ctr = Ctr(self._system, IMAGES_SECONDS)
        try_out(ctr)
        # What the hook had no time for.
        for failure in fit_images(self._system, ctr, "soci"):
            self._console.warn(f"images were not looked through for soci: {failure}")

    def end(self) -> None:
        """Start kubelet again, which starts its pods.

        Raises:
            CommandError: it does not start.
        """
        if self.kubelet:
            self._console.info("starting kubelet")
            start_kubelet_if_noted(self._system, self._systemd)

    def back(self, active: str) -> list[str]:
        """After a failure, the files being as before: containerd and kubelet as well.

        Args:
            active: the snapshotter that those files name.

        Returns:
            What did not work, a sentence each.
        """
        failures = self._systemd.try_run("restart", paths.CONTAINERD_SERVICE)
        if not failures:
            failures += fit_images(self._system, Ctr(self._system, IMAGES_SECONDS), active)
        if self.kubelet:
            started = self._systemd.try_run("start", paths.KUBELET_SERVICE)
            failures += started
            if not started:
                self._system.remove(paths.KUBELET_STOPPED)
        return failures

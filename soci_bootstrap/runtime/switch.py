"""Switch a running containerd to SOCI: kubelet down, pods removed, containerd restarted and checked."""

from __future__ import annotations

from collections.abc import Sequence

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError, PreflightError
from soci_bootstrap.runtime import pods
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import fit_images
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd


class Switch:
    """Containerd's change to another snapshotter: kubelet down, pods gone, restarted, checked.

    Args:
        system: the node.
        console: for progress.
        deadline: bounds every wait.
        kubelet: whether kubelet is to run afterwards although it is down now: an earlier run, that
            was killed, stopped it.
    """

    def __init__(
        self, system: System, console: Console, deadline: Deadline, *, kubelet: bool = False
    ) -> None:
        self._system = system
        self._console = console
        self._systemd = Systemd(system, deadline)
        self.kubelet = kubelet or self._systemd.is_active(paths.KUBELET_SERVICE)

    def begin(self, running: Sequence[pods.Running]) -> None:
        """Stop kubelet and remove its pods.

        Raises:
            CommandError: kubelet would not stop, or a pod would not go.
        """
        if self.kubelet:
            self._console.info("stopping kubelet")
            self._systemd.run("stop", paths.KUBELET_SERVICE)
        self._console.info(f"removing {len(pods.labels(pods.pods(running)))} pods")
        pods.remove_pods(self._system, pods.pods(running))

    def restart(self, wired: Wired) -> None:
        """Restart containerd, whose hooks check SOCI and fit the images, and look at what came of it.

        Raises:
            BootstrapError: containerd is down, or not on SOCI.
        """
        self._console.info("restarting containerd")
        self._systemd.run("restart", paths.CONTAINERD_SERVICE)
        found = health.load(self._system)
        if found.degraded or found.snapshotter != "soci" or snapshotter(self._system, wired) != "soci":
            raise PreflightError(
                "containerd did not come up with SOCI",
                found=found.degraded or f"the snapshotter {snapshotter(self._system, wired)}",
                expected="its hooks to find SOCI answering",
                remedy=f"see `journalctl -u {paths.CONTAINERD_SERVICE} -u soci-snapshotter.service`",
            )
        Ctr(self._system).probe_snapshot("soci")

    def end(self) -> None:
        """Start kubelet again, which starts its pods.

        Raises:
            CommandError: it does not start.
        """
        if self.kubelet:
            self._console.info("starting kubelet")
            self._systemd.run("start", paths.KUBELET_SERVICE)

    def back(self, active: str) -> list[str]:
        """After a failure, the files being as before: containerd and kubelet as well.

        Args:
            active: the snapshotter that those files name.

        Returns:
            What did not work, a sentence each.
        """
        failures = self._systemd.try_run("restart", paths.CONTAINERD_SERVICE)
        if not failures:
            try:
                fit_images(self._system, Ctr(self._system), active)
            except BootstrapError as error:
                failures.append(str(error))
        if self.kubelet:
            failures += self._systemd.try_run("start", paths.KUBELET_SERVICE)
        return failures

"""When a change of snapshotter takes effect, and making it so on a node that is running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from soci_bootstrap import live, paths
from soci_bootstrap.ctr import Ctr
from soci_bootstrap.errors import BootstrapError, PreflightError
from soci_bootstrap.facts import Facts
from soci_bootstrap.hooks import fit_images
from soci_bootstrap.items import File, Item
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Phase, Record
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System, systemd
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.unwire import snapshotter

STAGED = "takes effect at the next boot"
_UP = frozenset({"active", "reloading", "activating"})


class Effect(Enum):
    """When containerd gets to know of its wiring."""

    WITH_START = "containerd is not running: its start does it"
    DONE = "containerd runs with it"
    NOW = "containerd is restarted here"
    NEXT_BOOT = "workloads run: at the next boot"


def effect(system: System, facts: Facts, wired: Wired, record: Record | None, *, pending: bool) -> Effect:
    """When a wiring takes effect here; ``NOW`` needs no force, ``NEXT_BOOT`` is where force decides.

    Args:
        system: the node.
        facts: as observed before anything changed.
        wired: the wiring that is wanted.
        record: of the last run.
        pending: whether a file of the wiring is going to change.

    Raises:
        CommandError: containerd did not say what runs.
    """
    unit = facts.units.get(paths.CONTAINERD_SERVICE)
    if unit is None or unit.active not in _UP or wired.mode == "none" or systemd.nodeadm_is_due(system):
        return Effect.WITH_START
    if not pending and snapshotter(system, wired) == "soci" and _ran_with_soci(system, record):
        return Effect.DONE
    return Effect.NEXT_BOOT if live.workloads(live.running(system)) else Effect.NOW


def rewires(items: Iterable[Item], wired: Wired, record: Record | None) -> bool:
    """Whether putting these changes what containerd is told.

    nodeadm merges its drop-in at a boot: to put back the one that the last run left there tells it nothing.
    """
    settled = record.managed if record and record.outcome == "installed" and wired.mode == "nodeadm" else {}
    for item in items:
        if item.phase is Phase.WIRING:
            last = settled.get(item.path)
            if last is None or not isinstance(item, File) or last.sha256 != _digest(item.data):
                return True
    return False


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _ran_with_soci(system: System, record: Record | None) -> bool:
    """Whether containerd started with what its files say now; without our hooks, only the files tell."""
    return record is None or not record.wiring or health.load(system).snapshotter == "soci"


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
        self._deadline = deadline
        self.kubelet = kubelet or systemd.is_active(system, paths.KUBELET_SERVICE)

    def begin(self, running: Sequence[live.Running]) -> None:
        """Stop kubelet and remove its pods.

        Raises:
            CommandError: kubelet would not stop, or a pod would not go.
        """
        if self.kubelet:
            self._console.info("stopping kubelet")
            systemd.control(self._system, self._deadline, "stop", paths.KUBELET_SERVICE)
        self._console.info(f"removing {len(live.labels(live.pods(running)))} pods")
        live.remove_pods(self._system, live.pods(running))

    def restart(self, wired: Wired) -> None:
        """Restart containerd, whose hooks check SOCI and fit the images, and look at what came of it.

        Raises:
            BootstrapError: containerd is down, or not on SOCI.
        """
        self._console.info("restarting containerd")
        systemd.control(self._system, self._deadline, "restart", paths.CONTAINERD_SERVICE)
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
            systemd.control(self._system, self._deadline, "start", paths.KUBELET_SERVICE)

    def back(self, active: str) -> list[str]:
        """After a failure, the files being as before: containerd and kubelet as well.

        Args:
            active: the snapshotter that those files name.

        Returns:
            What did not work, a sentence each.
        """
        failures: list[str] = []
        deadline = Deadline(60)
        try:
            systemd.control(self._system, deadline, "restart", paths.CONTAINERD_SERVICE)
            fit_images(self._system, Ctr(self._system), active)
        except BootstrapError as error:
            failures.append(str(error))
        if self.kubelet:
            try:
                systemd.control(self._system, deadline, "start", paths.KUBELET_SERVICE)
            except BootstrapError as error:
                failures.append(str(error))
        return failures

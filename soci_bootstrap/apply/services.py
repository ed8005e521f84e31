"""One run's changes of units that run, and their undoing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soci_bootstrap import paths
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.decide import Decision
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.plan.steps import Action
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system.systemd import Systemd

if TYPE_CHECKING:
    from soci_bootstrap.runtime.switch import Switch


class ServiceChanges:
    """One run's changes of units that run.

    Args:
        context: the run's.

    Attributes:
        systemctl: the running systemd.
    """

    def __init__(self, context: Context) -> None:
        self.systemctl = Systemd(context.system, context.deadline)
        self._context = context
        self._reloaded = False
        self._started: list[str] = []
        self._restarted: list[str] = []
        self._switch: Switch | None = None
        self._wired: Wired | None = None
        # At a boot the service comes after the boot-time unit, which would wait for it in vain.
        self._no_block = ("--no-block",) if context.mode is Mode.BOOT else ()

    def reload(self) -> None:
        """Have systemd read its unit files again."""
        self._reloaded = True
        self.systemctl.run("daemon-reload")

    def start(self, decision: Decision) -> None:
        """Have the socket listen; containerd's start starts the daemon itself.

        Where containerd runs already, a daemon that is changed or down is started again.
        """
        plan = decision.plan
        up = decision.facts.units[paths.CONTAINERD_SERVICE].active == "active"
        again, socket = plan.changes(Action.RESTART_SERVICE), plan.changes(Action.START_SOCKET)
        if again:
            self._restarted.append(paths.SOCI_SERVICE)
            # systemd starts no socket whose service runs. And with containerd yet to start, the
            # daemon's root may be about to move to an array.
            self._run("restart" if up and not socket else "stop", paths.SOCI_SERVICE)
        if socket:
            self._started.append(paths.SOCI_SOCKET)
            self._run("start", paths.SOCI_SOCKET)
        if plan.changes(Action.START_SERVICE):
            self._started.append(paths.SOCI_SERVICE)
        if plan.changes(Action.START_SERVICE) or (up and again and socket):
            self._run("start", paths.SOCI_SERVICE)

    def switch(self, wired: Wired) -> Switch:
        """Begin a live switch of containerd to SOCI."""
        from soci_bootstrap.runtime.switch import Switch

        self._wired = wired
        self._switch = Switch(self._context.system, self._context.console, self._context.deadline)
        return self._switch

    def forget_switch(self) -> None:
        """The switch was called off before it changed anything."""
        self._switch = None

    def start_kubelet(self) -> list[str]:
        """Start kubelet where this run or one that was killed stopped it; failures, a sentence each."""
        if self._context.system.entry(paths.KUBELET_STOPPED).kind == "absent":
            return []
        from soci_bootstrap.runtime.switch import start_kubelet_if_noted

        try:
            start_kubelet_if_noted(self._context.system, self.systemctl)
        except BootstrapError as error:
            return [str(error)]
        return []

    def stop_started(self) -> list[str]:
        """Stop what this run started, before its files are undone; failures, a sentence each."""
        return [failure for unit in self._started for failure in self.systemctl.try_run("stop", unit)]

    def undo(self) -> list[str]:
        """After the files were undone: units, containerd and kubelet as before; failures, a sentence each."""
        failures = self.systemctl.try_run("daemon-reload") if self._reloaded else []
        for unit in self._restarted:
            failures += self.systemctl.try_run(*self._no_block, "restart", unit)
        if self._switch is not None and self._wired is not None:
            failures += self._switch.back(snapshotter(self._context.system, self._wired))
        return failures

    def _run(self, verb: str, unit: str) -> None:
        self.systemctl.run(*self._no_block, verb, unit)

"""The running systemd, asked and told through ``systemctl``; every call is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError, CommandError, StateError
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.programs import checked

_SECONDS = 60.0
"""For a job: a unit's own time-outs are shorter."""
_QUESTION_SECONDS = 10.0
_QUEUE_SECONDS = 0.2
"""To queue a job, after the deadline too: it takes milliseconds, and failing open ends with it."""
_UNITS = (
    paths.SOCI_SERVICE,
    paths.SOCI_SOCKET,
    paths.BOOT_SERVICE,
    paths.CONTAINERD_SERVICE,
    paths.KUBELET_SERVICE,
    paths.NODEADM_RUN_SERVICE,
)


@dataclass(frozen=True)
class UnitState:
    """A unit as the running systemd sees it (``systemctl show``)."""

    active: str = "inactive"
    needs_reload: bool = False


class Systemd:
    """The running systemd.

    Args:
        system: the node.
        deadline: bounds every wait; None bounds each call alone.
    """

    def __init__(self, system: System, deadline: Deadline | None = None) -> None:
        self._system = system
        self._deadline = deadline

    # -- telling ------------------------------------------------------------------------------

    def run(self, *words: str) -> None:
        """Carry out a command and wait for it.

        Raises:
            CommandError: it failed, did not end in time, or there is no systemctl.
        """
        self._systemctl(words, self._limit(_SECONDS))

    def try_run(self, *words: str) -> list[str]:
        """Carry out a command on the way back, whatever the deadline: a node must not stay half-done.

        Returns:
            What failed, in a sentence.
        """
        try:
            self._systemctl(words, _SECONDS)
        except BootstrapError as error:
            return [str(error)]
        return []

    def queue(self, *words: str) -> None:
        """Queue a job without waiting for it; nothing to do where there is no systemctl.

        Raises:
            CommandError: systemd did not take it in time.
        """
        if self._system.which("systemctl"):
            seconds = self._deadline.limit(_QUESTION_SECONDS) if self._deadline else _QUESTION_SECONDS
            self._systemctl(("--no-block", *words), max(_QUEUE_SECONDS, seconds))

    # -- asking -------------------------------------------------------------------------------

    def show(self, properties: Iterable[str], *units: str) -> tuple[Mapping[str, str], ...]:
        """Properties of units, in one call: for each unit its values by property, in order.

        Raises:
            CommandError: systemd did not say.
        """
        words = ("show", "-p", ",".join(properties), *units)
        return blocks(self._systemctl(words, self._limit(_QUESTION_SECONDS)))

    def is_active(self, unit: str) -> bool:
        """Tell whether a unit runs."""
        return any(values.get("ActiveState") == "active" for values in self.show(["ActiveState"], unit))

    def unit_states(self) -> dict[str, UnitState]:
        """The states of all units that matter; nothing below ``--root``.

        Raises:
            StateError: there is no systemd.
            CommandError: it does not answer.
        """
        if not self._system.live:
            return {}
        if self._system.which("systemctl") is None:
            raise StateError(
                "systemd is not on this node",
                expected="systemctl on the PATH",
                remedy="use --root DIR to work on an image instead",
            )
        shown = self.show(["Id", "ActiveState", "LoadState", "NeedDaemonReload"], *_UNITS)
        return {
            values.get("Id", ""): UnitState(
                values.get("ActiveState", ""),
                values.get("NeedDaemonReload") == "yes",
            )
            for values in shown
        }

    def nodeadm_is_due(self) -> bool:
        """Tell whether this boot's nodeadm-run is still to come: then containerd is restarted anyway."""
        started = "ExecMainStartTimestampMonotonic"
        shown = self.show(["LoadState", started], paths.NODEADM_RUN_SERVICE)
        return any((values.get("LoadState"), values.get(started)) == ("loaded", "0") for values in shown)

    def _limit(self, seconds: float) -> float:
        if self._deadline is None:
            return seconds
        self._deadline.check("systemd")
        return self._deadline.limit(seconds)

    def _systemctl(self, words: tuple[str, ...], seconds: float) -> str:
        program = self._system.which("systemctl")
        if program is None:
            raise CommandError(
                "systemctl is not on this node", expected="it on the PATH", remedy="install systemd"
            )
        argv = [program, *words]
        return checked(argv, self._system.run(argv, timeout=seconds)).decode("utf-8", "replace")


def has_systemd(system: System) -> bool:
    """Tell whether systemd runs here, as sd_booted(3) tells; where it doesn't, no unit does."""
    return system.live and system.entry("/run/systemd/system").kind == "dir"


def blocks(said: str) -> tuple[Mapping[str, str], ...]:
    """The units in an output of ``systemctl show``: values by property."""
    found = (
        dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        for block in said.split("\n\n")
    )
    return tuple(values for values in found if values)

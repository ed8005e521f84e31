"""systemctl, bounded by the run's deadline, and once more where a run takes itself back."""

from __future__ import annotations

from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError, StateError
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.programs import checked

_SYSTEMCTL_SECONDS = 60.0
_UNITS = (
    paths.SOCI_SERVICE,
    paths.SOCI_SOCKET,
    paths.BOOT_SERVICE,
    paths.CONTAINERD_SERVICE,
    paths.KUBELET_SERVICE,
    paths.NODEADM_RUN_SERVICE,
)

_SECONDS = 30.0


class Systemctl:
    """The running systemd.

    Args:
        system: the node.
        deadline: the run's; taking back does not heed it, or a node would stay half-done.
    """

    def __init__(self, system: System, deadline: Deadline) -> None:
        self._system = system
        self._deadline = deadline

    def run(self, *words: str) -> None:
        """Carry out a command. Raises ``CommandError`` where it fails or is not there."""
        self._run(words, self._deadline.limit(_SECONDS))

    def try_run(self, *words: str) -> list[str]:
        """The same on the way back: what failed, in a sentence, instead of an error."""
        try:
            self._run(words, _SECONDS)
        except BootstrapError as error:
            return [str(error)]
        return []

    def _run(self, words: tuple[str, ...], seconds: float) -> None:
        argv = [self._system.which("systemctl") or "systemctl", *words]
        checked(argv, self._system.run(argv, timeout=seconds))


def nodeadm_is_due(system: System) -> bool:
    """Whether this boot's nodeadm-run is still to come: then containerd is restarted anyway."""
    shown = _systemctl(
        system, "show", "-p", "LoadState,ExecMainStartTimestampMonotonic", paths.NODEADM_RUN_SERVICE
    )
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    return values.get("LoadState") == "loaded" and values.get("ExecMainStartTimestampMonotonic") == "0"


def has_systemd(system: System) -> bool:
    """Whether systemd runs here, as sd_booted(3) tells; where it doesn't, no unit does."""
    return system.live and system.entry("/run/systemd/system").kind == "dir"


def is_active(system: System, unit: str) -> bool:
    """Whether systemd says that a unit runs."""
    return _systemctl(system, "show", "-p", "ActiveState", unit).strip() == "ActiveState=active"


def control(system: System, deadline: Deadline, *words: str) -> None:
    """Have systemctl do something, and wait for it.

    Raises:
        CommandError: it failed.
    """
    _systemctl(system, *words, seconds=deadline.limit(_SYSTEMCTL_SECONDS))


def _systemctl(system: System, *words: str, seconds: float = 10.0) -> str:
    argv = [system.which("systemctl") or "systemctl", *words]
    return checked(argv, system.run(argv, timeout=seconds)).decode("utf-8", "replace")


@dataclass(frozen=True)
class UnitState:
    """A unit as the running systemd sees it (``systemctl show``)."""

    active: str = "inactive"
    loaded: bool = False
    needs_reload: bool = False


def unit_states(system: System) -> dict[str, UnitState]:
    """One ``systemctl show`` for all units that matter; nothing below ``--root``.

    Raises:
        StateError: there is no systemd.
        CommandError: it does not answer.
    """
    if not system.live:
        return {}
    program = system.which("systemctl")
    if program is None:
        raise StateError(
            "systemd is not on this node",
            expected="systemctl on the PATH",
            remedy="use --root DIR to work on an image instead",
        )
    argv = [program, "show", "-p", "Id,ActiveState,LoadState,NeedDaemonReload", *_UNITS]
    states: dict[str, UnitState] = {}
    for block in checked(argv, system.run(argv, timeout=10)).decode("utf-8", "replace").split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        states[values.get("Id", "")] = UnitState(
            values.get("ActiveState", ""),
            values.get("LoadState") == "loaded",
            values.get("NeedDaemonReload") == "yes",
        )
    return states


def queue(system: System, *words: str) -> None:
    """Without waiting: this hook is part of the start that it would wait for."""
    program = system.which("systemctl")
    if program:
        system.run([program, "--no-block", *words], timeout=2)

"""systemctl, bounded by the run's deadline, and once more where a run takes itself back."""

from __future__ import annotations

from soci_bootstrap.deadline import Deadline
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.programs import checked
from soci_bootstrap.system import System

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

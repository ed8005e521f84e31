"""`rollback`: the node as it was before the first install, whatever was done since."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.rollback.files import Done, Rollback
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.backups import sweep
from soci_bootstrap.state.record import load
from soci_bootstrap.system import System, lock
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

_NOTHING = "nothing of soci-bootstrap is installed here"


@dataclass(frozen=True)
class RollbackResult:
    """What `rollback` did.

    Attributes:
        outcome: ``rolled-back``, ``unchanged`` or ``failed``.
        reason: why it failed, or why there was nothing to do.
        steps: in order.
        notes: what was left alone on purpose, a sentence each.
        seconds: how long it took.
    """

    outcome: str
    reason: str | None
    steps: tuple[Done, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def exit_status(self) -> int:
        """0, or 1 for failed."""
        return int(self.outcome == "failed")

    @property
    def document(self) -> Mapping[str, object]:
        """For ``--json``."""
        steps = [
            {"name": step.name, **({"path": step.path} if step.path else {}), "changed": step.changed}
            for step in self.steps
        ]
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "steps": steps,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }

    @property
    def text(self) -> str:
        """A line for people, and what was left alone."""
        done = sum(step.changed for step in self.steps)
        line = f"{self.outcome}: {done} of {len(self.steps)} steps changed something, {self.seconds:.1f} s"
        reason = [self.reason] if self.reason and not self.exit_status else []
        return "\n".join([line, *reason, *self.notes])


def run(settings: Settings, console: Console) -> RollbackResult:
    """Roll this node back, or the image below ``--root``.

    Raises:
        RefusedError: workloads run on SOCI, or someone changed files of ours since; nothing was changed.
        BootstrapError: before anything was changed.
    """
    started = time.monotonic()
    deadline = Deadline(settings.deadline)
    system = System(settings.root)
    with lock.held(system, deadline):
        record = load(system)
        if record is None:
            cleared = _clear_unrecorded(system)
            outcome, reason = ("rolled-back", None) if cleared else ("unchanged", _NOTHING)
            if system.live:
                lock.discard()
            return RollbackResult(outcome, reason, (), (), time.monotonic() - started)
        rollback = Rollback(system, console, deadline, record, force=settings.force)
        rollback.refuse()
        reason = None
        try:
            rollback.carry_out()
        except BootstrapError as error:
            reason = f"{error}; then run rollback again: it goes on from here"
        if reason is None and system.live:
            lock.discard()
    outcome = "failed" if reason else "rolled-back"
    seconds = time.monotonic() - started
    return RollbackResult(outcome, reason, tuple(rollback.steps), tuple(rollback.notes), seconds)


def _clear_unrecorded(system: System) -> bool:
    """What an install left that was killed before its record was written; whether there was any."""
    if system.entry(paths.STATE).kind != "dir":
        return False
    sweep(system, (paths.RECORD,))
    return system.rmdir(paths.STATE)

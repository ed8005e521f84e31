"""`rollback`: the node as it was before the first install, whatever was done since."""

from __future__ import annotations

import time
from collections.abc import Sequence

from soci_bootstrap import paths
from soci_bootstrap.cli.result import Result
from soci_bootstrap.errors import BootstrapError, RefusedError
from soci_bootstrap.plan.steps import Step, steps_to_json
from soci_bootstrap.rollback.files import Rollback
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.backups import sweep
from soci_bootstrap.state.record import load
from soci_bootstrap.system import System, lock
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

_NOTHING = "nothing of soci-bootstrap is installed here"


def run(settings: Settings, console: Console) -> Result:
    """Roll this node back, or the image below ``--root``.

    Returns:
        ``document`` has ``outcome`` (``rolled-back``, ``unchanged`` or ``failed``), ``reason`` (why it
        failed, or why there was nothing to do), ``steps``, ``notes`` (what was left alone, a sentence
        each) and ``seconds``.

    Raises:
        RefusedError: workloads run on SOCI, or someone changed files of ours since; nothing was changed.
        BootstrapError: before anything was changed.
    """
    started = time.monotonic()
    deadline = Deadline(settings.deadline)
    system = System(settings.root)
    rollback: Rollback | None = None
    reason: str | None = None
    with lock.held(system, deadline):
        record = load(system)
        if record is None:
            outcome = "rolled-back" if _clear_unrecorded(system) else "unchanged"
            reason = _NOTHING if outcome == "unchanged" else None
        else:
            outcome = "rolled-back"
            rollback = Rollback(system, console, deadline, record, force=settings.force)
            rollback.refuse()
            try:
                rollback.carry_out()
            except RefusedError:
                raise
            except BootstrapError as error:
                outcome, reason = "failed", f"{error}; then run rollback again: it goes on from here"
        if outcome != "failed" and system.live:
            lock.discard()
    steps, notes = (rollback.steps, rollback.notes) if rollback else ([], [])
    return _result(outcome, reason, steps, notes, time.monotonic() - started)


def _result(
    outcome: str, reason: str | None, steps: Sequence[Step], notes: Sequence[str], seconds: float
) -> Result:
    document = {
        "outcome": outcome,
        "reason": reason,
        "steps": steps_to_json(steps),
        "notes": list(notes),
        "seconds": round(seconds, 3),
    }
    done = sum(step.changed for step in steps)
    line = f"{outcome}: {done} of {len(steps)} steps changed something, {seconds:.1f} s"
    told = [reason] if reason and outcome != "failed" else []
    return Result(int(outcome == "failed"), document, "\n".join([line, *told, *notes]))


def _clear_unrecorded(system: System) -> bool:
    """Remove what an install left that was killed before it wrote its record; tell whether there was any."""
    if system.entry(paths.STATE).kind != "dir":
        return False
    sweep(system, (paths.RECORD,))
    return system.rmdir(paths.STATE)

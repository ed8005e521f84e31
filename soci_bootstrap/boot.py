"""Each boot, before nodeadm-run: tune to this machine, retry what failed, wire anew. No network."""

from __future__ import annotations

from soci_bootstrap import journal, lock, resources, state
from soci_bootstrap.console import Console
from soci_bootstrap.converge import Convergence
from soci_bootstrap.deadline import Deadline
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.record import ROLLING_BACK, load
from soci_bootstrap.settings import from_json
from soci_bootstrap.system import System
from soci_bootstrap.unwire import from_json as wired_from_json
from soci_bootstrap.unwire import unwire

_SECONDS = 8.0
"""Below the unit's TimeoutStartSec=10, so that failing open is ours to do."""


def run(system: System) -> None:
    """Converge on this boot's facts; where that fails, unwire: containerd starts on overlayfs."""
    record = load(system)
    if record is None or record.outcome == ROLLING_BACK:
        return
    deadline = Deadline(_SECONDS)
    console = Console(-1)
    with lock.held(system, deadline):
        agent = resources.agent_bytes() or b""
        try:
            settings = from_json(record.settings, "install")
            run_ = Convergence(system, settings, console, deadline, agent, record, boot=True)
            outcome, _ = run_.install()
        except BootstrapError as error:
            run_.undo(everything=False)
            _fail_open(system, str(error))
            return
    console.info(f"boot: {outcome}")


def _fail_open(system: System, reason: str) -> None:
    record = load(system)
    wired = wired_from_json(record.wiring) if record else None
    failures = unwire(system, wired) if wired else []
    full = "; ".join([reason, *failures])
    state.degraded(system, full)
    journal.error(f"DEGRADED {full}")

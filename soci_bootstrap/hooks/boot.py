"""Each boot, before nodeadm-run: tune to this machine, retry what failed, wire anew. No network."""

from __future__ import annotations

from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.run import run as run_
from soci_bootstrap.settings import from_json
from soci_bootstrap.state.record import Outcome, load
from soci_bootstrap.system import System, lock, resources
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

_SECONDS = 8.0
"""Below the unit's TimeoutStartSec=10, so that failing open is ours to do."""


def run(system: System) -> None:
    """Converge on this boot's facts; where that fails, the run fails open: containerd starts on overlayfs."""
    record = load(system)
    if record is None or record.outcome is Outcome.ROLLING_BACK:
        # What a rollback that was killed took away must not come back by itself.
        return
    deadline = Deadline(_SECONDS)
    with lock.held(system, deadline):
        agent = resources.agent_bytes() or b""
        settings = from_json(record.settings, "install")
        run_(Context(system, settings, Console(-1), deadline, agent, record, Mode.BOOT))

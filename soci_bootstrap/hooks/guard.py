"""Before containerd starts: unwire the node unless SOCI answers."""

from __future__ import annotations

from soci_bootstrap.runtime import probe
from soci_bootstrap.runtime.unwire import leads_to_soci
from soci_bootstrap.state.wiring import Wired, read_wired
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline

SECONDS = 4.5
"""For all of it; containerd's drop-in kills it half a second later."""
RESERVE = 0.8
"""Seconds of a hook's deadline that judging leaves for unwiring, recording, telling and queueing."""
PATIENCE = 1.5
"""Seconds for a daemon whose start job is over: it answers at once, or it is not going to."""
LEAST_PATIENCE = 0.1
"""However late: a Python that took seconds to start says nothing about SOCI."""


def guard(system: System, deadline: Deadline) -> None:
    """Before containerd starts: is SOCI there? If not, and nothing runs on it, unwire."""
    wired = read_wired(system)
    if wired is None or not leads_to_soci(system, wired):
        return
    judging = deadline.earlier(RESERVE)
    if probe.answers(wired.address, max(LEAST_PATIENCE, judging.limit(PATIENCE))):
        return
    # A node whose SOCI answers has no use for these.
    from soci_bootstrap.hooks.fail_open import unwire_node
    from soci_bootstrap.runtime import mounts

    if mounts.on_snapshotter(system, wired.root):
        _wait_for(system, wired, judging)
        return
    unwire_node(system, wired, deadline, "SOCI did not answer before containerd's start")


def _wait_for(system: System, wired: Wired, judging: Deadline) -> None:
    """Containers run on SOCI: unwiring would lose them. containerd starts wired, and again later."""
    from soci_bootstrap.hooks.fail_open import request_restart

    if not probe.answers(wired.address, judging.remaining()):
        request_restart(system)

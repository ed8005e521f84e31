"""Before containerd starts: unwire the node unless SOCI answers."""

from __future__ import annotations

from soci_bootstrap.hooks.fail_open import request_restart, unwire_node
from soci_bootstrap.runtime import mounts, probe
from soci_bootstrap.runtime.unwire import leads_to_soci
from soci_bootstrap.state.wiring import Wired, read_wired
from soci_bootstrap.system import System

PATIENCE = 1.5
"""Seconds for a daemon whose start job is over: it answers at once, or it is not going to."""
PATIENCE_IN_USE = 2.0
"""Seconds where unwiring is out of the question and all that is left is to wait."""


def guard(system: System) -> None:
    """Before containerd starts: is SOCI there? If not, and nothing runs on it, unwire."""
    wired = read_wired(system)
    if wired is None or not leads_to_soci(system, wired) or probe.answers(wired.address, PATIENCE):
        return
    if mounts.on_snapshotter(system, wired.root):
        _wait_for(system, wired)
        return
    unwire_node(system, wired, "SOCI did not answer before containerd's start")


def _wait_for(system: System, wired: Wired) -> None:
    """Containers run on SOCI: unwiring would lose them. containerd starts wired, and again later."""
    if not probe.answers(wired.address, PATIENCE_IN_USE):
        request_restart(system)

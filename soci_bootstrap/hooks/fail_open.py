"""Fail open around containerd's start: unwire, record, say so, and have containerd restarted."""

from __future__ import annotations

import os
import time

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.runtime.unwire import unwire
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System, journal

_PAUSE = 600.0
"""Seconds: a SOCI that comes and goes must not have containerd restarted each time."""
_REMEDY = "run `soci-bootstrap doctor`; the next boot tries again"


def request_restart(system: System) -> None:
    """Have containerd restarted when SOCI answers: until then, CRI's list of images is empty."""
    reason = "SOCI does not answer and containers run on it: containerd starts wired, "
    if _restarted_lately():
        again = "run `systemctl restart containerd` once SOCI stays up"
        fail_open(system, f"{reason}and is not restarted for it again so soon: {again}")
        return
    os.makedirs(os.path.dirname(paths.RESTART_OWED), mode=0o755, exist_ok=True)
    with open(paths.RESTART_OWED, "w", encoding="ascii") as file:
        file.write(str(time.monotonic()))
    fail_open(system, f"{reason}and is restarted once when SOCI answers")


def _restarted_lately() -> bool:
    try:
        with open(paths.RESTARTED, encoding="ascii") as file:
            return time.monotonic() - float(file.read()) < _PAUSE
    except (OSError, ValueError):
        return False


def take_restart_request() -> bool:
    """Whether a restart is owed, which it is from now on no more."""
    try:
        os.replace(paths.RESTART_OWED, paths.RESTARTED)
    except OSError:
        return False
    return True


def unwire_node(system: System, wired: Wired, reason: str, active: str = "overlayfs") -> None:
    """Unwire as far as the node's files allow, and fail open for this reason."""
    failures = unwire(system, wired)
    result = (
        f"could not unwire it all: {'; '.join(failures)}" if failures else f"this node pulls with {active}"
    )
    fail_open(system, f"{reason}: {result}")
    # A kubelet that runs already has read the image endpoint that was there before.
    _queue(system, "try-restart", paths.KUBELET_SERVICE)


def restart_containerd(system: System) -> None:
    """Have containerd restarted once this start of it is over."""
    _queue(system, "restart", paths.CONTAINERD_SERVICE)


def _queue(system: System, *words: str) -> None:
    from soci_bootstrap.system.systemd import Systemd  # the guard has no use for it, unless it unwires

    Systemd(system).queue(*words)


def fail_open(system: System, reason: str) -> None:
    """Say and record it; a disk that can't be written to must not keep the rest from being done."""
    journal.say(f"DEGRADED {reason}; {_REMEDY}")
    try:
        health.degraded(system, reason)
    except BootstrapError as error:
        journal.say(str(error))

"""Fail open around containerd's start: unwire, record, say so, and have containerd restarted."""

from __future__ import annotations

import time

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.runtime.unwire import unwire
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System, journal
from soci_bootstrap.system.deadline import Deadline

_PAUSE = 600.0
"""Seconds: a SOCI that comes and goes must not have containerd restarted each time."""
_REMEDY = "run `soci-bootstrap doctor`; the next boot tries again"


def request_restart(system: System) -> None:
    """Have containerd restarted when SOCI answers: until then, CRI's list of images is empty."""
    reason = "SOCI does not answer and containers run on it: containerd starts wired, "
    if _restarted_lately(system):
        again = "run `systemctl restart containerd` once SOCI stays up"
        fail_open(system, f"{reason}and is not restarted for it again so soon: {again}")
        return
    system.mkdir(paths.RUN, 0o700)
    system.write(paths.RESTART_OWED, str(time.monotonic()).encode(), 0o600)
    fail_open(system, f"{reason}and is restarted once when SOCI answers")


def _restarted_lately(system: System) -> bool:
    try:
        return time.monotonic() - float(system.read(paths.RESTARTED) or b"") < _PAUSE
    except ValueError:
        return False


def take_restart_request(system: System) -> bool:
    """Take the restart that containerd is owed, once; tell whether there was one."""
    if not restart_is_owed(system):
        return False
    system.rename(paths.RESTART_OWED, paths.RESTARTED)
    return True


def restart_is_owed(system: System) -> bool:
    """Tell whether containerd was started without SOCI and waits for it."""
    return system.entry(paths.RESTART_OWED).kind != "absent"


def unwire_node(
    system: System, wired: Wired, deadline: Deadline, reason: str, active: str = "overlayfs"
) -> None:
    """Unwire as far as the node's files allow, and fail open for this reason."""
    failures = unwire(system, wired)
    result = (
        f"could not unwire it all: {'; '.join(failures)}" if failures else f"this node pulls with {active}"
    )
    fail_open(system, f"{reason}: {result}")
    # A kubelet that runs already has read the image endpoint that was there before.
    _queue(system, deadline, "try-restart", paths.KUBELET_SERVICE)


def restart_containerd(system: System, deadline: Deadline) -> None:
    """Have containerd restarted once this start of it is over."""
    _queue(system, deadline, "restart", paths.CONTAINERD_SERVICE)


def _queue(system: System, deadline: Deadline, *words: str) -> None:
    from soci_bootstrap.system.systemd import Systemd  # the guard has no use for it, unless it unwires

    try:
        Systemd(system, deadline).queue(*words)
    except BootstrapError as error:
        journal.say(str(error))


def fail_open(system: System, reason: str) -> None:
    """Say and record it; a disk that can't be written to must not keep the rest from being done."""
    journal.say(f"DEGRADED {reason}; {_REMEDY}")
    try:
        health.degraded(system, reason)
    except BootstrapError as error:
        journal.say(str(error))

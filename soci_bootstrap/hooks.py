"""What runs while containerd starts: guard before, verify after. Standard library only, and bounded.

The units give each 5 s (`timeout`); no lock of install's is taken. Whatever goes wrong here is a
line in the journal, never a containerd that does not start.
"""

from __future__ import annotations

import os
import time

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd_text import named
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.runtime import mounts, probe
from soci_bootstrap.runtime.unwire import config_files, leads_to_soci, snapshotter, unwire
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired, from_json
from soci_bootstrap.system import System, journal

_PAUSE = 600.0
"""Seconds: a SOCI that comes and goes must not have containerd restarted each time."""
_PATIENCE = 1.5
"""Seconds for a daemon whose start job is over: it answers at once, or it is not going to."""
_PATIENCE_IN_USE = 2.0
"""Seconds where unwiring is out of the question and all that is left is to wait."""
_REMEDY = "run `soci-bootstrap doctor`; the next boot tries again"


def guard(system: System) -> None:
    """Before containerd starts: is SOCI there? If not, and nothing runs on it, unwire."""
    wired = _wired(system)
    if wired is None or not leads_to_soci(system, wired) or probe.answers(wired.address, _PATIENCE):
        return
    if mounts.on_snapshotter(system, wired.root):
        _wait_for(system, wired)
        return
    _unwire(system, wired, "SOCI did not answer before containerd's start")


def verify(system: System) -> None:
    """After containerd started, before kubelet does: make its images fit its snapshotter."""
    # The guard, which holds containerd up, has no use for these.
    from soci_bootstrap.runtime.ctr import Ctr
    from soci_bootstrap.runtime.images import fit_images, try_out

    wired = _wired(system)
    if wired is None:
        return
    active = _effective(system, wired)
    ctr = Ctr(system)
    if active != "soci":
        _tell_if_overridden(system, wired, active)
        fit_images(system, ctr, active)
        return
    if not probe.answers(wired.address, _PATIENCE):
        # An import would only wait for the same daemon. Where the guard met it, all is said and done.
        if not os.path.exists(paths.RESTART_OWED):
            _fail_without_answer(system, wired)
        return
    if _pay_restart():
        _restart_containerd(system)
        return
    try:
        try_out(ctr)
    except BootstrapError as error:
        _fail_after_start(system, wired, f"SOCI failed its check after containerd's start ({error})")
        return
    fit_images(system, ctr, active)
    health.recovered(system)


def _effective(system: System, wired: Wired) -> str:
    """The snapshotter that containerd runs with.

    containerd 1 lets a file that it imports take the place of a plugin's whole section, whatever keys
    that names; where there is one, only containerd itself can tell what came of it.
    """
    texts = [text for _, text in config_files(system, wired)]
    program = system.which("containerd")
    if program is None or len(texts) == 1:
        return named(texts)
    from soci_bootstrap.system.programs import checked  # nor has the guard for this

    argv = [program, "--config", wired.containerd_config, "config", "dump"]
    try:
        dump = checked(argv, system.run(argv, timeout=1)).decode("utf-8", "replace")
    except BootstrapError:
        return named(texts)
    return named([dump])


def _wired(system: System) -> Wired | None:
    import json

    data = system.read(paths.RECORD)
    return from_json(json.loads(data).get("wiring") or {}) if data else None


def _wait_for(system: System, wired: Wired) -> None:
    """Containers run on SOCI: unwiring would lose them. containerd starts wired, and again later."""
    if not probe.answers(wired.address, _PATIENCE_IN_USE):
        _owe_restart(system)


def _owe_restart(system: System) -> None:
    """Have containerd restarted when SOCI answers: until then, CRI's list of images is empty."""
    reason = "SOCI does not answer and containers run on it: containerd starts wired, "
    if _restarted_lately():
        again = "run `systemctl restart containerd` once SOCI stays up"
        _fail_open(system, f"{reason}and is not restarted for it again so soon: {again}")
        return
    os.makedirs(os.path.dirname(paths.RESTART_OWED), mode=0o755, exist_ok=True)
    with open(paths.RESTART_OWED, "w", encoding="ascii") as file:
        file.write(str(time.monotonic()))
    _fail_open(system, f"{reason}and is restarted once when SOCI answers")


def _restarted_lately() -> bool:
    try:
        with open(paths.RESTARTED, encoding="ascii") as file:
            return time.monotonic() - float(file.read()) < _PAUSE
    except (OSError, ValueError):
        return False


def _pay_restart() -> bool:
    """Whether a restart is owed, which it is from now on no more."""
    try:
        os.replace(paths.RESTART_OWED, paths.RESTARTED)
    except OSError:
        return False
    return True


def _fail_without_answer(system: System, wired: Wired) -> None:
    """SOCI was there for the guard, or the guard was cut off, and is not now."""
    if mounts.on_snapshotter(system, wired.root):
        _owe_restart(system)
    else:
        _fail_after_start(system, wired, "SOCI does not answer after containerd's start")


def _fail_after_start(system: System, wired: Wired, reason: str) -> None:
    if mounts.on_snapshotter(system, wired.root):
        _fail_open(system, f"{reason}; containers run on it, so it stays wired")
        return
    _unwire(system, wired, reason)
    if snapshotter(system, wired) != "soci":
        # Where a file could not be changed, another start would only end here again.
        _restart_containerd(system)


def _tell_if_overridden(system: System, wired: Wired, active: str) -> None:
    """A file that containerd reads after ours names another snapshotter: say so, and don't half use SOCI."""
    if health.load(system).degraded or not _is_merged(system, wired):
        return
    _unwire(
        system,
        wired,
        f"containerd's configuration names {active} after our wiring (a drop-in or an imported file that "
        "sorts after ours)",
        active,
    )


def _is_merged(system: System, wired: Wired) -> bool:
    """Whether containerd was started with our wiring: not while staged, nor before nodeadm-run."""
    import json

    installed = json.loads(system.read(paths.RECORD) or b"{}").get("outcome") == "installed"
    return installed and any(wired.address in text for _, text in config_files(system, wired))


def _unwire(system: System, wired: Wired, reason: str, active: str = "overlayfs") -> None:
    failures = unwire(system, wired)
    result = (
        f"could not unwire it all: {'; '.join(failures)}" if failures else f"this node pulls with {active}"
    )
    _fail_open(system, f"{reason}: {result}")
    # A kubelet that runs already has read the image endpoint that was there before.
    _queue(system, "try-restart", paths.KUBELET_SERVICE)


def _restart_containerd(system: System) -> None:
    _queue(system, "restart", paths.CONTAINERD_SERVICE)


def _queue(system: System, *words: str) -> None:
    from soci_bootstrap.system.systemd import queue  # the guard has no use for it, unless it unwires

    queue(system, *words)


def _fail_open(system: System, reason: str) -> None:
    """Say and record it; a disk that can't be written to must not keep the rest from being done."""
    journal.say(f"DEGRADED {reason}; {_REMEDY}")
    try:
        health.degraded(system, reason)
    except BootstrapError as error:
        journal.say(str(error))

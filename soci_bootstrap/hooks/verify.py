"""After containerd's start: see that SOCI works for it, and make its images fit its snapshotter.

One deadline for all of it, from which judging leaves enough to fail open. Standard library only; no
lock of install's is taken. What goes wrong here is a line in the journal, never a containerd that
does not start.
"""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd_text import named
from soci_bootstrap.errors import BootstrapError, TimedOutError
from soci_bootstrap.hooks.fail_open import (
    fail_open,
    request_restart,
    restart_containerd,
    restart_is_owed,
    take_restart_request,
    unwire_node,
)
from soci_bootstrap.hooks.guard import LEAST_PATIENCE, PATIENCE, RESERVE
from soci_bootstrap.runtime import mounts, probe
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import fit_images, try_out
from soci_bootstrap.runtime.unwire import config_files, snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired, read_wired
from soci_bootstrap.system import System, journal
from soci_bootstrap.system.deadline import Deadline

SECONDS = 3.7
"""For all of it; containerd's drop-in kills it a little later, and has a second left to fail open itself."""
_DUMP_SECONDS = 1.0


def verify(system: System, deadline: Deadline) -> None:
    """After containerd started, before kubelet does: make its images fit its snapshotter."""
    wired = read_wired(system)
    if wired is None:
        return
    _record_last_resort(system)
    judging = deadline.earlier(RESERVE)
    active = _effective(system, wired, judging)
    # A first run of `ctr` from a cold disk takes seconds, and says as much about SOCI as a quick one.
    ctr = Ctr(system, seconds=judging.seconds, deadline=judging)
    if active != "soci":
        _tell_if_overridden(system, wired, deadline, active)
        _fit(system, ctr, active)
        return
    if not probe.answers(wired.address, max(LEAST_PATIENCE, judging.limit(PATIENCE))):
        # An import would only wait for the same daemon. Where the guard met it, all is said and done.
        if not restart_is_owed(system):
            _fail_without_answer(system, wired, deadline)
        return
    if take_restart_request(system):
        restart_containerd(system, deadline)
        return
    try:
        try_out(ctr)
    except TimedOutError as error:
        _fail_after_start(
            system, wired, deadline, f"SOCI could not be checked in time after containerd's start ({error})"
        )
        return
    except BootstrapError as error:
        _fail_after_start(
            system, wired, deadline, f"SOCI failed its check after containerd's start ({error})"
        )
        return
    health.recovered(system)
    _fit(system, ctr, active)


def _record_last_resort(system: System) -> None:
    """Record that the shell in containerd's drop-in failed open, which could not write that down."""
    if system.entry(paths.FAILED_OPEN).kind != "absent":
        health.degraded(system, "the check after containerd's start did not end in time or could not run")
        system.remove(paths.FAILED_OPEN)


def _fit(system: System, ctr: Ctr, active: str) -> None:
    for failure in fit_images(system, ctr, active):
        journal.say(f"images were not looked through for {active}, the next start tries again: {failure}")


def _effective(system: System, wired: Wired, judging: Deadline) -> str:
    """The snapshotter that containerd runs with.

    containerd 1 lets a file that it imports take the place of a plugin's whole section, whatever keys
    that names; where there is one, only containerd itself can tell what came of it.
    """
    texts = [text for _, text in config_files(system, wired)]
    program = system.which("containerd")
    if program is None or len(texts) == 1:
        return named(texts)
    from soci_bootstrap.system.programs import checked

    argv = [program, "--config", wired.containerd_config, "config", "dump"]
    try:
        dump = checked(argv, system.run(argv, timeout=max(0.1, judging.limit(_DUMP_SECONDS))))
    except BootstrapError:
        return named(texts)
    return named([dump.decode("utf-8", "replace")])


def _fail_without_answer(system: System, wired: Wired, deadline: Deadline) -> None:
    """SOCI was there for the guard, or the guard was cut off, and is not now."""
    if mounts.on_snapshotter(system, wired.root):
        request_restart(system)
    else:
        _fail_after_start(system, wired, deadline, "SOCI does not answer after containerd's start")


def _fail_after_start(system: System, wired: Wired, deadline: Deadline, reason: str) -> None:
    if mounts.on_snapshotter(system, wired.root):
        fail_open(system, f"{reason}; containers run on it, so it stays wired")
        return
    unwire_node(system, wired, deadline, reason)
    if snapshotter(system, wired) != "soci":
        # Where a file could not be changed, another start would only end here again.
        restart_containerd(system, deadline)


def _tell_if_overridden(system: System, wired: Wired, deadline: Deadline, active: str) -> None:
    """A file that containerd reads after ours names another snapshotter: say so, and don't half use SOCI."""
    if health.load(system).degraded or not _is_merged(system, wired):
        return
    reason = (
        f"containerd's configuration names {active} after our wiring (a drop-in or an imported file that "
        "sorts after ours)"
    )
    unwire_node(system, wired, deadline, reason, active)


def _is_merged(system: System, wired: Wired) -> bool:
    """Tell whether containerd was started with our wiring: not while staged, nor before nodeadm-run."""
    import json

    try:
        outcome = json.loads(system.read(paths.RECORD) or b"{}").get("outcome")
    except (ValueError, AttributeError, RecursionError):
        return False
    return outcome == "installed" and any(wired.address in text for _, text in config_files(system, wired))

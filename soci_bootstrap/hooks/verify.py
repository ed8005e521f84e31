"""What runs while containerd starts: guard before, verify after. Standard library only, and bounded.

The units give each 5 s (`timeout`); no lock of install's is taken. Whatever goes wrong here is a
line in the journal, never a containerd that does not start.
"""

from __future__ import annotations

import os

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd_text import named
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.hooks.fail_open import (
    fail_open,
    request_restart,
    restart_containerd,
    take_restart_request,
    unwire_node,
)
from soci_bootstrap.hooks.guard import PATIENCE
from soci_bootstrap.runtime import mounts, probe
from soci_bootstrap.runtime.unwire import config_files, snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired, read_wired
from soci_bootstrap.system import System


def verify(system: System) -> None:
    """After containerd started, before kubelet does: make its images fit its snapshotter."""
    # The guard, which holds containerd up, has no use for these.
    from soci_bootstrap.runtime.ctr import Ctr
    from soci_bootstrap.runtime.images import fit_images, try_out

    wired = read_wired(system)
    if wired is None:
        return
    active = _effective(system, wired)
    ctr = Ctr(system)
    if active != "soci":
        _tell_if_overridden(system, wired, active)
        fit_images(system, ctr, active)
        return
    if not probe.answers(wired.address, PATIENCE):
        # An import would only wait for the same daemon. Where the guard met it, all is said and done.
        if not os.path.exists(paths.RESTART_OWED):
            _fail_without_answer(system, wired)
        return
    if take_restart_request():
        restart_containerd(system)
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


def _fail_without_answer(system: System, wired: Wired) -> None:
    """SOCI was there for the guard, or the guard was cut off, and is not now."""
    if mounts.on_snapshotter(system, wired.root):
        request_restart(system)
    else:
        _fail_after_start(system, wired, "SOCI does not answer after containerd's start")


def _fail_after_start(system: System, wired: Wired, reason: str) -> None:
    if mounts.on_snapshotter(system, wired.root):
        fail_open(system, f"{reason}; containers run on it, so it stays wired")
        return
    unwire_node(system, wired, reason)
    if snapshotter(system, wired) != "soci":
        # Where a file could not be changed, another start would only end here again.
        restart_containerd(system)


def _tell_if_overridden(system: System, wired: Wired, active: str) -> None:
    """A file that containerd reads after ours names another snapshotter: say so, and don't half use SOCI."""
    if health.load(system).degraded or not _is_merged(system, wired):
        return
    unwire_node(
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

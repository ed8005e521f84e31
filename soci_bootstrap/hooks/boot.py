"""Each boot, before nodeadm-run: tune to this machine, retry what failed, wire anew. No network."""

from __future__ import annotations

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.state import memo
from soci_bootstrap.system import System

_SECONDS = 8.0
"""Below the unit's TimeoutStartSec=10, so that failing open is ours to do."""


def run(system: System) -> None:
    """Converge on this boot's facts; where that fails, unwire: containerd starts on overlayfs."""
    inflater = memo.boots_unchanged()
    if inflater is not None and _inflates(system, inflater):
        memo.mark_planned()
        return
    _converge(system)


def _inflates(system: System, inflater: list[str]) -> bool:
    """The decompressor's self-test; a package may have replaced what it links to since."""
    from soci_bootstrap.runtime import self_test

    try:
        if inflater:
            self_test.self_test(inflater[0], inflater[1:], system)
    except BootstrapError:
        return False
    return True


def _converge(system: System) -> None:
    from soci_bootstrap.apply.context import Context
    from soci_bootstrap.apply.run import Convergence
    from soci_bootstrap.settings import from_json
    from soci_bootstrap.state.record import ROLLING_BACK, load
    from soci_bootstrap.system import lock, resources
    from soci_bootstrap.system.console import Console
    from soci_bootstrap.system.deadline import Deadline

    record = load(system)
    if record is None or record.outcome == ROLLING_BACK:
        # What a rollback that was killed took away must not come back by itself.
        return
    deadline = Deadline(_SECONDS)
    with lock.held(system, deadline):
        agent = resources.agent_bytes() or b""
        settings = from_json(record.settings, "install")
        run_ = Convergence(Context(system, settings, Console(-1), deadline, agent, record, boot=True))
        try:
            run_.install()
            run_.memorize_boot()
        except Exception as error:  # noqa: BLE001 - whatever happened, containerd starts on overlayfs
            left = run_.undo(everything=False)
            left += run_.fall_back(str(error), undone=not left)
            _fail_open(system, "; ".join([str(error), *left]))


def _fail_open(system: System, reason: str) -> None:
    from soci_bootstrap.runtime import mounts
    from soci_bootstrap.runtime.unwire import unwire
    from soci_bootstrap.state import health
    from soci_bootstrap.state.record import load
    from soci_bootstrap.state.wiring import from_json
    from soci_bootstrap.system import journal

    record = load(system)
    wired = from_json(record.wiring) if record else None
    failures: list[str] = []
    # Started by hand on a node that is up, it finds containers on SOCI: those would be lost.
    if wired and not mounts.on_snapshotter(system, wired.root):
        failures = unwire(system, wired)
    full = "; ".join([reason, *failures])
    # Said first: a disk that can't be written to must not keep it from the journal.
    journal.error(f"DEGRADED {full}")
    health.degraded(system, full)

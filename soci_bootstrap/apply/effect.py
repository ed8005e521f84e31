"""When a change of snapshotter takes effect, and making it so on a node that is running."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from soci_bootstrap import paths
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan.items import File, Item, digest
from soci_bootstrap.runtime import pods
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Phase, Record
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.system import System
from soci_bootstrap.system.systemd import Systemd

STAGED = "takes effect at the next boot"
_UP = frozenset({"active", "reloading", "activating"})


class Effect(Enum):
    """When containerd gets to know of its wiring."""

    WITH_START = "containerd is not running: its start does it"
    DONE = "containerd runs with it"
    NOW = "containerd is restarted here"
    NEXT_BOOT = "workloads run: at the next boot"


def effect(system: System, facts: Facts, wired: Wired, record: Record | None, *, pending: bool) -> Effect:
    """When a wiring takes effect here; ``NOW`` needs no force, ``NEXT_BOOT`` is where force decides.

    Args:
        system: the node.
        facts: as observed before anything changed.
        wired: the wiring that is wanted.
        record: of the last run.
        pending: whether a file of the wiring is going to change.

    Raises:
        CommandError: containerd did not say what runs.
    """
    unit = facts.units.get(paths.CONTAINERD_SERVICE)
    if (
        unit is None
        or unit.active not in _UP
        or wired.mode is WiringMode.NONE
        or Systemd(system).nodeadm_is_due()
    ):
        return Effect.WITH_START
    if not pending and snapshotter(system, wired) == "soci" and _ran_with_soci(system, record):
        return Effect.DONE
    return Effect.NEXT_BOOT if pods.workloads(pods.running(system)) else Effect.NOW


def rewires(items: Iterable[Item], wired: Wired, record: Record | None) -> bool:
    """Tell whether putting these items changes what containerd is told.

    nodeadm merges its drop-in at a boot: to put back the one that the last run left there tells it nothing.
    """
    settled = (
        record.managed
        if record and record.outcome == "installed" and wired.mode is WiringMode.NODEADM
        else {}
    )
    for item in items:
        if item.phase is Phase.WIRING:
            last = settled.get(item.path)
            if last is None or not isinstance(item, File) or last.sha256 != digest(item.data):
                return True
    return False


def _ran_with_soci(system: System, record: Record | None) -> bool:
    """Tell whether containerd started with what its files say now; without our hooks, only the files tell."""
    return record is None or not record.wiring or health.load(system).snapshotter == "soci"

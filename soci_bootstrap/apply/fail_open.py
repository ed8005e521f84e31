"""A node whose own NodeConfig wires SOCI, which does not run there: override it, so that it joins."""

from __future__ import annotations

from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan import steps as plan_
from soci_bootstrap.plan.items import Absent, File, Item
from soci_bootstrap.plan.wiring import Wiring, for_hooks
from soci_bootstrap.runtime import mounts
from soci_bootstrap.runtime.unwire import leads_to_soci, unwire
from soci_bootstrap.state.record import Phase, Record
from soci_bootstrap.system import System


def starts_with_soci(system: System, found: Facts, wiring: Wiring) -> bool:
    """Whether containerd is going to start with a wiring of others; one that runs is left alone.

    So is one that was stopped over containers that go on running on SOCI.
    Where nodeadm keeps no cache of the NodeConfig, only the files that it wrote tell.
    """
    unit = found.units.get(paths.CONTAINERD_SERVICE)
    if (unit is not None and unit.active == "active") or mounts.on_snapshotter(system, wiring.root):
        return False
    return wiring.static or found.node_config.gate or leads_to_soci(system, for_hooks(wiring, found))


def override(system: System, found: Facts, wiring: Wiring, record: Record) -> tuple[Record, bool]:
    """Tell nodeadm otherwise, and unwire what it has written already.

    Returns:
        The record with what this changed, and whether systemd has to read its units again.
    """
    wired = for_hooks(wiring, found)
    applier = FileChanges(system, record)
    items: list[Item] = [
        item for item in wiring.items if isinstance(item, Absent) and item.path != paths.NODEADM_DROPIN
    ]
    reload = bool(items)
    if wired.mode == "nodeadm" and wired.fallback:
        items.append(File("fallback", paths.NODEADM_DROPIN, wired.fallback.encode(), Phase.WIRING))
    steps = plan_.file_steps(tuple(items), plan_.observe(system, tuple(items), record), record)
    applier.prepare(steps)
    for step in steps:
        if step.changed:
            applier.put(step)
    applier.settle()
    unwire(system, wired)
    return replace(applier.record, outcome=record.outcome), reload

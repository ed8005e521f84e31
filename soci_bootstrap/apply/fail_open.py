"""Fail open, outside containerd's start: the node joins on overlayfs, and says so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.decide import observe
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.apply.services import ServiceChanges
from soci_bootstrap.errors import BootstrapError, WiringError
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan.items import Absent, File, Item
from soci_bootstrap.plan.wiring import Wiring, choose, for_hooks
from soci_bootstrap.runtime import mounts
from soci_bootstrap.runtime.unwire import leads_to_soci, unwire
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome, Phase, save
from soci_bootstrap.state.wiring import WiringMode, from_json
from soci_bootstrap.system import System, journal


def fail_open(
    context: Context,
    changes: FileChanges,
    services: ServiceChanges,
    facts: Facts | None,
    reason: str,
) -> list[str]:
    """Leave a node on overlayfs, after its run was undone; record it, and say so in the journal.

    Where the user's own NodeConfig wires SOCI, override it: containerd would start with what failed.

    Args:
        context: the run's.
        changes: undone as far as that went.
        services: undone likewise.
        facts: the node's, None where the run ended before they were observed.
        reason: why.

    Returns:
        What did not work, a sentence each.
    """
    failures: list[str] = []
    overridden = False
    # What an earlier run wired on a node that is up is its hooks' to unwire.
    if context.mode is Mode.BOOT or not context.wired:
        try:
            overridden = _override(context, changes, services, facts)
        except BootstrapError as error:
            # What could not be looked at is often the very reason.
            failures += [str(error)] if str(error) != reason else []
    if context.mode is Mode.BOOT and not overridden:
        failures += _unwire(context)
    full = "; ".join([reason, *failures])
    # Said first: a disk that can't be written to must not keep it from the journal.
    journal.error(f"DEGRADED {full}")
    try:
        changes.record = replace(changes.record, outcome=Outcome.FAILED)
        save(context.system, changes.record)
        health.degraded(context.system, full)
    except BootstrapError as error:
        failures.append(str(error))
    return failures


def starts_with_soci(system: System, found: Facts, wiring: Wiring) -> bool:
    """Tell whether containerd is going to start with a wiring of others; one that runs is left alone.

    So is one that was stopped over containers that go on running on SOCI.
    Where nodeadm keeps no cache of the NodeConfig, only the files that it wrote tell.
    """
    unit = found.units.get(paths.CONTAINERD_SERVICE)
    if (unit is not None and unit.active == "active") or mounts.on_snapshotter(system, wiring.root):
        return False
    return wiring.static or found.node_config.gate or leads_to_soci(system, for_hooks(wiring, found))


def _override(context: Context, changes: FileChanges, services: ServiceChanges, facts: Facts | None) -> bool:
    """Where containerd would start with SOCI, tell nodeadm otherwise, and unwire what it has written."""
    found = facts or observe(context)
    wiring = _wiring(context, found)
    if not starts_with_soci(context.system, found, wiring):
        return False
    wired = for_hooks(wiring, found)
    items: list[Item] = [
        item for item in wiring.items if isinstance(item, Absent) and item.path != paths.NODEADM_DROPIN
    ]
    reload = bool(items)
    if wired.mode is WiringMode.NODEADM and wired.fallback:
        items.append(File("fallback", paths.NODEADM_DROPIN, wired.fallback.encode(), Phase.WIRING))
    changes.put_all(tuple(items))
    changes.commit()
    if reload:
        services.systemctl.try_run("daemon-reload")
    unwire(context.system, wired)
    return True


def _wiring(context: Context, found: Facts) -> Wiring:
    """Choose the first wiring that fits, the one asked for before others."""
    for asked in (context.settings.wiring, "auto"):
        with suppress(WiringError):
            return choose(asked, found, context.settings.snapshotter_root)
    return choose("none", found, context.settings.snapshotter_root)


def _unwire(context: Context) -> list[str]:
    """At a boot, unwire what the last run wired."""
    wired = from_json(context.record.wiring) if context.record else None
    # Started by hand on a node that is up, it finds containers on SOCI: those would be lost.
    if wired is None or mounts.on_snapshotter(context.system, wired.root):
        return []
    return unwire(context.system, wired)

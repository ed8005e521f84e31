"""The phases of a run, each standing on the one before: fetch, configure, preflight, wire."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.apply import preflight as preflight_
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.decide import Decision
from soci_bootstrap.apply.effect import Effect
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.apply.nodeadm_files import nodeadms_own, nodeadms_part
from soci_bootstrap.apply.services import ServiceChanges
from soci_bootstrap.errors import BootstrapError, StateError, WorkloadsError
from soci_bootstrap.facts import environment
from soci_bootstrap.facts.registries import direct_urls
from soci_bootstrap.fetch import reachable
from soci_bootstrap.plan.items import Daemon
from soci_bootstrap.plan.steps import Action, Step
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome, Phase, save
from soci_bootstrap.state.wiring import WiringMode
from soci_bootstrap.system.signals import deferred

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def prepare(context: Context, decision: Decision, changes: FileChanges) -> None:
    """Make durable what rollback needs: units that ran, directories to be made, originals of files."""
    if context.on_node and not changes.record.units_active:
        active = {
            name: unit.active in {"active", "activating"} for name, unit in decision.facts.units.items()
        }
        changes.record = replace(changes.record, units_active=active)
    for directory in (decision.desired.wiring.root, paths.SOCI_STORE):
        changes.own_directory(directory)
    changes.record = replace(changes.record, prepulled=prepulled(context, decision))
    changes.prepare(decision.plan.steps)


def prepulled(context: Context, decision: Decision) -> int:
    """The number of snapshots on overlayfs when this node was first looked at."""
    known = context.record.prepulled if context.record else None
    return decision.facts.store.overlayfs_snapshots if known is None else known


def fetch(context: Context, decision: Decision, changes: FileChanges) -> None:
    """Put the software: the agent in an image, the decompressor, and the daemon, fetched and verified.

    Raises:
        FetchError: the daemon can't be had, or is not what it must be.
        ArchiveError: its archive is not one that anything is taken from.
        StateError: it is missing at a boot.
    """
    _put(context, decision, changes, Phase.AGENT)
    _put(context, decision, changes, Phase.SOFTWARE)


def configure(context: Context, decision: Decision, changes: FileChanges) -> None:
    """Put SOCI's config.toml and the units."""
    _put(context, decision, changes, Phase.CONFIGURATION)


def preflight(context: Context, decision: Decision, changes: FileChanges, services: ServiceChanges) -> None:
    """Show that SOCI runs here and reaches what it has to, and have its socket listen.

    Raises:
        WiringError: a registry that SOCI has to ask itself can't be reached.
        PreflightError: the daemon does not run here.
        CommandError: systemd would not do what it was told.
    """
    _ask_registries(context, decision, changes)
    if decision.plan.changes(Action.RELOAD):
        services.reload()
    if decision.plan.changes(Action.PREFLIGHT) and (context.mode is not Mode.BOOT or _is_unproven(context)):
        variables = {**decision.facts.containerd.variables, **_ENVIRONMENT}
        preflight_.run(decision.desired.daemon, decision.desired.config, context.deadline, variables)
    services.start(decision)
    if decision.desired.wiring.mode is WiringMode.NODEADM:
        own = nodeadms_own(context.system, decision.wired)
        changes.back_up_foreign((*own, *decision.facts.kubelet.sources, paths.NODECONFIG_CACHE))


def wire(context: Context, decision: Decision, changes: FileChanges, services: ServiceChanges) -> Effect:
    """Point containerd and kubelet at SOCI; where containerd runs, switch it now.

    The wiring is recorded first: a run killed in between leaves a node whose hooks know of it.

    Returns:
        When it takes effect: at the next boot, where workloads came since that was decided.

    Raises:
        BootstrapError: containerd did not come up with SOCI.
    """
    if context.on_node:
        changes.record = replace(changes.record, wiring=decision.wired.to_json())
        save(context.system, changes.record)
    if decision.effect is not Effect.NOW:
        _put(context, decision, changes, Phase.WIRING)
        return decision.effect
    switch = services.switch(decision.wired)
    try:
        switch.quiesce(force=context.settings.force)
    except WorkloadsError as error:
        # They came while the release was fetched; kubelet runs again.
        context.console.warn(f"not switched now: {error}")
        services.forget_switch()
        if decision.desired.wiring.mode is WiringMode.DIRECT:
            changes.forget(step.path for step in decision.plan.steps if _is_wiring(step))
        else:
            _put(context, decision, changes, Phase.WIRING)
        return Effect.NEXT_BOOT
    health.recovered(context.system)
    _put(context, decision, changes, Phase.WIRING)
    if decision.desired.wiring.mode is WiringMode.NODEADM:
        for item in nodeadms_part(context.system, decision.wired):
            changes.put(Step(item.name, item.path, changed=True, item=item))
    switch.restart(decision.wired)
    switch.end()
    return Effect.NOW


def _is_wiring(step: Step) -> bool:
    return step.item is not None and step.item.phase is Phase.WIRING


def _put(context: Context, decision: Decision, changes: FileChanges, phase: Phase) -> None:
    for step in decision.plan.pending:
        if step.item is None or step.item.phase is not phase:
            continue
        context.deadline.check(step.name)
        if isinstance(step.item, Daemon):
            _fetch(context, decision, changes, step.item)
        else:
            context.console.debug(f"{step.name}: {step.path}")
            changes.put(step)


def _fetch(context: Context, decision: Decision, changes: FileChanges, item: Daemon) -> None:
    """Fetch the daemon, through the proxies that containerd has, and give it its name once verified."""
    if context.mode is Mode.BOOT:
        raise StateError(
            "SOCI's daemon is not on this node, and a boot fetches nothing",
            found=f"no verified {item.path} of version {item.version}",
            expected="the one that an earlier install left",
            remedy="run `soci-bootstrap install`",
        )
    from soci_bootstrap.fetch.binary import fetch_binary
    from soci_bootstrap.fetch.release import Request

    # Whatever stands in the way shows before the daemon is fetched.
    changes.save_original(item.path)
    system, settings = context.system, context.settings
    staged = system.staged_name(item.path)
    system.remove(staged)
    request = Request(
        item.version, item.arch, sha256=settings.sha256, mirror=settings.mirror, tarball=settings.tarball
    )
    environ = environment.under(decision.facts.containerd.variables, os.environ)
    try:
        fetched = fetch_binary(request, system.path(staged), context.deadline, context.console, environ)
        if fetched.warning:
            context.console.warn(fetched.warning)
        changes.adopt(item, staged, fetched)
    except BaseException:
        # A signal between the two would leave it lying there.
        with deferred(), suppress(BootstrapError):
            system.remove(staged)
        raise


def _ask_registries(context: Context, decision: Decision, changes: FileChanges) -> None:
    """See that SOCI can reach the registries that containerd reaches in a way of its own.

    Raises:
        WiringError: it can't; at a boot, which makes no requests, what was found out before counts.
    """
    found = decision.facts.registries
    if not found:
        changes.record = replace(changes.record, registries={})
        return
    if context.mode is not Mode.BOOT:
        seconds = context.deadline.limit(reachable.SECONDS)
        answers = reachable.ask(direct_urls(found), decision.facts.containerd.variables, seconds)
        changes.record = replace(changes.record, registries=answers)
    if not context.settings.force:
        preflight_.refuse_unreachable(found, changes.record.registries, wired=context.wired)


def _is_unproven(context: Context) -> bool:
    record = context.record
    proven = record is not None and record.outcome in {Outcome.INSTALLED, Outcome.STAGED}
    return not proven or health.is_degraded(context.system)

"""A plan carried out on the node: software, configuration, the proof that it runs here, wiring."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.apply import preflight
from soci_bootstrap.apply.context import Context
from soci_bootstrap.apply.decide import Planning
from soci_bootstrap.apply.effect import Effect
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.apply.nodeadm_files import nodeadms_own, nodeadms_part
from soci_bootstrap.errors import BootstrapError, DecompressorError, StateError
from soci_bootstrap.facts import Facts, environment
from soci_bootstrap.facts.registries import direct_urls
from soci_bootstrap.fetch import reachable
from soci_bootstrap.plan.desired import Desired
from soci_bootstrap.plan.items import Daemon
from soci_bootstrap.plan.steps import Plan, Step
from soci_bootstrap.runtime import pods
from soci_bootstrap.runtime.switch import Switch
from soci_bootstrap.runtime.unwire import snapshotter
from soci_bootstrap.settings import Settings
from soci_bootstrap.state import health, memo
from soci_bootstrap.state.record import Phase, save
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.signals import deferred
from soci_bootstrap.system.systemd import Systemctl

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
_SELF_TEST_AGAIN = 3
"""igzip, ours, unpigz: each may fail once, then there is none left to try."""


class Execution:
    """Carries a plan out, and takes back what it did.

    Args:
        context: the run's.
        planning: its plan, made anew where a decompressor fails.
        applier: for the files.

    Attributes:
        applier: whose record is that of the run.
        systemctl: the running systemd.
        answers: of the registries that were asked, at this run or an earlier one.
    """

    def __init__(self, context: Context, planning: Planning, applier: FileChanges) -> None:
        self.applier = applier
        self.systemctl = Systemctl(context.system, context.deadline)
        self.answers: Mapping[str, str] = context.record.registries if context.record else {}
        self._context = context
        self._planning = planning
        self._started: list[str] = []
        self._restarted: list[str] = []
        self._switch: Switch | None = None

    def carry_out(self, plan: Plan) -> None:
        """All of it, each phase after the one that it stands on."""
        for warning in plan.desired.wiring.warnings:
            self._context.console.warn(warning)
        if self._context.image:
            self._context.system.remove(memo.PATH)
        self._remember_units()
        for directory in (plan.desired.wiring.root, paths.SOCI_STORE):
            self.applier.claim(directory)
        self.applier.record = replace(self.applier.record, prepulled=self._planning.prepulled)
        self.applier.prepare(plan.steps)
        self._apply_phase(plan, Phase.AGENT)
        self._apply_phase(plan, Phase.SOFTWARE)
        plan = self._tested(plan)
        self._apply_phase(plan, Phase.CONFIGURATION)
        if self._context.node:
            self._prove(plan)
        if self._planning.effect is Effect.NOW:
            self._switch_now(plan)
        else:
            if self._context.node:
                self._record_wiring()
            self._apply_phase(plan, Phase.WIRING)

    def _remember_units(self) -> None:
        """Before the first change: what ran, for rollback to leave it running."""
        if self._context.node and not self.applier.record.units_active:
            found = self._planning.facts.units
            active = {name: unit.active in {"active", "activating"} for name, unit in found.items()}
            self.applier.record = replace(self.applier.record, units_active=active)

    def _apply_phase(self, plan: Plan, phase: Phase) -> None:
        for step in plan.pending:
            if step.item is None or step.item.phase is not phase:
                continue
            self._context.deadline.check(step.name)
            if isinstance(step.item, Daemon):
                self._fetch(step.item)
            else:
                self._context.console.debug(f"{step.name}: {step.path}")
                self.applier.put(step)

    # -- software -----------------------------------------------------------------------------

    def _fetch(self, item: Daemon) -> None:
        context = self._context
        if context.boot:
            raise StateError(
                "SOCI's daemon is not on this node, and a boot fetches nothing",
                found=f"no verified {item.path} of version {item.version}",
                expected="the one that an earlier install left",
                remedy="run `soci-bootstrap install`",
            )
        fetch(item, context.settings, self._planning.facts, self.applier, context.deadline, context.console)

    def _tested(self, plan: Plan) -> Plan:
        """Self-test the decompressor; with `auto`, the next best one takes a failed one's place."""
        context = self._context
        if not context.system.live or not (plan.changes("self-test") or context.boot or context.image):
            return plan
        first = context.record is None or context.record.outcome in {"", "baked"}
        compare = not context.image and (first or not context.boot)
        for _ in range(_SELF_TEST_AGAIN):
            chosen = plan.desired.decompressor
            try:
                preflight.prove(chosen, context.system, self._planning.facts, compare=compare)
                return plan
            except DecompressorError as error:
                if context.settings.decompressor != "auto":
                    raise
                context.console.warn(f"{chosen.kind} is not used: {error}")
                self._planning.excluded |= {chosen.kind}
            plan = self._planning.make()
            self.applier.prepare(plan.steps)
            self._apply_phase(plan, Phase.SOFTWARE)
        return plan

    # -- the proof ----------------------------------------------------------------------------

    def _prove(self, plan: Plan) -> None:
        """Show that SOCI runs here and reaches what it has to, and have its socket listen."""
        self._ask_registries()
        if plan.changes("daemon-reload"):
            self.systemctl.run("daemon-reload")
        if plan.changes("preflight") and (not self._context.boot or self._retrying()):
            self._preflight(plan.desired)
        self._start_units(plan)
        if plan.desired.wiring.mode == "nodeadm":
            found = self._planning.facts
            own = nodeadms_own(self._context.system, self._planning.wired)
            self.applier.watch((*own, *found.kubelet.sources, paths.NODECONFIG_CACHE))

    def _ask_registries(self) -> None:
        """See that SOCI can reach the registries that containerd reaches in a way of its own.

        Raises:
            WiringError: it can't; at a boot, which makes no requests, what was found out before counts.
        """
        found = self._planning.facts.registries
        if not found:
            return
        if not self._context.boot:
            seconds = self._context.deadline.limit(reachable.SECONDS)
            self.answers = reachable.ask(direct_urls(found), self._planning.variables, seconds)
        if not self._context.settings.force:
            preflight.refuse_unreachable(found, self.answers, wired=self._context.wired)

    def _retrying(self) -> bool:
        record, unproven = self._context.record, {"", "degraded", "baked"}
        return (
            record is None or record.outcome in unproven or bool(health.load(self._context.system).degraded)
        )

    def _preflight(self, desired: Desired) -> None:
        from soci_bootstrap.apply import preflight

        environment = {**self._planning.variables, **_ENVIRONMENT}
        preflight.run(desired.daemon, desired.config, self._context.deadline, environment)

    def _start_units(self, plan: Plan) -> None:
        """The socket listens; the daemon itself is started by containerd's start, not from here.

        Where containerd runs already, a daemon that is changed or down is started again.
        """
        up = self._planning.facts.units[paths.CONTAINERD_SERVICE].active == "active"
        again, socket = plan.changes("service-restarted"), plan.changes("socket-started")
        if again:
            self._restarted.append(paths.SOCI_SERVICE)
            # systemd starts no socket whose service runs. And with containerd yet to start, the
            # daemon's root may be about to move to an array.
            self._control("restart" if up and not socket else "stop", paths.SOCI_SERVICE)
        if socket:
            self._started.append(paths.SOCI_SOCKET)
            self._control("start", paths.SOCI_SOCKET)
        if plan.changes("service-started"):
            self._started.append(paths.SOCI_SERVICE)
        if plan.changes("service-started") or (up and again and socket):
            self._control("start", paths.SOCI_SERVICE)

    def _control(self, verb: str, unit: str) -> None:
        self.systemctl.run(*self._without_waiting, verb, unit)

    @property
    def _without_waiting(self) -> tuple[str, ...]:
        """At a boot: the service comes after the boot-time unit, which would wait for it in vain."""
        return ("--no-block",) if self._context.boot else ()

    # -- wiring -------------------------------------------------------------------------------

    def _record_wiring(self) -> Wired:
        """Before it is done: a run killed in between leaves a node whose hooks know of it."""
        wired = self._planning.wired
        self.applier.record = replace(self.applier.record, wiring=wired.to_json())
        save(self._context.system, self.applier.record)
        return wired

    def _switch_now(self, plan: Plan) -> None:
        """Wire a node whose containerd runs; the hooks, which look at the record, check it on the way."""
        context = self._context
        wired = self._record_wiring()
        health.recovered(context.system)
        self._switch = Switch(context.system, context.console, context.deadline)
        self._switch.begin(pods.running(context.system))
        self._apply_phase(plan, Phase.WIRING)
        if wired.mode == "nodeadm":
            for item in nodeadms_part(context.system, wired):
                self.applier.put(Step(item.name, item.path, changed=True, item=item))
        self._switch.restart(wired)
        self._switch.end()

    # -- the way back -------------------------------------------------------------------------

    def take_back(self) -> list[str]:
        """Files, units and a switch as they were.

        Returns:
            What could not be put back, a sentence each.
        """
        failures: list[str] = []
        for unit in self._started:
            failures += self.systemctl.try_run("stop", unit)
        failures += self.applier.undo()
        plan = self._planning.plan
        if self._context.node and plan is not None and plan.changes("daemon-reload"):
            failures += self.systemctl.try_run("daemon-reload")
        for unit in self._restarted:
            failures += self.systemctl.try_run(*self._without_waiting, "restart", unit)
        if self._switch is not None:
            failures += self._switch.back(snapshotter(self._context.system, self._planning.wired))
        return failures


def fetch(
    item: Daemon, settings: Settings, found: Facts, applier: FileChanges, deadline: Deadline, console: Console
) -> None:
    """Fetch the daemon, through the proxies that containerd has, and give it its name once verified.

    Raises:
        FetchError: it can't be had, or is not what it must be.
        ArchiveError: the archive is not one that we take anything from.
    """
    from soci_bootstrap.fetch.binary import Request, fetch_binary

    # Whatever stands in the way shows before the daemon is fetched.
    applier.keep(item.path)
    system = applier.system
    staged = system.staged_name(item.path)
    system.remove(staged)
    request = Request(
        item.version,
        item.arch,
        sha256=settings.sha256,
        mirror=settings.mirror,
        tarball=settings.tarball,
    )
    environ = environment.under(found.containerd.variables, os.environ)
    try:
        fetched = fetch_binary(request, system.path(staged), deadline, console, environ)
        if fetched.warning:
            console.warn(fetched.warning)
        applier.adopt(item, staged, fetched)
    except BaseException:
        # A signal between the two would leave it lying there.
        with deferred(), suppress(BootstrapError):
            system.remove(staged)
        raise

"""One run towards what the node should hold: the part that install, bake and the boot-time unit share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from soci_bootstrap import (
    __version__,
    facts,
    image,
    live,
    memo,
    nodeconfig,
    registries,
    releases,
    software,
    state,
    units,
)
from soci_bootstrap import plan as plan_
from soci_bootstrap.apply import Applier
from soci_bootstrap.console import Console
from soci_bootstrap.deadline import Deadline
from soci_bootstrap.errors import BootstrapError, DecompressorError, StateError
from soci_bootstrap.fallback import override, starts_with_soci
from soci_bootstrap.items import Daemon, Item, Phase
from soci_bootstrap.nodeadm import nodeadms_own, nodeadms_part
from soci_bootstrap.ownership import leftovers, let_go, sweep
from soci_bootstrap.plan import Desired, Plan, Step
from soci_bootstrap.record import (
    RECORD,
    Record,
    as_recorded,
    remove_record,
    save,
    settled,
)
from soci_bootstrap.remember import memory
from soci_bootstrap.settings import Settings, to_json
from soci_bootstrap.signals import too_late
from soci_bootstrap.switch import STAGED, Effect, Switch, effect, rewires
from soci_bootstrap.system import System
from soci_bootstrap.systemctl import Systemctl
from soci_bootstrap.unwire import Wired, snapshotter
from soci_bootstrap.wiring import Wiring, choose, for_hooks

_GROUND = frozenset(item.path for item in units.ground(b""))
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
_SELF_TEST_AGAIN = 3
"""igzip, ours, unpigz: each may fail once, then there is none left to try."""


class Convergence:
    """One run, from observing to recording.

    Args:
        system: the node or the image.
        settings: the user's.
        console: for progress.
        deadline: bounds every wait.
        agent: the zipapp's own bytes.
        record: the last run's, None for the first.
        boot: at a boot nothing is fetched, and the decompressor is tested again.
    """

    def __init__(
        self,
        system: System,
        settings: Settings,
        console: Console,
        deadline: Deadline,
        agent: bytes,
        record: Record | None,
        *,
        boot: bool = False,
    ) -> None:
        self.system = system
        self.settings = settings
        self.console = console
        self.deadline = deadline
        self._agent = agent
        self._found = record
        self._boot = boot
        self._image = settings.command == "bake"
        self._first = record is None or not (record.outcome == "baked" if self._image else record.wiring)
        self._node = system.live and not self._image
        self._systemctl = Systemctl(system, deadline)
        self._started: list[str] = []
        self._restarted: list[str] = []
        self._switch: Switch | None = None
        self._effect = Effect.WITH_START
        self._wanted: frozenset[str] = frozenset()
        self._ground = Applier(system, record or Record())
        self._rest = self._ground
        self._facts: facts.Facts | None = None
        self._plan: Plan | None = None
        self._excluded = plan_.excluded(record, settings)
        self._answers: Mapping[str, str] = record.registries if record else {}
        self.steps: tuple[Step, ...] = ()
        self.arch = facts.architecture(settings.arch)
        self.sha256: str | None = None

    @property
    def version(self) -> str:
        """SOCI's version: the one that was asked for until the node was seen."""
        return self._plan.desired.version if self._plan else self.settings.soci_version or releases.NEWEST

    @property
    def mode(self) -> str | None:
        """The wiring chosen, None before that."""
        return self._plan.desired.wiring.mode if self._plan else None

    # -- the stages ---------------------------------------------------------------------------

    def install(self) -> tuple[str, str | None]:
        """All of it; the outcome and, where it did not take effect yet, why."""
        if self._found is not None:
            sweep(self.system, (RECORD, memo.PATH, *self._found.before))
        if self._node:
            self.lay_ground()
        plan = self.make_plan()
        self.steps = (*self.steps, *plan.steps)
        if not any(step.changed for step in self.steps) and self._settled() and not self._boot:
            self.sha256 = self._archive_digest()
            return "unchanged", None
        self.carry_out(plan)
        if self._effect is Effect.NEXT_BOOT:
            self.finish("staged")
            return "staged", STAGED
        self.finish("baked" if self._image else "installed")
        return ("installed" if self._first else "changed"), None

    def lay_ground(self) -> None:
        """The agent, its boot-time unit and the record: they stay, whatever happens next."""
        items = units.ground(self._agent)
        steps = self._steps(items)
        self.steps = steps
        if any(step.changed for step in steps):
            self._ground.prepare(step.item for step in steps if step.changed and step.item)
            for step in steps:
                if step.changed:
                    self._ground.put(step)
        self._rest = Applier(self.system, self._ground.record)

    def make_plan(self) -> Plan:
        """Observe the node and decide; the ground's own items are left out once they are laid."""
        if self._facts is None:
            self._facts = facts.observe(
                self.system,
                self._found,
                arch=self.settings.arch,
                vcpus=self.settings.vcpus,
                memory_gib=self.settings.memory_gib,
            )
            if self._image:
                self._facts = image.facts_of(self.system, self._facts)
        desired = plan_.desire(self.settings, self._facts, self._agent, self._found, self._excluded)
        if self._image:
            desired = image.without_machine(desired)
        self._wanted = frozenset(item.path for item in desired.items)
        items = [item for item in desired.items if not self._node or item.phase is not Phase.GROUND]
        if self._found is not None:
            items += leftovers(self.system, self._found, self._wanted)
        self._plan = self._compared(replace(desired, items=tuple(items)))
        self._effect = self._decide_effect(self._plan)
        if self._effect is Effect.NEXT_BOOT and desired.wiring.mode == "direct":
            # What we merge now, containerd would read at its next restart, whoever asks for that.
            staged = tuple(item for item in items if item.phase is not Phase.WIRING)
            self._plan = self._compared(replace(desired, items=staged))
        return self._plan

    def _compared(self, desired: Desired) -> Plan:
        observed = plan_.observe(self.system, desired.items)
        return plan_.compare(desired, observed, self._facts_now, self._found)

    def _decide_effect(self, plan: Plan) -> Effect:
        if not self._node or self._boot:
            return Effect.WITH_START
        found = self._facts_now
        wired = for_hooks(plan.desired.wiring, found)
        pending = rewires([step.item for step in plan.pending if step.item], wired, self._found)
        decided = effect(self.system, found, wired, self._found, pending=pending)
        return Effect.NOW if decided is Effect.NEXT_BOOT and self.settings.force else decided

    def carry_out(self, plan: Plan) -> None:
        """Apply a plan: software, configuration, the proof that it runs here, wiring."""
        for warning in plan.desired.wiring.warnings:
            self.console.warn(warning)
        if self._image:
            self.system.remove(memo.PATH)
        self._remember_units()
        for directory in (plan.desired.wiring.root, units.DAEMONS_OWN):
            self._rest.claim(directory)
        self._rest.record = replace(self._rest.record, prepulled=self._prepulled())
        self._rest.prepare(step.item for step in plan.pending if step.item)
        self._apply_phase(plan, Phase.GROUND)
        self._apply_phase(plan, Phase.SOFTWARE)
        plan = self._tested(plan)
        self._apply_phase(plan, Phase.CONFIGURATION)
        if self._node:
            self._ask_registries()
            if plan.changes("daemon-reload"):
                self._systemctl.run("daemon-reload")
            if plan.changes("preflight") and (not self._boot or self._retrying()):
                self._preflight(plan.desired)
            self._start_units(plan)
            if plan.desired.wiring.mode == "nodeadm":
                own = nodeadms_own(self.system, for_hooks(plan.desired.wiring, self._facts_now))
                self._rest.watch((*own, *self._facts_now.kubelet.sources, nodeconfig.CACHE))
        if self._effect is Effect.NOW:
            self._switch_now(plan)
        else:
            if self._node:
                self._record_wiring(plan)
            self._apply_phase(plan, Phase.WIRING)

    def _record_wiring(self, plan: Plan) -> Wired:
        """Before it is done: a run killed in between leaves a node whose hooks know of it."""
        wired = for_hooks(plan.desired.wiring, self._facts_now)
        self._rest.record = replace(self._rest.record, wiring=wired.to_json())
        save(self.system, self._rest.record)
        return wired

    def _switch_now(self, plan: Plan) -> None:
        """Wire a node whose containerd runs; the hooks, which look at the record, check it on the way."""
        wired = self._record_wiring(plan)
        state.recovered(self.system)
        self._switch = Switch(self.system, self.console, self.deadline)
        self._switch.begin(live.running(self.system))
        self._apply_phase(plan, Phase.WIRING)
        if wired.mode == "nodeadm":
            for item in nodeadms_part(self.system, wired):
                self._rest.put(Step(item.name, item.path, changed=True, item=item))
        self._switch.restart(wired)
        self._switch.end()

    @too_late()
    def finish(self, outcome: str) -> None:
        """Record what was done; after this nothing is taken back."""
        desired, found = self._desired_now, self._facts_now
        record = replace(
            self._rest.record,
            outcome=outcome,
            reason="",
            agent=__version__,
            boot_id=found.boot_id,
            settings=to_json(self.settings),
            wiring={} if self._image else for_hooks(desired.wiring, found).to_json(),
            excluded=() if self._image else tuple(sorted(self._excluded)),
            registries={} if self._image else self._answers,
            prepulled=None if self._image else self._prepulled(),
            node_config=facts.node_config_json(found.node_config) if found.boot_id else {},
        )
        save(self.system, settled(record))
        self._rest.settle()
        self._ground.settle()
        # Only now: beside the paths in the record is where a killed run's traces are looked for.
        self._rest.record = let_go(self.system, settled(record), self._wanted | _GROUND)
        save(self.system, self._rest.record)
        self.sha256 = self._archive_digest()
        if self._node:
            memo.mark_planned()
            state.recovered(self.system)

    @too_late()
    def memorize(
        self, argv: Sequence[str], environ: Mapping[str, str], document: Mapping[str, object], text: str
    ) -> None:
        """Let the next run with these settings see by stat() alone that there is nothing to do."""
        if not any(word.startswith("--config") for word in argv):
            self._save_memo(lambda: self._memory(argv, environ, document, text))

    def memorize_boot(self) -> None:
        """The same after a boot that had something to do: for the next one, and for the last install."""
        self._save_memo(
            lambda: memo.renewed(self.system.read(memo.PATH) or b"", self._memory((), {}, {}, ""))
        )

    def _save_memo(self, make: Callable[[], bytes]) -> None:
        try:
            data = make()
            if data:
                self.system.write(memo.PATH, data, 0o600)
            else:
                self.system.remove(memo.PATH)
        except BootstrapError as error:
            self.console.debug(f"the next run takes the long way: {error}")

    def _memory(
        self, argv: Sequence[str], environ: Mapping[str, str], document: Mapping[str, object], text: str
    ) -> bytes:
        return memory(self.system, self._facts_now, self._desired_now, argv, environ, document, text)

    # -- taking back --------------------------------------------------------------------------

    def undo(self, *, everything: bool) -> list[str]:
        """Take back this run's changes; the ground too where ``everything`` is asked."""
        failures: list[str] = []
        kept = frozenset() if everything else _GROUND
        self.steps = tuple(replace(step, changed=step.changed and step.path in kept) for step in self.steps)
        for unit in self._started:
            failures += self._systemctl.try_run("stop", unit)
        failures += self._rest.undo()
        if self._node and self._plan is not None and self._plan.changes("daemon-reload"):
            failures += self._systemctl.try_run("daemon-reload")
        for unit in self._restarted:
            failures += self._systemctl.try_run("restart", unit)
        if self._switch is not None:
            wired = for_hooks(self._desired_now.wiring, self._facts_now)
            failures += self._switch.back(snapshotter(self.system, wired))
        if not everything:
            self._ground.settle()
            return failures
        failures += self._ground.undo()
        try:
            self._put_record_back(complete=not failures)
        except BootstrapError as error:
            failures.append(str(error))
        return failures

    def fall_back(self, reason: str, *, undone: bool) -> list[str]:
        """On a node: record that it failed open; where others wire SOCI for it, override them.

        Args:
            reason: why.
            undone: everything is as before this run; else its record is needed to get there.
        """
        failures: list[str] = []
        found = self._facts
        before = self._found or self._ground.record
        wired_by_us = self._found is not None and bool(self._found.wiring) and not self._boot
        record = replace(
            before if undone else self._rest.record,
            outcome="degraded",
            reason=reason,
            registries=self._answers,
            prepulled=self._prepulled(),
        )
        try:
            if found and not wired_by_us and starts_with_soci(self.system, found, self._wiring(found)):
                record, reload = override(self.system, found, self._wiring(found), record)
                failures += self._systemctl.try_run("daemon-reload") if reload else []
        except BootstrapError as error:
            failures.append(str(error))
        try:
            save(self.system, record)
            state.degraded(self.system, reason)
        except BootstrapError as error:
            failures.append(str(error))
        return failures

    def _wiring(self, found: facts.Facts) -> Wiring:
        """As planned, or as it would have been where no plan came about."""
        if self._plan is not None:
            return self._plan.desired.wiring
        return choose(self.settings.wiring, found, self.settings.snapshotter_root)

    def _put_record_back(self, *, complete: bool) -> None:
        """The record as this run found it; what could not be undone stays in it, for rollback."""
        if not complete:
            save(self.system, self._rest.record)
        elif self._found is not None:
            save(self.system, self._found)
        else:
            remove_record(self.system, self._rest.record)

    # -- steps --------------------------------------------------------------------------------

    def _steps(self, items: tuple[Item, ...]) -> tuple[Step, ...]:
        observed = plan_.observe(self.system, items)
        return plan_.file_steps(items, observed, self._found)

    def _apply_phase(self, plan: Plan, phase: Phase) -> None:
        for step in plan.pending:
            if step.item is None or step.item.phase is not phase:
                continue
            self.deadline.check(step.name)
            if isinstance(step.item, Daemon):
                self._refuse_at_boot(step.item)
                software.fetch(
                    step.item, self.settings, self._facts_now, self._rest, self.deadline, self.console
                )
            else:
                self.console.debug(f"{step.name}: {step.path}")
                self._rest.put(step)

    def _refuse_at_boot(self, item: Daemon) -> None:
        if self._boot:
            raise StateError(
                "SOCI's daemon is not on this node, and a boot fetches nothing",
                found=f"no verified {item.path} of version {item.version}",
                expected="the one that an earlier install left",
                remedy="run `soci-bootstrap install`",
            )

    def _tested(self, plan: Plan) -> Plan:
        """Self-test the decompressor; with `auto`, the next best one takes a failed one's place."""
        if not self.system.live or not (plan.changes("self-test") or self._boot or self._image):
            return plan
        first = self._found is None or self._found.outcome in {"", "baked"}
        compare = not self._image and (first or not self._boot)
        for _ in range(_SELF_TEST_AGAIN):
            chosen = plan.desired.decompressor
            try:
                software.prove(chosen, self.system, self._facts_now, compare=compare)
                return plan
            except DecompressorError as error:
                if self.settings.decompressor != "auto":
                    raise
                self.console.warn(f"{chosen.kind} is not used: {error}")
                self._excluded |= {chosen.kind}
            plan = self.make_plan()
            self._rest.prepare(step.item for step in plan.pending if step.item)
            self._apply_phase(plan, Phase.SOFTWARE)
        return plan

    def _ask_registries(self) -> None:
        """See that SOCI can reach the registries that containerd reaches in a way of its own.

        Raises:
            WiringError: it can't; at a boot, which makes no requests, what was found out before counts.
        """
        found = self._facts.registries if self._facts else ()
        if not found or self.settings.command == "bake":
            return
        if not self._boot:
            seconds = self.deadline.limit(registries.SECONDS)
            self._answers = registries.ask(found, self._variables(), seconds)
        if not self.settings.force:
            wired = self._found is not None and bool(self._found.wiring)
            registries.refuse_unreachable(found, self._answers, wired=wired)

    def _start_units(self, plan: Plan) -> None:
        """The socket listens; the daemon itself is started by containerd's start, not from here.

        Where containerd runs already, a daemon that is changed or down is started again.
        """
        up = self._facts_now.units["containerd.service"].active == "active"
        again, socket = plan.changes("service-restarted"), plan.changes("socket-started")
        if again:
            self._restarted.append(facts.SERVICE)
            # systemd starts no socket whose service runs. And with containerd yet to start, the
            # daemon's root may be about to move to an array.
            self._systemctl.run("restart" if up and not socket else "stop", facts.SERVICE)
        if socket:
            self._started.append(facts.SOCKET)
            self._systemctl.run("start", facts.SOCKET)
        if plan.changes("service-started"):
            self._started.append(facts.SERVICE)
        if plan.changes("service-started") or (up and again and socket):
            self._systemctl.run("start", facts.SERVICE)

    def _preflight(self, desired: Desired) -> None:
        from soci_bootstrap import preflight

        preflight.run(desired.daemon, desired.config, self.deadline, {**self._variables(), **_ENVIRONMENT})

    # -- what is known ------------------------------------------------------------------------

    def _variables(self) -> Mapping[str, str]:
        """The environment that containerd has, and SOCI with it."""
        return self._facts.containerd.variables if self._facts else {}

    def _retrying(self) -> bool:
        unproven = {"", "degraded", "baked"}
        return (
            self._found is None or self._found.outcome in unproven or bool(state.load(self.system).degraded)
        )

    def _settled(self) -> bool:
        outcome = "baked" if self._image else "installed"
        return (
            self._found is not None
            and self._found.outcome == outcome
            and self._effect is not Effect.NOW
            and let_go(self.system, self._found, self._wanted | _GROUND) == self._found
            and (not self._image or self._found.settings == as_recorded(to_json(self.settings)))
        )

    @property
    def _facts_now(self) -> facts.Facts:
        if self._facts is None:
            raise StateError("a run is decided before the node was observed", remedy="report this")
        return self._facts

    @property
    def _desired_now(self) -> Desired:
        if self._plan is None:
            raise StateError("a run is recorded before it was planned", remedy="report this")
        return self._plan.desired

    def _prepulled(self) -> int | None:
        known = self._found.prepulled if self._found else None
        if known is not None or self._facts is None:
            return known
        return self._facts.store.overlayfs_snapshots

    def _remember_units(self) -> None:
        """Before the first change: what ran, for rollback to leave it running."""
        if self._node and not self._rest.record.units_active:
            active = {
                name: unit.active in {"active", "activating"} for name, unit in self._facts_now.units.items()
            }
            self._rest.record = replace(self._rest.record, units_active=active)

    def _archive_digest(self) -> str | None:
        binary = self._rest.record.binary
        desired = self._plan.desired if self._plan else None
        if binary and desired and desired.daemon == binary.path:
            return binary.archive_sha256
        return None

"""Decide one run from settings, facts and the last record: desired state, steps, and when it takes effect."""

from __future__ import annotations

from dataclasses import dataclass, replace

from soci_bootstrap import facts as facts_
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.decompressors import Trial
from soci_bootstrap.apply.effect import Effect, effect, rewires
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan import decompressor, desired, units
from soci_bootstrap.plan.desired import Desired, desired_state
from soci_bootstrap.plan.steps import Plan, compare, drop_restored, leftovers
from soci_bootstrap.plan.steps import observe as observe_items
from soci_bootstrap.plan.wiring import for_hooks
from soci_bootstrap.settings import to_json
from soci_bootstrap.state.record import Outcome, Phase, Record, as_recorded
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.system.systemd import UnitState

AGENT_PATHS = frozenset(item.path for item in units.agent_items(b""))
"""Paths of the agent and its boot-time unit: these stay where a node failed open."""


@dataclass(frozen=True)
class Decision:
    """One run's decision, made once.

    Attributes:
        facts: what it was made from.
        plan: the steps, and the desired state that they lead to.
        effect: when containerd gets to know of its wiring.
        wired: the wiring as the hooks have to know it.
        excluded: decompressors that failed on this node.
        kept: paths that the record goes on managing.
        settled: where no step is pending, nothing is left to record either.
    """

    facts: Facts
    plan: Plan
    effect: Effect
    wired: Wired
    excluded: frozenset[str]
    kept: frozenset[str]
    settled: bool

    @property
    def desired(self) -> Desired:
        """The desired state."""
        return self.plan.desired

    @property
    def pending(self) -> bool:
        """Something is to be done, or recorded."""
        return bool(self.plan.pending) or not self.settled


def observe(context: Context, units: dict[str, UnitState] | None = None) -> Facts:
    """The facts that a run is decided from.

    Args:
        context: the run's.
        units: their states, None to ask systemd.

    Raises:
        BootstrapError: the node can't be observed.
    """
    settings, image = context.settings, context.mode is Mode.BAKE
    found = facts_.observe(
        context.system,
        context.record,
        arch=settings.arch,
        vcpus=settings.vcpus,
        memory_gib=settings.memory_gib,
        # What runs on the builder is nothing to an image, and a chroot has no systemd to ask.
        units={} if image else units,
    )
    return desired.facts_of_image(context.system, found) if image else found


def decide(context: Context, facts: Facts, trial: Trial, record: Record) -> Decision:
    """The one decision of a run. Looks and changes nothing.

    Args:
        context: the run's.
        facts: the node's.
        trial: of decompressors.
        record: as this run has it by now, with the files that it put already.

    Raises:
        WiringError: the node can't be wired.
        DecompressorError: the one asked for is not here.
        CommandError: containerd did not say what runs.
    """
    system = context.system
    wanted = desired_state(context.settings, facts, context.agent, context.record, trial.excluded)
    if context.mode is Mode.BAKE:
        wanted = desired.without_machine(wanted)
    decompressor.look_at(wanted.decompressor, system)
    kept = frozenset(item.path for item in wanted.items) | AGENT_PATHS
    # On a node the agent is there already: it is put before anything else.
    items = tuple(item for item in wanted.items if not context.on_node or item.phase is not Phase.AGENT)
    plan = _compare(context, replace(wanted, items=(*items, *leftovers(system, record, kept))), facts, trial)
    wired = for_hooks(wanted.wiring, facts)
    when = _effect(context, facts, plan, wired)
    if when is Effect.NEXT_BOOT and wanted.wiring.mode is WiringMode.DIRECT:
        # What is merged now, containerd would read at its next restart, whoever asks for that.
        staged = tuple(item for item in plan.desired.items if item.phase is not Phase.WIRING)
        plan = _compare(context, replace(wanted, items=staged), facts, trial)
    settled = _is_settled(context, when, kept)
    return Decision(facts, plan, when, wired, trial.excluded, kept, settled)


def _compare(context: Context, wanted: Desired, facts: Facts, trial: Trial) -> Plan:
    observed = observe_items(context.system, wanted.items, context.record)
    return compare(wanted, observed, facts, context.record, self_test=trial.due)


def _effect(context: Context, facts: Facts, plan: Plan, wired: Wired) -> Effect:
    if context.mode is not Mode.NODE:
        return Effect.WITH_START
    pending = rewires([step.item for step in plan.pending if step.item], wired, context.record)
    decided = effect(context.system, facts, wired, context.record, pending=pending)
    return Effect.NOW if decided is Effect.NEXT_BOOT and context.settings.force else decided


def _is_settled(context: Context, when: Effect, kept: frozenset[str]) -> bool:
    record, image = context.record, context.mode is Mode.BAKE
    return (
        record is not None
        and record.outcome is (Outcome.BAKED if image else Outcome.INSTALLED)
        and when is not Effect.NOW
        and drop_restored(context.system, record, kept) == record
        and (not image or record.settings == as_recorded(to_json(context.settings)))
    )

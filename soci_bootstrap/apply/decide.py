"""What a run sees of the node, what it wants of it, what differs, and when that takes effect."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from soci_bootstrap import facts as facts_
from soci_bootstrap.apply.context import Context
from soci_bootstrap.apply.effect import Effect, effect, rewires
from soci_bootstrap.errors import StateError, WiringError
from soci_bootstrap.facts import Facts
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import decompressor, units
from soci_bootstrap.plan import desired as desired_
from soci_bootstrap.plan import steps as plan_
from soci_bootstrap.plan.decompressor import excluded
from soci_bootstrap.plan.desired import Desired, desired_state
from soci_bootstrap.plan.steps import Plan, drop_restored, leftovers
from soci_bootstrap.plan.wiring import Wiring, choose, for_hooks
from soci_bootstrap.settings import to_json
from soci_bootstrap.state.record import Phase, Record, as_recorded
from soci_bootstrap.state.wiring import Wired

GROUND = frozenset(item.path for item in units.agent_items(b""))
"""Paths of the agent and its boot-time unit: these stay where a node failed open."""


class Planning:
    """One run's plan, and what it was made from. Looks, and changes nothing.

    Attributes:
        seen: the node's facts, None before it was observed.
        plan: the last one made, None before that.
        effect: when containerd gets to know of it.
        excluded: decompressors that failed here.
    """

    def __init__(self, context: Context) -> None:
        self.seen: Facts | None = None
        self.plan: Plan | None = None
        self.effect = Effect.WITH_START
        self.excluded = excluded(context.record, context.settings)
        self._context = context
        self._wanted: frozenset[str] = frozenset()

    def make(self) -> Plan:
        """Observe the node and decide; the ground's own items are left out once they are laid."""
        context = self._context
        desired = desired_state(
            context.settings, self.observed(), context.agent, context.record, self.excluded
        )
        if context.image:
            desired = desired_.without_machine(desired)
        decompressor.look_at(desired.decompressor, context.system)
        self._wanted = frozenset(item.path for item in desired.items)
        items = [item for item in desired.items if not context.node or item.phase is not Phase.AGENT]
        if context.record is not None:
            items += leftovers(context.system, context.record, self._wanted)
        self.plan = self._compared(replace(desired, items=tuple(items)))
        self.effect = self._decide_effect(self.plan)
        if self.effect is Effect.NEXT_BOOT and desired.wiring.mode == "direct":
            # What we merge now, containerd would read at its next restart, whoever asks for that.
            staged = tuple(item for item in items if item.phase is not Phase.WIRING)
            self.plan = self._compared(replace(desired, items=staged))
        return self.plan

    def observed(self) -> Facts:
        """The node's facts, looked for once.

        Raises:
            BootstrapError: it can't be observed.
        """
        context = self._context
        if self.seen is None:
            found = facts_.observe(
                context.system,
                context.record,
                arch=context.settings.arch,
                vcpus=context.settings.vcpus,
                memory_gib=context.settings.memory_gib,
                # What runs on the builder is nothing to an image, and a chroot has no systemd to ask.
                units={} if context.image else None,
            )
            self.seen = desired_.facts_of_image(context.system, found) if context.image else found
        return self.seen

    def _compared(self, desired: Desired) -> Plan:
        observed = plan_.observe(self._context.system, desired.items, self._context.record)
        return plan_.compare(desired, observed, self.facts, self._context.record)

    def _decide_effect(self, plan: Plan) -> Effect:
        context = self._context
        if not context.node or context.boot:
            return Effect.WITH_START
        wired = for_hooks(plan.desired.wiring, self.facts)
        pending = rewires([step.item for step in plan.pending if step.item], wired, context.record)
        decided = effect(context.system, self.facts, wired, context.record, pending=pending)
        return Effect.NOW if decided is Effect.NEXT_BOOT and context.settings.force else decided

    # -- what is known by now -----------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        """The node's.

        Raises:
            StateError: it was not observed.
        """
        if self.seen is None:
            raise StateError("a run is decided before the node was observed", remedy="report this")
        return self.seen

    @property
    def desired(self) -> Desired:
        """What the node should hold.

        Raises:
            StateError: nothing was planned.
        """
        if self.plan is None:
            raise StateError("a run is recorded before it was planned", remedy="report this")
        return self.plan.desired

    @property
    def wired(self) -> Wired:
        """How the node is going to be wired, as its hooks have to know."""
        return for_hooks(self.desired.wiring, self.facts)

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment that containerd has, and SOCI with it."""
        return self.facts.containerd.variables

    @property
    def version(self) -> str:
        """SOCI's version: the one that was asked for until the node was seen."""
        return (
            self.plan.desired.version if self.plan else self._context.settings.soci_version or release.NEWEST
        )

    @property
    def mode(self) -> str | None:
        """The wiring chosen, None before that."""
        return self.plan.desired.wiring.mode if self.plan else None

    @property
    def prepulled(self) -> int | None:
        """Snapshots on overlayfs when this node was first looked at; None before that."""
        known = self._context.record.prepulled if self._context.record else None
        return known if known is not None or self.seen is None else self.seen.store.overlayfs_snapshots

    def wiring(self) -> Wiring:
        """As planned; where no plan came about, the first of all that fits what others wired here.

        Raises:
            BootstrapError: the node can't be observed, or containerd's configuration can't be read.
        """
        if self.plan is not None:
            return self.plan.desired.wiring
        found, settings = self.observed(), self._context.settings
        for asked in (settings.wiring, "auto"):
            with suppress(WiringError):
                return choose(asked, found, settings.snapshotter_root)
        return choose("none", found, settings.snapshotter_root)

    def let_go(self, record: Record) -> Record:
        """A record without what is not wanted any more and stands as it did before us."""
        return drop_restored(self._context.system, record, self._wanted | GROUND)

    def is_settled(self) -> bool:
        """Whether, where no step is pending, there is nothing left to record either."""
        context, record = self._context, self._context.record
        return (
            record is not None
            and record.outcome == ("baked" if context.image else "installed")
            and self.effect is not Effect.NOW
            and self.let_go(record) == record
            and (not context.image or record.settings == as_recorded(to_json(context.settings)))
        )

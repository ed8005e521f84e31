"""One run towards what the node should hold: the part that install, bake and the boot-time unit share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from soci_bootstrap import __version__, facts, paths
from soci_bootstrap.apply.context import Context
from soci_bootstrap.apply.decide import GROUND, Planning
from soci_bootstrap.apply.effect import STAGED, Effect
from soci_bootstrap.apply.fail_open import override, starts_with_soci
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.apply.phases import Execution
from soci_bootstrap.apply.remember import memory
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.facts import machine
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import steps as plan_
from soci_bootstrap.plan import units
from soci_bootstrap.plan.steps import Step
from soci_bootstrap.settings import to_json
from soci_bootstrap.state import health, memo
from soci_bootstrap.state.backups import remove_record, sweep
from soci_bootstrap.state.record import Record, as_recorded, save, settled
from soci_bootstrap.system.signals import discarded


class Convergence:
    """One run, from observing to recording.

    Args:
        context: what it is given.

    Attributes:
        planning: what was seen and decided.
        steps: what the run consists of, as far as it is known.
        arch: SOCI's.
        sha256: the archive's; until the run is done, what it has to be, None where that isn't known.
        kept_settings: nothing was to be changed, but options that the next boot goes by.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ground = FileChanges(context.system, context.record or Record())
        self.planning = Planning(self._context)
        self._execution = Execution(self._context, self.planning, self._ground)
        self.console = context.console
        self.steps: tuple[Step, ...] = ()
        self.arch = machine.architecture(context.settings.arch)
        asked = context.settings.soci_version or release.NEWEST
        self.sha256 = context.settings.sha256 or release.pinned_digest(asked, self.arch)
        self.kept_settings = False

    def install(self) -> tuple[str, str | None]:
        """All of it; the outcome and, where it did not take effect yet, why."""
        context = self._context
        if context.record is not None:
            sweep(context.system, (paths.RECORD, memo.PATH, *context.record.before))
        if context.node:
            self._lay_ground()
        plan = self.planning.make()
        self.sha256 = plan.desired.sha256
        self.steps = (*self.steps, *plan.steps)
        if not any(step.changed for step in self.steps) and self.planning.is_settled() and not context.boot:
            self.sha256 = self._archive_digest()
            self._keep_settings()
            return "unchanged", None
        self._execution.carry_out(plan)
        if self.planning.effect is Effect.NEXT_BOOT:
            self._finish("staged")
            return "staged", STAGED
        self._finish("baked" if context.image else "installed")
        return ("installed" if self._is_first() else "changed"), None

    def _lay_ground(self) -> None:
        """The agent, its boot-time unit and the record: they stay, whatever happens next."""
        system, items = self._context.system, units.agent_items(self._context.agent)
        self.steps = plan_.file_steps(
            items, plan_.observe(system, items, self._context.record), self._context.record
        )
        self._ground.prepare(self.steps)
        for step in self.steps:
            if step.changed:
                self._ground.put(step)
        self._execution.applier = FileChanges(system, self._ground.record)

    def _is_first(self) -> bool:
        record = self._context.record
        return record is None or not (record.outcome == "baked" if self._context.image else record.wiring)

    # -- recording ----------------------------------------------------------------------------

    def _keep_settings(self) -> None:
        """Other options may come to the same on this boot, and to something else on the next."""
        record, kept = self._context.record, as_recorded(to_json(self._context.settings))
        if record is not None and record.settings != kept:
            save(self._context.system, replace(record, settings=to_json(self._context.settings)))
            self.kept_settings = True

    @discarded()
    def _finish(self, outcome: str) -> None:
        """Record what was done; after this nothing is taken back."""
        context, found, applier = self._context, self.planning.facts, self._execution.applier
        record = replace(
            applier.record,
            outcome=outcome,
            reason="",
            agent=__version__,
            boot_id=found.boot_id,
            settings=to_json(context.settings),
            wiring={} if context.image else self.planning.wired.to_json(),
            excluded=() if context.image else tuple(sorted(self.planning.excluded)),
            registries={} if context.image else self._execution.answers,
            prepulled=None if context.image else self.planning.prepulled,
            node_config=facts.node_config_json(found.node_config) if found.boot_id else {},
        )
        save(context.system, settled(record))
        applier.settle()
        self._ground.settle()
        # Only now: beside the paths in the record is where a killed run's traces are looked for.
        applier.record = self.planning.let_go(settled(record))
        save(context.system, applier.record)
        self.sha256 = self._archive_digest()
        if context.node:
            memo.mark_planned()
            health.recovered(context.system)

    def _archive_digest(self) -> str | None:
        binary = self._execution.applier.record.binary
        return binary.archive_sha256 if binary and binary.path == self.planning.desired.daemon else None

    @discarded()
    def memorize(
        self, argv: Sequence[str], environ: Mapping[str, str], document: Mapping[str, object], text: str
    ) -> None:
        """Let the next run with these settings see by stat() alone that there is nothing to do."""
        if not any(word.startswith("--config") for word in argv):
            self._save_memo(lambda: self._memory(argv, environ, document, text))

    def memorize_boot(self) -> None:
        """The same after a boot that had something to do: for the next one, and for the last install."""
        system = self._context.system
        self._save_memo(lambda: memo.renewed(system.read(memo.PATH) or b"", self._memory((), {}, {}, "")))

    def _save_memo(self, make: Callable[[], bytes]) -> None:
        try:
            data = make()
            if data:
                self._context.system.write(memo.PATH, data, 0o600)
            else:
                self._context.system.remove(memo.PATH)
        except BootstrapError as error:
            self.console.debug(f"the next run takes the long way: {error}")

    def _memory(
        self, argv: Sequence[str], environ: Mapping[str, str], document: Mapping[str, object], text: str
    ) -> bytes:
        found, desired = self.planning.facts, self.planning.desired
        return memory(self._context.system, found, desired, argv, environ, document, text)

    # -- where it fails -----------------------------------------------------------------------

    def undo(self, *, everything: bool) -> list[str]:
        """Take back this run's changes; the ground too where ``everything`` is asked.

        Returns:
            What could not be put back, a sentence each.
        """
        kept = frozenset() if everything else GROUND
        self.steps = tuple(replace(step, changed=step.changed and step.path in kept) for step in self.steps)
        failures = self._execution.take_back()
        if not everything:
            self._ground.settle()
            return failures
        failures += self._ground.undo()
        try:
            self._put_record_back(complete=not failures)
        except BootstrapError as error:
            failures.append(str(error))
        return failures

    def _put_record_back(self, *, complete: bool) -> None:
        """The record as this run found it; what could not be undone stays in it, for rollback."""
        system, now = self._context.system, self._execution.applier.record
        if not complete:
            save(system, now)
        elif self._context.record is not None:
            save(system, self._context.record)
        else:
            remove_record(system, now)

    def fall_back(self, reason: str, *, undone: bool) -> list[str]:
        """On a node: record that it failed open; where others wire SOCI for it, override them.

        Args:
            reason: why.
            undone: everything is as before this run; else its record is needed to get there.

        Returns:
            What did not work, a sentence each.
        """
        context = self._context
        failures: list[str] = []
        before = context.record or self._ground.record
        record = replace(
            before if undone else self._execution.applier.record,
            outcome="degraded",
            reason=reason,
            registries=self._execution.answers,
            prepulled=self.planning.prepulled,
        )
        wired_by_us = context.wired and not context.boot
        try:
            if not wired_by_us:
                # Also where the run ended before it had looked at anything.
                found, wiring = self.planning.observed(), self.planning.wiring()
                if starts_with_soci(context.system, found, wiring):
                    record, reload = override(context.system, found, wiring, record)
                    failures += self._execution.systemctl.try_run("daemon-reload") if reload else []
        except BootstrapError as error:
            # What could not be looked at is often the very reason.
            failures += [str(error)] if str(error) != reason else []
        try:
            save(context.system, record)
            health.degraded(context.system, reason)
        except BootstrapError as error:
            failures.append(str(error))
        return failures

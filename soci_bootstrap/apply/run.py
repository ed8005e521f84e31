"""One run, from observing to recording: the part that install, bake and the boot-time unit share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from soci_bootstrap import __version__, paths
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.decide import Decision, decide, observe
from soci_bootstrap.apply.decompressors import try_decompressors
from soci_bootstrap.apply.effect import STAGED, Effect
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.apply.services import ServiceChanges
from soci_bootstrap.errors import BootstrapError, RefusedError, StoppedError
from soci_bootstrap.facts import Facts, node_config_json
from soci_bootstrap.facts.machine import architecture
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import units
from soci_bootstrap.plan.steps import Step, drop_restored
from soci_bootstrap.runtime.originals import restore_unwired
from soci_bootstrap.runtime.read_ahead import read_ahead
from soci_bootstrap.settings import to_json
from soci_bootstrap.state import health
from soci_bootstrap.state.backups import remove_record, sweep
from soci_bootstrap.state.record import Outcome, Record, as_recorded, save, settled
from soci_bootstrap.system import signals


@dataclass(frozen=True)
class Report:
    """The end of a run.

    Attributes:
        outcome: what became of it.
        reason: why it failed or takes effect later, None where it is done.
        steps: as far as they were known.
        version: of SOCI.
        arch: SOCI's.
        sha256: the archive's; where the run failed, what it had to be, None where that isn't known.
        wiring: the one chosen, None before that.
    """

    outcome: Outcome
    reason: str | None
    steps: tuple[Step, ...]
    version: str
    arch: str
    sha256: str | None
    wiring: str | None


def run(context: Context) -> Report:
    """Bring the node or image to its desired state; where that fails, undo it, and fail open on a node.

    Raises:
        RefusedError: nothing was changed.
    """
    attempt = _Attempt(context)
    error: BootstrapError
    try:
        report = _converge(attempt)
        _start_kubelet(attempt)
        return report
    except RefusedError:
        signals.ignore_more()
        attempt.undo(to_savepoint=False)
        _start_kubelet(attempt)
        raise
    except BootstrapError as failure:
        error = failure
    except KeyboardInterrupt:
        error = StoppedError()
    except Exception as bug:  # noqa: BLE001 - whatever happens, a node must join and say why
        context.console.debug(_traceback())
        error = BootstrapError(
            f"unexpected {type(bug).__name__}: {bug}", remedy="run it again with -v and report this as a bug"
        )
    # From here on a second signal must not stop the undoing.
    signals.ignore_more()
    report = _fail(attempt, error)
    _start_kubelet(attempt)
    return report


def _start_kubelet(attempt: _Attempt) -> None:
    """Whatever came of this run: a kubelet that it, or one that was killed, stopped runs again."""
    if attempt.context.mode is Mode.NODE:
        for failure in attempt.services.start_kubelet():
            attempt.context.console.warn(failure)


class _Attempt:
    """The knowledge and changes of a run by now, for its end, whichever that is."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.changes = FileChanges(context.system, context.record or Record())
        self.services = ServiceChanges(context)
        self.facts: Facts | None = None
        self.decision: Decision | None = None
        self.steps: tuple[Step, ...] = ()

    def undo(self, *, to_savepoint: bool) -> list[str]:
        """Take back units, files and a switch; on the way to nothing, the record too.

        Returns:
            What could not be put back, a sentence each.
        """
        failures = self.services.stop_started()
        failures += self.changes.undo(to_savepoint=to_savepoint)
        failures += self.services.undo()
        if not to_savepoint:
            try:
                self._put_record_back(complete=not failures)
            except BootstrapError as error:
                failures.append(str(error))
        return failures

    def _put_record_back(self, *, complete: bool) -> None:
        """The record as this run found it; what could not be undone stays in it, for rollback."""
        system = self.context.system
        if not complete:
            save(system, self.changes.record)
        elif self.context.record is not None:
            save(system, self.context.record)
        else:
            remove_record(system, self.changes.record)

    def report(self, outcome: Outcome, reason: str | None) -> Report:
        """The end of the run."""
        context, decision = self.context, self.decision
        asked = context.settings.soci_version or release.NEWEST
        version = decision.desired.version if decision else asked
        arch = architecture(context.settings.arch)
        sha256 = context.settings.sha256 or release.pinned_digest(version, arch)
        if decision is not None:
            sha256 = decision.desired.sha256
            binary = self.changes.record.binary
            if outcome not in {Outcome.FAILED, Outcome.DEGRADED}:
                sha256 = binary.archive_sha256 if binary and binary.path == decision.desired.daemon else None
        steps = tuple(
            replace(step, changed=self.changes.changed(step.path))
            if outcome in {Outcome.FAILED, Outcome.DEGRADED}
            else step
            for step in self.steps
        )
        wiring = decision.desired.wiring.mode.value if decision else None
        return Report(outcome, reason, steps, version, arch, sha256, wiring)


def _converge(attempt: _Attempt) -> Report:
    context, changes, services = attempt.context, attempt.changes, attempt.services
    if context.record is not None:
        sweep(context.system, (paths.RECORD, *context.record.before))
    if context.on_node:
        there = context.system.entry(paths.DAEMON).kind == "file"
        read_ahead(context.system, paths.DAEMON if there else paths.AMI_DAEMON)
        # What failing open changed outside of our own files: those who wire anew need it as it was.
        for failure in restore_unwired(context.system):
            context.console.warn(failure)
        # The agent, its boot-time unit and the record stay, whatever happens next.
        attempt.steps = changes.put_all(units.agent_items(context.agent))
    changes.savepoint()
    attempt.facts = facts = observe(context)
    trial = try_decompressors(context, facts, changes)
    attempt.decision = decision = decide(context, facts, trial, changes.record)
    attempt.steps += tuple(
        replace(step, changed=step.changed or changes.changed(step.path)) for step in decision.plan.steps
    )
    if context.mode is not Mode.BOOT and not decision.pending and not any(s.changed for s in attempt.steps):
        _keep_settings(context)
        return attempt.report(Outcome.UNCHANGED, None)
    # A converged node has no use for what fetches and proves.
    from soci_bootstrap.apply import phases

    for warning in decision.desired.wiring.warnings:
        context.console.warn(warning)
    phases.prepare(context, decision, changes)
    phases.fetch(context, decision, changes)
    phases.configure(context, decision, changes)
    if context.on_node:
        phases.preflight(context, decision, changes, services)
    effect = phases.wire(context, decision, changes, services)
    outcome = _commit(attempt, decision, effect)
    return attempt.report(outcome, STAGED if outcome is Outcome.STAGED else None)


def _keep_settings(context: Context) -> None:
    """Record options that come to the same on this boot: they may come to something else on the next."""
    settings = to_json(context.settings)
    if context.record is not None and context.record.settings != as_recorded(settings):
        save(context.system, replace(context.record, settings=settings))


@signals.discarded()
def _commit(attempt: _Attempt, decision: Decision, effect: Effect) -> Outcome:
    """Record the run; after this nothing is undone."""
    context, changes, facts = attempt.context, attempt.changes, decision.facts
    image = context.mode is Mode.BAKE
    staged = effect is Effect.NEXT_BOOT
    outcome = Outcome.STAGED if staged else Outcome.BAKED if image else Outcome.INSTALLED
    last = context.record
    first = last is None or not (last.outcome is Outcome.BAKED if image else last.wiring)
    record = replace(
        changes.record,
        outcome=outcome,
        agent=__version__,
        boot_id=facts.boot_id,
        settings=to_json(context.settings),
        wiring={} if image else decision.wired.to_json(),
        excluded=() if image else tuple(sorted(decision.excluded)),
        registries={} if image else changes.record.registries,
        prepulled=None if image else changes.record.prepulled,
        node_config=node_config_json(facts.node_config) if facts.boot_id else {},
    )
    save(context.system, settled(record))
    changes.commit()
    # Only now: beside the paths in the record is where a killed run's traces are looked for.
    changes.record = drop_restored(context.system, settled(record), decision.kept)
    save(context.system, changes.record)
    if context.on_node:
        context.system.mkdir(paths.RUN, 0o700)
        context.system.write(paths.PLANNED, b"", 0o600)
        health.recovered(context.system)
    if staged:
        return outcome
    return Outcome.INSTALLED if first else Outcome.CHANGED


def _fail(attempt: _Attempt, error: BootstrapError) -> Report:
    """Undo the run; a node keeps the agent and its boot-time unit, for the next boot's try."""
    context, reason = attempt.context, str(error)
    strict = not context.on_node
    left = attempt.undo(to_savepoint=not strict)
    outcome = Outcome.FAILED
    if not strict:
        works = context.mode is Mode.NODE and context.wired and not left
        if works and context.record is not None and not health.is_degraded(context.system):
            # The node goes on as it was, on SOCI: a change of it failed, and nothing else.
            save(context.system, replace(attempt.changes.record, outcome=context.record.outcome))
        else:
            from soci_bootstrap.apply.fail_open import fail_open

            left += fail_open(
                context, attempt.changes, attempt.services, attempt.facts, "; ".join([reason, *left])
            )
            outcome = Outcome.FAILED if context.settings.strict else Outcome.DEGRADED
    for failure in left:
        context.console.warn(f"could not be put back: {failure}")
    return attempt.report(outcome, reason)


def _traceback() -> str:
    import traceback

    return traceback.format_exc()

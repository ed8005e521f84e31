"""Try `auto`'s decompressors before anything is planned: the ones that fail here are a fact of this node."""

from __future__ import annotations

from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap.errors import DecompressorError
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan import decompressor
from soci_bootstrap.plan.items import Item
from soci_bootstrap.plan.steps import file_steps, observe
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome


@dataclass(frozen=True)
class Trial:
    """The outcome of trying decompressors, or what a run would try.

    Attributes:
        excluded: those that failed their self-test or lost the comparison on this node.
        due: a self-test was run, or would be.
    """

    excluded: frozenset[str]
    due: bool


def expected_trial(context: Context, facts: Facts) -> Trial:
    """Tell what a run would try first; look and change nothing.

    Raises:
        DecompressorError: the one asked for is not here.
    """
    excluded = decompressor.excluded(context.record, context.settings)
    chosen, files = decompressor.choose(context.settings, facts, excluded)
    return Trial(excluded, _is_due(context, facts, chosen, tuple(files)))


def try_decompressors(context: Context, facts: Facts, changes: FileChanges) -> Trial:
    """Self-test the decompressor to be used; with `auto`, the next best one takes a failed one's place.

    Ours is put where SOCI will start it from, and tried there.

    Raises:
        DecompressorError: the one asked for is not here, or failed.
    """
    trial = expected_trial(context, facts)
    due = trial.due
    if not due:
        return trial
    from soci_bootstrap.apply import preflight  # a converged node tries nothing

    while trial.due:
        chosen, files = decompressor.choose(context.settings, facts, trial.excluded)
        changes.put_all(tuple(files))
        try:
            preflight.prove(chosen, context.system, facts, compare=_compares(context))
            break
        except DecompressorError as error:
            if context.settings.decompressor != "auto":
                raise
            context.console.warn(f"{chosen.kind} is not used: {error}")
            trial = Trial(trial.excluded | {chosen.kind}, due=True)
    return Trial(trial.excluded, due)


def _is_due(context: Context, facts: Facts, chosen: Decompressor, files: tuple[Item, ...]) -> bool:
    """A decompressor is tried at each boot, in each image, and where this node has not proved it yet."""
    system, record = context.system, context.record
    if not system.live or chosen.path is None:
        return False
    proven = record is not None and record.outcome in {Outcome.INSTALLED, Outcome.STAGED}
    if context.mode in {Mode.BOOT, Mode.BAKE} or not proven:
        return True
    config = paths.SOCI_CONFIG_BESIDE_GATE if facts.node_config.gate else paths.SOCI_CONFIG
    named = f'path = "{chosen.path}"'.encode() in (system.read(config) or b"")
    changed = any(step.changed for step in file_steps(files, observe(system, files, record), record))
    return not named or changed or health.is_degraded(system)


def _compares(context: Context) -> bool:
    """Ours is compared with unpigz once a node: not in an image, which wakes up on another machine."""
    first = context.record is None or context.record.outcome in {Outcome.AT_WORK, Outcome.BAKED}
    return context.mode is Mode.NODE or (context.mode is Mode.BOOT and first)

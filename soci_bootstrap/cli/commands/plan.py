"""`plan`: what `install` would do here, as steps and file diffs. Changes nothing, needs no rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from soci_bootstrap.apply.context import Context, mode_of
from soci_bootstrap.apply.decide import Decision, decide, observe
from soci_bootstrap.apply.decompressors import expected_trial
from soci_bootstrap.apply.effect import STAGED, Effect
from soci_bootstrap.cli.result import Result
from soci_bootstrap.errors import BootstrapError, CommandError, RefusedError, StateError
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import units
from soci_bootstrap.plan.items import Absent, Daemon, File, Link, Restore
from soci_bootstrap.plan.steps import Step, file_steps, steps_to_json
from soci_bootstrap.plan.steps import observe as observe_items
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Record, load
from soci_bootstrap.system import System, resources
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd, UnitState
from soci_bootstrap.system.tree import ABSENT, Entry

PENDING = 3
_TEXT_MAX = 64 << 10
T = TypeVar("T")


class Visible(System):
    """The node as this user may see it: what is closed to it counts as not there, and is listed.

    Attributes:
        unseen: what is closed, a sentence each, by path.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.unseen: dict[str, str] = {}

    def entry(self, path: str) -> Entry:
        """Return the state of ``path`` before the run."""
        return self._seen(path, super().entry, ABSENT)

    def read(self, path: str) -> bytes | None:
        """A file's bytes."""
        return self._seen(path, super().read, None)

    def listdir(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory."""
        return self._seen(path, super().listdir, ())

    def sha256(self, path: str) -> str:
        """A file's digest; empty, which is nobody's, for one that may not be read."""
        return self._seen(path, super().sha256, "")

    def _seen(self, path: str, look: Callable[[str], T], closed: T) -> T:
        try:
            return look(path)
        except StateError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            self.unseen[path] = str(error)
            return closed


@dataclass(frozen=True)
class _Preview:
    """Steps and diffs of what `install` would do here.

    Attributes:
        steps: all of them, pending or done.
        decision: None where none could be made.
        reason: why install would fail open, or take effect later; None where it would just be done.
        fails: it would fail open; the steps are then what it leaves behind.
    """

    steps: tuple[Step, ...]
    decision: Decision | None
    reason: str | None
    fails: bool

    @property
    def pending(self) -> bool:
        """Something would be done."""
        return self.fails or any(step.changed for step in self.steps)


def run(settings: Settings, console: Console) -> Result:
    """Decide as `install` would; a file that this user may not read counts as changed and is marked.

    Raises:
        BootstrapError: as `install` would meet it, where that leaves nothing behind.
    """
    system = Visible(settings.root)
    unseen = list(settings.unseen)
    record = _record(system, unseen)
    # A checkout has no zipapp to leave behind; the rest of the plan is the same.
    agent = resources.agent_bytes() or b""
    deadline = Deadline(settings.deadline)
    context = Context(system, settings, console, deadline, agent, record, mode_of(settings, system))
    agent_steps: tuple[Step, ...] = ()
    if context.on_node:
        items = units.agent_items(agent)
        agent_steps = file_steps(items, observe_items(system, items, record), record)
    try:
        preview = _preview(context, agent_steps, _units(system, unseen))
    except RefusedError:
        raise
    except BootstrapError as error:
        if not context.on_node or settings.strict:
            raise
        preview = _Preview(agent_steps, None, str(error), fails=True)
    if preview.decision is not None:
        for warning in preview.decision.desired.wiring.warnings:
            console.warn(warning)
    diffs = dict(_diffs(system, tuple(step for step in preview.steps if step.changed)))
    return _result(preview, settings, diffs, (*unseen, *system.unseen.values()))


def _preview(context: Context, agent_steps: tuple[Step, ...], states: dict[str, UnitState]) -> _Preview:
    facts = observe(context, states)
    decision = decide(context, facts, expected_trial(context, facts), context.record or Record())
    steps = (*agent_steps, *decision.plan.steps)
    _see_the_tarball(context.settings, steps)
    staged = decision.effect is Effect.NEXT_BOOT and any(step.changed for step in steps)
    return _Preview(steps, decision, STAGED if staged else None, fails=False)


def _see_the_tarball(settings: Settings, steps: tuple[Step, ...]) -> None:
    """See that a file that would be fetched from is there.

    Raises:
        FetchError: it is not.
    """
    from soci_bootstrap.fetch.sources import FileSource

    fetches = any(step.changed and isinstance(step.item, Daemon) for step in steps)
    if fetches and settings.tarball and "://" not in settings.tarball:
        FileSource(settings.tarball).open(1.0).close()


def _result(preview: _Preview, settings: Settings, diffs: dict[str, str], unseen: tuple[str, ...]) -> Result:
    """The steps as `install` reports them, each with its diff; exit 0 for nothing to do, else 3."""
    decision = preview.decision
    version = decision.desired.version if decision else settings.soci_version or release.NEWEST
    wiring = decision.desired.wiring.mode.value if decision else None
    steps = [
        {**step, **({"diff": diffs[str(step["path"])]} if step.get("path") in diffs else {})}
        for step in steps_to_json(preview.steps)
    ]
    document = {
        "pending": preview.pending,
        "reason": preview.reason,
        "takes_effect": "next boot" if preview.reason == STAGED else "now",
        "steps": steps,
        "soci_version": version,
        "wiring": wiring,
        "unseen": list(unseen),
    }
    if not preview.pending:
        return Result(0, document, f"nothing to do: SOCI {version}, wiring {wiring}")
    pending = [step for step in preview.steps if step.changed]
    count = f"{len(pending)} of {len(preview.steps)} steps pending"
    lines = [f"{count} (SOCI {version}, wiring {wiring})"]
    if preview.fails:
        lines = [f"{count}, after which install would fail open: {preview.reason}"]
    elif preview.reason:
        lines.append(f"  workloads run on this node: it {preview.reason}; --force switches now")
    lines += [f"  {step.name}{f'  {step.path}' if step.path else ''}" for step in pending]
    lines += [f"  not seen: {what}" for what in unseen]
    lines += ["", *diffs.values()]
    return Result(PENDING, document, "\n".join(lines).rstrip())


def _units(system: System, unseen: list[str]) -> dict[str, UnitState]:
    try:
        return Systemd(system).unit_states()
    except (CommandError, StateError) as error:
        unseen.append(str(error))
        return {}


def _record(system: System, unseen: list[str]) -> Record | None:
    try:
        return load(system)
    except StateError as error:
        unseen.append(str(error))
        return None


def _diffs(system: Visible, steps: tuple[Step, ...]) -> Iterator[tuple[str, str]]:
    for step in steps:
        item = step.item
        if item is None:
            continue
        entry = system.entry(item.path)
        if isinstance(item, Absent):
            yield item.path, f"--- {item.path}\n+++ /dev/null\n"
        elif isinstance(item, Restore):
            yield item.path, f"{item.path}: as it was before the first install\n"
        elif isinstance(item, Link):
            before = f" (now -> {entry.target})" if entry.kind == "link" else ""
            yield item.path, f"{item.path} -> {item.target}{before}\n"
        elif isinstance(item, Daemon):
            yield (
                item.path,
                f"{item.path}: SOCI {item.version} ({item.arch}), sha256 {item.sha256 or 'not pinned'}\n",
            )
        elif isinstance(item, File):
            yield item.path, _file_diff(system, item)


def _file_diff(system: Visible, item: File) -> str:
    before = system.read(item.path)
    if item.path in system.unseen:
        return f"{item.path}: can't be read by this user\n"
    if len(item.data) > _TEXT_MAX or b"\0" in item.data:
        now = "nothing" if before is None else f"{len(before)} bytes"
        return f"{item.path}: {len(item.data)} bytes, mode {item.mode:04o} (now {now})\n"
    from difflib import unified_diff

    entry = system.entry(item.path)
    old = "/dev/null" if before is None else item.path
    lines = unified_diff(
        (before or b"").decode("utf-8", "replace").splitlines(keepends=True),
        item.data.decode().splitlines(keepends=True),
        old,
        item.path,
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    if before is not None and entry.mode != item.mode:
        text += f"{item.path}: mode {entry.mode:04o} -> {item.mode:04o}\n"
    return text

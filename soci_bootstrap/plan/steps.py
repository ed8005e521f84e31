"""The steps from the observed state to the desired one."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from soci_bootstrap import paths
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan.desired import Desired
from soci_bootstrap.plan.items import Absent, Daemon, File, Item, Link, Restore
from soci_bootstrap.state.ownership import PathState, is_original, state_of
from soci_bootstrap.state.record import Binary, Outcome, Phase, Record
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import ABSENT, Entry


class Action(Enum):
    """A step that is no file: something that the running systemd is told, or that is tried."""

    RELOAD = "daemon-reload"
    SELF_TEST = "self-test"
    PREFLIGHT = "preflight"
    START_SOCKET = "socket-started"
    RESTART_SERVICE = "service-restarted"
    START_SERVICE = "service-started"


@dataclass(frozen=True)
class Observed:
    """An item's path as found: the entry, and a file's digest."""

    entry: Entry = ABSENT
    sha256: str = ""


@dataclass(frozen=True)
class Step:
    """One thing to do, or found done.

    Attributes:
        name: what it is about.
        path: the file, None for an action.
        changed: whether there is anything to do.
        item: what is wanted, None for an action.
        action: None for a file.
    """

    name: str
    path: str | None
    changed: bool
    item: Item | None = None
    action: Action | None = None


def steps_to_json(steps: Iterable[Step]) -> list[dict[str, object]]:
    """The contract's ``steps``: name, path where there is one, changed."""
    return [
        {"name": step.name, **({"path": step.path} if step.path else {}), "changed": step.changed}
        for step in steps
    ]


@dataclass(frozen=True)
class Plan:
    """Every step in order; converged where none is pending."""

    steps: tuple[Step, ...]
    desired: Desired

    @property
    def pending(self) -> tuple[Step, ...]:
        """The steps that have something to do."""
        return tuple(step for step in self.steps if step.changed)

    def changes(self, action: Action) -> bool:
        """Tell whether an action is pending."""
        return any(step.changed and step.action is action for step in self.steps)


def compare(
    desired: Desired,
    observed: Mapping[str, Observed],
    facts: Facts,
    record: Record | None,
    *,
    self_test: bool = False,
) -> Plan:
    """Compute the steps from what is there to what is wanted; actions follow from what they depend on.

    Args:
        desired: what is wanted.
        observed: what stands at its items' paths.
        facts: the node's.
        record: of the last run.
        self_test: the decompressor has to be tried.
    """
    steps = list(file_steps(desired.items, observed, record))
    if facts.live:
        steps += _actions(steps, facts, record, self_test=self_test)
    return Plan(tuple(steps), desired)


def file_steps(
    items: tuple[Item, ...], observed: Mapping[str, Observed], record: Record | None
) -> tuple[Step, ...]:
    """A step for each item: whether what stands at its path is it already."""
    return tuple(
        Step(item.name, item.path, _differs(item, observed[item.path], record), item) for item in items
    )


def observe(system: System, items: tuple[Item, ...], record: Record | None) -> dict[str, Observed]:
    """Observe the items' paths."""
    binary = record.binary if record else None
    return {item.path: _observe_one(system, item, binary) for item in items}


def _observe_one(system: System, item: Item, binary: Binary | None) -> Observed:
    entry = system.entry(item.path)
    size = -1
    # Another size needs no digest to be different.
    if isinstance(item, File):
        size = len(item.data)
    elif isinstance(item, Daemon) and binary is not None and not binary.is_at(entry):
        # The same bytes as another inode: an image that was copied file by file.
        size = binary.size
    return Observed(entry, system.sha256(item.path) if (entry.kind, entry.size) == ("file", size) else "")


def _differs(item: Item, found: Observed, record: Record | None) -> bool:
    entry = found.entry
    if isinstance(item, Restore):
        return True
    if isinstance(item, Absent):
        return entry.kind != "absent"
    if isinstance(item, Link):
        return (entry.kind, entry.target) != ("link", item.target)
    if isinstance(item, File):
        wanted = hashlib.sha256(item.data).hexdigest()
        same = (entry.kind, entry.mode, found.sha256) == ("file", item.mode, wanted)
        return not (same and _owned(entry))
    binary = record.binary if record else None
    return (
        binary is None
        or (binary.version, binary.arch) != (item.version, item.arch)
        or (item.sha256 is not None and binary.archive_sha256 != item.sha256)
        or entry.mode != 0o755
        or not _owned(entry)
        or not (binary.is_at(entry) or found.sha256 == binary.sha256 != "")
    )


def _owned(entry: Entry) -> bool:
    """Files are root's; without root (a scratch tree of one's own) they are whose they are."""
    import os

    return os.geteuid() != 0 or (entry.uid, entry.gid) == (0, 0)


def _actions(steps: list[Step], facts: Facts, record: Record | None, *, self_test: bool) -> list[Step]:
    """Compute what a running systemd has to be told, and what has to be proved."""
    units_changed = any(s.changed and s.path and s.path.startswith(paths.UNITS) for s in steps)
    stale = any(state.needs_reload for state in facts.units.values())
    phases = {s.item.phase for s in steps if s.changed and s.item}
    software, wired = bool(phases & {Phase.SOFTWARE, Phase.CONFIGURATION}), Phase.WIRING in phases
    proven = record is not None and record.outcome in {Outcome.INSTALLED, Outcome.STAGED}
    running, listening = _active(facts, paths.SOCI_SERVICE), _active(facts, paths.SOCI_SOCKET)
    # Containerd's start starts the daemon; where it runs with it already, nobody else would.
    wanted = _active(facts, paths.CONTAINERD_SERVICE) and record is not None and bool(record.wiring)
    wanted = wanted and record is not None and record.outcome is Outcome.INSTALLED
    daemon_changed = any(s.changed and s.item is not None and _restarts_daemon(s.item) for s in steps)
    due = {
        Action.RELOAD: units_changed or stale,
        Action.SELF_TEST: self_test,
        Action.PREFLIGHT: software or wired or not proven,
        Action.START_SOCKET: not listening,
        # systemd starts no socket whose service runs.
        Action.RESTART_SERVICE: running and (not listening or daemon_changed),
        Action.START_SERVICE: wanted and not running,
    }
    return [Step(action.value, None, changed, action=action) for action, changed in due.items()]


def _restarts_daemon(item: Item) -> bool:
    """The daemon has to start anew where its program, its configuration or its units change."""
    if isinstance(item, Daemon):
        return True
    units = f"{paths.UNITS}/soci-snapshotter."
    configs = (paths.SOCI_CONFIG, paths.SOCI_CONFIG_BESIDE_GATE)
    return isinstance(item, File) and (item.path in configs or item.path.startswith(units))


def _active(facts: Facts, unit: str) -> bool:
    state = facts.units.get(unit)
    return state is not None and state.active in {"active", "activating", "reloading"}


def leftovers(system: System, record: Record, wanted: Container[str]) -> tuple[Restore, ...]:
    """Find what an earlier run put and this one does not want, as far as it is still ours."""
    return tuple(
        Restore("left-over", path, Phase.WIRING)
        for path in record.managed
        if path not in wanted and path in record.before and _is_left(system, record, path)
    )


def drop_restored(system: System, record: Record, wanted: Container[str]) -> Record:
    """The record without what is not wanted any more and stands as it did before us."""
    done = {
        path
        for path in record.managed
        if path not in wanted and (path not in record.before or _is_done_with(system, record, path))
    }
    return replace(
        record,
        managed={path: managed for path, managed in record.managed.items() if path not in done},
        before={path: before for path, before in record.before.items() if path not in done},
        binary=None if record.binary and record.binary.path in done else record.binary,
    )


def _is_left(system: System, record: Record, path: str) -> bool:
    """Tell whether a path is ours, and was something else before."""
    ours = state_of(system, record, path) is PathState.INSTALLED
    return ours and not is_original(system, path, system.entry(path), record.before[path])


def _is_done_with(system: System, record: Record, path: str) -> bool:
    """Tell whether a path needs no restoring; one that is both ours and the original does not."""
    as_before = is_original(system, path, system.entry(path), record.before[path])
    return as_before or state_of(system, record, path) is PathState.REWRITTEN

"""`plan`: what `install` would do here, as steps and file diffs. Changes nothing, needs no rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from soci_bootstrap import facts
from soci_bootstrap.errors import BootstrapError, CommandError, RefusedError, StateError
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import decompressor, units
from soci_bootstrap.plan import steps as plan_
from soci_bootstrap.plan.decompressor import excluded
from soci_bootstrap.plan.desired import desired_state
from soci_bootstrap.plan.items import Absent, Daemon, File, Item, Link, Restore
from soci_bootstrap.plan.steps import Step, leftovers
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Record, load
from soci_bootstrap.system import System, resources, systemd
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.tree import ABSENT, Entry

PENDING = 3
_TEXT_MAX = 64 << 10
T = TypeVar("T")


@dataclass(frozen=True)
class PlanResult:
    """What `install` would do.

    Attributes:
        steps: all of them, pending or done.
        diffs: of each file that would change, by path.
        wiring: the one chosen, None where none fits.
        version: of SOCI.
        unseen: what could not be seen, a sentence each.
        reason: why install would fail open; the steps are then what it leaves behind.
    """

    steps: tuple[Step, ...]
    diffs: Mapping[str, str]
    wiring: str | None
    version: str
    unseen: tuple[str, ...]
    reason: str | None = None

    @property
    def pending(self) -> tuple[Step, ...]:
        """The steps that have something to do."""
        return tuple(step for step in self.steps if step.changed)

    @property
    def exit_status(self) -> int:
        """0 for nothing to do, 3 for changes pending."""
        return PENDING if self.pending or self.reason else 0

    @property
    def document(self) -> Mapping[str, object]:
        """For ``--json``: the steps as `install` reports them, each with its diff."""
        return {
            "pending": bool(self.exit_status),
            "reason": self.reason,
            "steps": [
                {
                    "name": step.name,
                    **({"path": step.path} if step.path else {}),
                    "changed": step.changed,
                    **({"diff": self.diffs[step.path]} if step.path and step.path in self.diffs else {}),
                }
                for step in self.steps
            ],
            "soci_version": self.version,
            "wiring": self.wiring,
            "unseen": list(self.unseen),
        }

    @property
    def text(self) -> str:
        """Steps, then diffs."""
        if not self.exit_status:
            return f"nothing to do: SOCI {self.version}, wiring {self.wiring}"
        pending = f"{len(self.pending)} of {len(self.steps)} steps pending"
        lines = [f"{pending} (SOCI {self.version}, wiring {self.wiring})"]
        if self.reason:
            lines = [f"{pending}, after which install would fail open: {self.reason}"]
        lines += [f"  {step.name}{f'  {step.path}' if step.path else ''}" for step in self.pending]
        lines += [f"  not seen: {what}" for what in self.unseen]
        lines += ["", *self.diffs.values()]
        return "\n".join(lines).rstrip()


class Visible(System):
    """The node as this user may see it: what is closed to it counts as not there, and is listed.

    Attributes:
        unseen: what is closed, a sentence each, by path.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.unseen: dict[str, str] = {}

    def entry(self, path: str) -> Entry:
        """What stands at ``path``."""
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


def run(settings: Settings, console: Console) -> PlanResult:
    """Plan as `install` would; a file that this user may not read counts as changed and is marked.

    Raises:
        BootstrapError: as `install` would meet it, where that leaves nothing behind.
    """
    system = Visible(settings.root)
    unseen = list(settings.unseen)
    record = _record(system, unseen)
    found = facts.observe(
        system,
        record,
        arch=settings.arch,
        vcpus=settings.vcpus,
        memory_gib=settings.memory_gib,
        units=_units(system, unseen),
    )
    # A checkout has no zipapp to leave behind; the rest of the plan is the same.
    agent = resources.agent_bytes() or b""
    version, wiring, reason = settings.soci_version or release.NEWEST, None, None
    try:
        desired = desired_state(settings, found, agent, record, excluded(record, settings))
        decompressor.look_at(desired.decompressor, system)
    except RefusedError:
        raise
    except BootstrapError as error:
        if not system.live or settings.strict:
            raise
        steps, reason = _steps(system, tuple(units.agent_items(agent)), record), str(error)
    else:
        if record is not None:
            old = leftovers(system, record, frozenset(item.path for item in desired.items))
            desired = replace(desired, items=(*desired.items, *old))
        steps = plan_.compare(desired, plan_.observe(system, desired.items, record), found, record).steps
        version, wiring = desired.version, desired.wiring.mode
        for warning in desired.wiring.warnings:
            console.warn(warning)
    diffs = dict(_diffs(system, tuple(step for step in steps if step.changed)))
    return PlanResult(steps, diffs, wiring, version, (*unseen, *system.unseen.values()), reason)


def _steps(system: System, items: tuple[Item, ...], record: Record | None) -> tuple[Step, ...]:
    return plan_.file_steps(items, plan_.observe(system, items, record), record)


def _units(system: System, unseen: list[str]) -> Mapping[str, systemd.UnitState]:
    try:
        return systemd.unit_states(system)
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

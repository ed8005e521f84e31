"""`plan`: what `install` would do here, as steps and file diffs. Changes nothing, needs no rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from soci_bootstrap import facts, resources
from soci_bootstrap import plan as plan_
from soci_bootstrap.console import Console
from soci_bootstrap.desired import desire, excluded
from soci_bootstrap.errors import StateError
from soci_bootstrap.items import Daemon, File, Gone, Link, Restored
from soci_bootstrap.ownership import leftovers
from soci_bootstrap.plan import Step
from soci_bootstrap.record import Record, load
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import System

PENDING = 3
_TEXT_MAX = 64 << 10


@dataclass(frozen=True)
class PlanResult:
    """The steps, a diff for each file that would change, and what could not be seen."""

    steps: tuple[Step, ...]
    diffs: Mapping[str, str]
    wiring: str
    version: str
    unseen: tuple[str, ...]

    @property
    def pending(self) -> tuple[Step, ...]:
        """The steps that have something to do."""
        return tuple(step for step in self.steps if step.changed)

    @property
    def exit_status(self) -> int:
        """0 for nothing to do, 3 for changes pending."""
        return PENDING if self.pending else 0

    @property
    def document(self) -> Mapping[str, object]:
        """For ``--json``: the steps as `install` reports them, each with its diff."""
        return {
            "pending": bool(self.pending),
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
        if not self.pending:
            return f"nothing to do: SOCI {self.version}, wiring {self.wiring}"
        pending = f"{len(self.pending)} of {len(self.steps)} steps pending"
        lines = [f"{pending} (SOCI {self.version}, wiring {self.wiring})"]
        lines += [f"  {step.name}{f'  {step.path}' if step.path else ''}" for step in self.pending]
        lines += [f"  not seen: {what}" for what in self.unseen]
        lines += ["", *self.diffs.values()]
        return "\n".join(lines).rstrip()


def run(settings: Settings, console: Console) -> PlanResult:
    """Plan as `install` would; a file that this user may not read counts as changed and is marked.

    Raises:
        BootstrapError: as `install` would meet it.
    """
    system = System(settings.root)
    unseen: list[str] = []
    record = _record(system, unseen)
    found = facts.observe(
        system, record, arch=settings.arch, vcpus=settings.vcpus, memory_gib=settings.memory_gib
    )
    # A checkout has no zipapp to leave behind; the rest of the plan is the same.
    agent = resources.agent_bytes() or b""
    desired = desire(settings, found, agent, record, excluded(record, settings))
    if record is not None:
        old = leftovers(system, record, frozenset(item.path for item in desired.items))
        desired = replace(desired, items=(*desired.items, *old))
    plan = plan_.compare(desired, plan_.observe(system, desired.items), found, record)
    diffs = dict(_diffs(system, plan.pending, unseen))
    for warning in desired.wiring.warnings:
        console.warn(warning)
    return PlanResult(plan.steps, diffs, desired.wiring.mode, desired.version, tuple(unseen))


def _record(system: System, unseen: list[str]) -> Record | None:
    try:
        return load(system)
    except StateError as error:
        unseen.append(str(error))
        return None


def _diffs(system: System, steps: tuple[Step, ...], unseen: list[str]) -> Iterator[tuple[str, str]]:
    for step in steps:
        item = step.item
        if item is None:
            continue
        entry = system.entry(item.path)
        if isinstance(item, Gone):
            yield item.path, f"--- {item.path}\n+++ /dev/null\n"
        elif isinstance(item, Restored):
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
            yield item.path, _file_diff(system, item, unseen)


def _file_diff(system: System, item: File, unseen: list[str]) -> str:
    try:
        before = system.read(item.path)
    except StateError as error:
        unseen.append(str(error))
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

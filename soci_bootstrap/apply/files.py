"""Carry out a plan's files, and take them back where the rest of the run fails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError, StateError
from soci_bootstrap.plan.items import Absent, Daemon, File, Item, Link, Restore, managed_of
from soci_bootstrap.plan.steps import Step, file_steps, observe
from soci_bootstrap.state.backups import back_up, forget_original, restore
from soci_bootstrap.state.ownership import PathState, state_of
from soci_bootstrap.state.record import Binary, Managed, Outcome, Record, save
from soci_bootstrap.system import System
from soci_bootstrap.system.signals import deferred
from soci_bootstrap.system.tree import Entry

if TYPE_CHECKING:
    from soci_bootstrap.fetch.binary import Fetched


@dataclass(frozen=True)
class _Earlier:
    """A path as it was before this run; ``kept`` is a second link to a file's inode."""

    path: str
    entry: Entry
    kept: str = ""


class FileChanges:
    """One run's changes of files, and their undoing.

    Args:
        system: the node.
        record: the last run's; grows as files are changed.
    """

    def __init__(self, system: System, record: Record) -> None:
        self.system = system
        self.record = record
        self._earlier: list[_Earlier] = []
        self._made: list[str] = []
        self._saved = 0
        self._saved_record = record

    def put_all(self, items: tuple[Item, ...]) -> tuple[Step, ...]:
        """Prepare and put those of some files that are not there yet; each file's step."""
        steps = file_steps(items, observe(self.system, items, self.record), self.record)
        self.prepare(steps)
        for step in steps:
            if step.changed:
                self.put(step)
        return steps

    def forget(self, files: Iterable[str | None]) -> None:
        """Leave out of the record what is not going to be changed after all."""
        gone = set(files)
        self.record = replace(
            self.record,
            managed={path: managed for path, managed in self.record.managed.items() if path not in gone},
            before={path: before for path, before in self.record.before.items() if path not in gone},
        )

    def savepoint(self) -> None:
        """Keep what was changed up to here, whatever becomes of the run; ``undo`` goes back to this."""
        self._saved, self._saved_record = len(self._earlier), self.record

    def changed(self, path: str | None) -> bool:
        """This run changed what stands at a path, and did not take it back."""
        return any(earlier.path == path for earlier in self._earlier)

    @deferred()
    def prepare(self, steps: Iterable[Step]) -> None:
        """Make the earlier state of every path durable, before the first of them changes.

        What stands there already as it is wanted is remembered too: it may be changed by others before
        a later run has anything to do with it.
        """
        wanted = [(step.item, step.changed) for step in steps if step.item]
        changing = [item for item, changed in wanted if changed]
        if not changing:
            return
        self._own_directories([os.path.dirname(item.path) for item in changing])
        if any(self.system.entry(item.path).kind == "file" for item in changing):
            # Before an original is copied: from here on, rollback knows what to look for.
            save(self.system, self.record)
        record = self.record
        for item, changed in wanted:
            if isinstance(item, Restore) or (not changed and item.path in record.managed):
                continue
            if changed and isinstance(item, File) and item.merged and self._rewritten(item.path):
                # nodeadm wrote it anew: what it wrote now is what rollback has to leave.
                record = forget_original(record, item.path)
            record = back_up(self.system, record, item.path)
            managed = _managed(item, record.managed.get(item.path))
            record = replace(record, managed={**record.managed, item.path: managed})
        self.record = record
        save(self.system, self.record)

    def back_up_foreign(self, files: Sequence[str]) -> None:
        """Keep the earlier state of files that nodeadm, told by us, is going to change."""
        for path in files:
            before = self.record.before.get(path)
            if before is not None and before.entry.kind == "absent":
                self.record = forget_original(self.record, path)
            if self.system.entry(path).kind == "file":
                self.record = back_up(self.system, self.record, path)

    def own_directory(self, directory: str) -> None:
        """Take a directory for ours to remove if it is not there yet: SOCI makes its root itself."""
        if self.system.entry(directory).kind == "absent" and directory not in self.record.directories:
            self.record = replace(self.record, directories=(*self.record.directories, directory))

    def _own_directories(self, directories: Sequence[str]) -> None:
        """Say in the record that a run is at work, and which directories it is going to make."""
        missing = list(self.record.directories)
        for directory in (os.path.dirname(paths.STATE), *directories):
            missing += [d for d in self._missing(directory) if d not in missing]
        self.record = replace(self.record, outcome=Outcome.AT_WORK, directories=tuple(missing))

    def _rewritten(self, path: str) -> bool:
        return path in self.record.before and state_of(self.system, self.record, path) is PathState.REWRITTEN

    @deferred()
    def put(self, step: Step) -> None:
        """Carry out one step of files; the daemon comes through ``adopt`` instead."""
        item = step.item
        if item is None or isinstance(item, Daemon):
            raise StateError(f"{step.name} is not a file to put", remedy="report this")
        self.save_original(item.path)
        if isinstance(item, File):
            self.system.write(item.path, item.data, item.mode)
        elif isinstance(item, Link):
            self.system.link(item.path, item.target)
        elif isinstance(item, Absent):
            self.system.remove(item.path)
        else:
            restore(self.system, self.record, item.path)

    @deferred()
    def adopt(self, item: Daemon, staged: str, fetched: Fetched) -> None:
        """Give the verified daemon its name, and record what it is."""
        self.save_original(item.path)
        self.system.adopt(staged, item.path)
        entry = self.system.entry(item.path)
        binary = Binary(
            item.path,
            item.version,
            item.arch,
            fetched.archive_sha256,
            fetched.binary_sha256,
            entry.size,
            entry.mtime_ns,
            entry.inode,
            entry.ctime_ns,
        )
        managed = Managed("file", 0o755, fetched.binary_sha256, phase=item.phase)
        self.record = replace(self.record, binary=binary, managed={**self.record.managed, item.path: managed})
        save(self.system, self.record)

    @deferred()
    def save_original(self, path: str) -> None:
        """Make the directory that a path needs, and keep what stands there for ``undo``."""
        self._made += self.system.mkdir(os.path.dirname(path))
        if any(earlier.path == path for earlier in self._earlier):
            return
        entry = self.system.entry(path)
        kept = ""
        if entry.kind == "file":
            kept = f"{self.system.staged_name(path)[:-4]}.kept.tmp"
            self.system.remove(kept)
            self.system.hardlink(path, kept)
        self._earlier.append(_Earlier(path, entry, kept))

    def undo(self, *, to_savepoint: bool) -> list[str]:
        """Put back what this run changed, last first.

        Args:
            to_savepoint: what was changed before ``savepoint`` stays.

        Returns:
            What could not be put back, a sentence each: undoing goes as far as it can.
        """
        failures: list[str] = []
        first = self._saved if to_savepoint else 0
        for earlier in reversed(self._earlier[first:]):
            try:
                self._restore(earlier)
            except BootstrapError as error:
                failures.append(str(error))
        del self._earlier[first:]
        # A directory with something in it stays.
        for directory in reversed(self._made):
            self.system.rmdir(directory)
        if to_savepoint and not failures:
            # What was found out stays true: the next boot, which asks nobody, goes by it.
            known = self.record
            self.record = replace(self._saved_record, registries=known.registries, prepulled=known.prepulled)
        return failures

    def commit(self) -> None:
        """Let go of what ``undo`` would have needed; what can't be removed now is swept later."""
        for earlier in self._earlier:
            with suppress(BootstrapError):
                self._forget(earlier)
        self._earlier, self._made, self._saved = [], [], 0

    def _missing(self, directory: str) -> list[str]:
        missing: list[str] = []
        while directory != "/" and self.system.entry(self.system.followed(directory)).kind == "absent":
            missing.insert(0, directory)
            directory = os.path.dirname(directory)
        return missing

    def _restore(self, earlier: _Earlier) -> None:
        if earlier.kept:
            self.system.rename(earlier.kept, earlier.path)
            # Where the change never came about both are one inode, and rename leaves it two names.
            self.system.remove(earlier.kept)
        elif earlier.entry.kind == "link":
            self.system.link(earlier.path, earlier.entry.target)
        else:
            self.system.remove(earlier.path)

    def _forget(self, earlier: _Earlier) -> None:
        if earlier.kept:
            self.system.remove(earlier.kept)


def _managed(item: Item, found: Managed | None) -> Managed:
    managed = managed_of(item)
    if found and isinstance(item, File):
        earlier = {found.sha256, found.unwired, *found.earlier} - {""}
        return replace(managed, earlier=tuple(sorted(earlier)))
    return managed

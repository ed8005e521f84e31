"""Originals of changed paths: back them up, restore them, remove what killed runs left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.errors import StateError
from soci_bootstrap.state.record import Before, Record, backup_name, save
from soci_bootstrap.system import System

_STAGED_ENDINGS = (".soci-bootstrap.tmp", ".soci-bootstrap.kept.tmp")
_HOOK_ENDINGS = (".hook.tmp",)


def back_up(system: System, record: Record, path: str) -> Record:
    """The record with ``path``'s present state as its earlier one, its bytes backed up.

    Nothing changes where the record knows an earlier state already: the first one counts.
    """
    if path in record.before:
        return record
    entry = system.entry(path)
    backup = ""
    if entry.kind == "file":
        backup = backup_name(path)
        system.mkdir(paths.STATE, 0o700)
        system.mkdir(paths.BACKUPS, 0o700)
        system.copy(path, backup, 0o600)
    elif entry.kind in {"dir", "other"}:
        raise StateError(
            f"{path} is in the way",
            found="a directory" if entry.kind == "dir" else "neither a file nor a link",
            expected="a file, a link or nothing",
            remedy="move it away; nothing of it was changed",
        )
    return replace(record, before={**record.before, path: Before(entry, backup)})


def forget_original(record: Record, path: str) -> Record:
    """The record without ``path``'s earlier state; its backup stays until another takes its name."""
    return replace(record, before={known: kept for known, kept in record.before.items() if known != path})


def remove_record(system: System, record: Record) -> None:
    """Remove the backups, then everything beside the record, the record last, and its directories.

    Raises:
        StateError: something can't be removed; the record is still there then.
    """
    if system.entry(paths.RECORD).kind == "absent":
        # A run that was refused, or failed, before it could write one.
        for directory in (paths.STATE, *reversed(record.directories)):
            if system.entry(directory).kind == "dir":
                system.rmdir(directory)
        return
    # Without its backups a record must not promise to bring anything back.
    save(system, replace(record, managed={}, before={}, binary=None))
    for directory in (paths.BACKUPS, paths.STATE):
        for name in system.listdir(directory):
            if f"{directory}/{name}" not in {paths.BACKUPS, paths.RECORD}:
                system.remove(f"{directory}/{name}")
    system.rmdir(paths.BACKUPS)
    system.remove(paths.RECORD)
    for directory in (paths.STATE, *reversed(record.directories)):
        system.rmdir(directory)


def restore(system: System, record: Record, path: str) -> None:
    """Put back what stood at ``path`` before us: bytes, mode, owner, time, attributes, link and label.

    Raises:
        StateError: it can't be written.
    """
    before = record.before[path]
    entry = before.entry
    if entry.kind == "absent":
        system.remove(path)
        return
    system.mkdir(path.rsplit("/", 1)[0])
    if entry.kind == "link":
        system.link(path, entry.target, entry.uid, entry.gid)
    else:
        system.copy(before.backup, path, entry.mode, entry.uid, entry.gid, entry.label, entry.mtime_ns)


def sweep(system: System, targets: Iterable[str], *, hooks: bool = False) -> None:
    """Remove what killed runs left half-written beside these targets.

    Args:
        system: the node.
        targets: what was to be written.
        hooks: what hooks left, too; they take no lock, and one may be at work.
    """
    endings = (*_STAGED_ENDINGS, *_HOOK_ENDINGS) if hooks else _STAGED_ENDINGS
    touched = dict(system.touched)
    for path in targets:
        directory, name = path.rsplit("/", 1)
        for found in system.listdir(directory):
            if found.startswith(f".{name}.") and found.endswith(endings):
                system.remove(f"{directory}/{found}")
    # Nothing is decided by what lies there: a file of someone else's that comes must not cost a plan.
    system.touched = touched

"""Drift of a managed path: as installed, original, or modified by others."""

from __future__ import annotations

from enum import Enum

from soci_bootstrap import paths
from soci_bootstrap.state.record import Before, Managed, Record
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import Entry


class PathState(Enum):
    """The state of a path that install changed."""

    ORIGINAL = "original"
    """As it was before the first install."""
    INSTALLED = "installed"
    """As we left it, failing open included."""
    REWRITTEN = "rewritten"
    """A file that we merged into, written anew by its owner and free of us."""
    MODIFIED = "modified"
    """Changed by someone else since."""


def state_of(system: System, record: Record, path: str) -> PathState:
    """The present state of a path of ``record.before``."""
    entry = system.entry(path)
    before = record.before[path]
    managed = record.managed.get(path)
    if managed is not None and _is_ours(system, record, path, entry, managed):
        # An install that found the very bytes it wanted still has nothing to put back.
        return PathState.INSTALLED
    if is_original(system, path, entry, before):
        return PathState.ORIGINAL
    if managed is not None and managed.merged and not mentions_us(system, record, path):
        return PathState.REWRITTEN
    return PathState.MODIFIED


def mentions_us(system: System, record: Record, path: str) -> bool:
    """Tell whether a file names SOCI's socket; one that does not is not wired to it."""
    address = str(record.wiring.get("address") or paths.SOCI_ADDRESS)
    return address.encode() in (system.read(path) or b"")


def is_original(system: System, path: str, entry: Entry, before: Before) -> bool:
    """Compare what stands at a path with its original, bytes included."""
    if not _same(entry, before.entry):
        return False
    same_size = entry.size == before.entry.size
    return entry.kind != "file" or (same_size and system.sha256(path) == system.sha256(before.backup))


def _is_ours(system: System, record: Record, path: str, entry: Entry, managed: Managed) -> bool:
    if managed.kind == "absent" and entry.kind == "file":
        return bool(managed.unwired) and system.sha256(path) == managed.unwired
    if managed.kind != entry.kind:
        return False
    if managed.kind == "absent":
        return True
    if managed.kind == "link":
        return entry.target == managed.target
    if not managed.sha256 or (record.binary and record.binary.path == path and record.binary.is_at(entry)):
        return True
    return system.sha256(path) in {managed.sha256, managed.unwired, *managed.earlier}


def _same(entry: Entry, before: Entry) -> bool:
    """Modes and owners; the bytes are the caller's to compare."""
    if entry.kind == "link":
        return (entry.kind, entry.target, entry.uid) == (before.kind, before.target, before.uid)
    return (entry.kind, entry.mode, entry.uid, entry.gid) == (
        before.kind,
        before.mode,
        before.uid,
        before.gid,
    )

"""Whose is what stands at a path: ours, what was there before us, or someone else's since."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from enum import Enum

from soci_bootstrap import paths
from soci_bootstrap.items import Phase, Restored
from soci_bootstrap.record import Before, Managed, Record
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import Entry

_STAGED_ENDINGS = (".soci-bootstrap.tmp", ".soci-bootstrap.kept.tmp")
_HOOK_ENDINGS = (".hook.tmp",)


class Standing(Enum):
    """What became of a path that install changed."""

    BEFORE = "before"
    """As it was before the first install."""
    OURS = "ours"
    """As we left it, failing open included."""
    REWRITTEN = "rewritten"
    """A file that we merged into, written anew by its owner and free of us."""
    FOREIGN = "foreign"
    """Changed by someone else since."""


def standing(system: System, record: Record, path: str) -> Standing:
    """Whose it is now; ``path`` is one of ``record.before``."""
    entry = system.entry(path)
    before = record.before[path]
    managed = record.managed.get(path)
    if managed is not None and _is_ours(system, record, path, entry, managed):
        # An install that found the very bytes it wanted still has nothing to put back.
        return Standing.OURS
    if _is_before(system, path, entry, before):
        return Standing.BEFORE
    if managed is not None and managed.merged and not mentions_us(system, record, path):
        return Standing.REWRITTEN
    return Standing.FOREIGN


def mentions_us(system: System, record: Record, path: str) -> bool:
    """Whether a file names SOCI's socket; one that does not is not wired to it."""
    address = str(record.wiring.get("address") or paths.SOCI_ADDRESS)
    return address.encode() in (system.read(path) or b"")


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


def leftovers(system: System, record: Record, wanted: Container[str]) -> tuple[Restored, ...]:
    """What an earlier run put there and this one does not want, as far as it is still ours."""
    return tuple(
        Restored("left-over", path, Phase.WIRING)
        for path in record.managed
        if path not in wanted and path in record.before and _is_left(system, record, path)
    )


def let_go(system: System, record: Record, wanted: Container[str]) -> Record:
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


def _is_left(system: System, record: Record, path: str) -> bool:
    """Whether it is ours, and something else stood there before."""
    ours = standing(system, record, path) is Standing.OURS
    return ours and not _is_before(system, path, system.entry(path), record.before[path])


def _is_done_with(system: System, record: Record, path: str) -> bool:
    """Whether it needs no putting back; what is both ours and as it was before does not."""
    as_before = _is_before(system, path, system.entry(path), record.before[path])
    return as_before or standing(system, record, path) is Standing.REWRITTEN


def _is_before(system: System, path: str, entry: Entry, before: Before) -> bool:
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

"""Originals of files that failing open changes, kept in state.json and put back."""

from __future__ import annotations

from dataclasses import replace

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.state import health
from soci_bootstrap.state.health import Unwired
from soci_bootstrap.system import System


def restorable(system: System) -> dict[str, bytes]:
    """Originals of the files that failing open changed and nobody since, by path."""
    found: dict[str, bytes] = {}
    for one in health.load(system).unwired:
        present = system.read(one.path)
        if present is not None and _digest(present) == one.sha256:
            found[one.path] = one.original.encode("utf-8", "surrogateescape")
    return found


def restore_unwired(system: System) -> list[str]:
    """Put back what failing open changed, and forget it: before wiring anew, and for rollback.

    Returns:
        What could not be put back, a sentence each.
    """
    known = health.load(system)
    if not known.unwired:
        return []
    failures: dict[str, str] = {}
    for path, data in restorable(system).items():
        try:
            write_over(system, path, data)
        except BootstrapError as error:
            failures[path] = str(error)
    health.save(system, replace(known, unwired=tuple(one for one in known.unwired if one.path in failures)))
    return list(failures.values())


def keep_originals(system: System, changes: list[tuple[str, bytes, bytes]]) -> None:
    """Record what stands in files that are about to be changed: (path, bytes before, bytes after)."""
    known = health.load(system)
    changed = {path for path, _, _ in changes}
    kept = [one for one in known.unwired if one.path not in changed]
    kept += [
        Unwired(path, before.decode("utf-8", "surrogateescape"), _digest(data))
        for path, before, data in changes
    ]
    health.save(system, replace(known, unwired=tuple(kept)))


def _digest(data: bytes) -> str:
    import hashlib  # only where a node fails open

    return hashlib.sha256(data).hexdigest()


def write_over(system: System, path: str, data: bytes) -> None:
    """Write a file of someone else's, keeping its mode, owner and label, and the link that leads to it."""
    target = system.followed(path)
    entry = system.entry(target)
    system.write(target, data, entry.mode, entry.uid, entry.gid, entry.label)

"""The record of changes and originals: the base of convergence and rollback.

``before`` is written ahead: a path's earlier state is durable before the path is first changed,
so a run killed at any instant can still be rolled back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, IntEnum
from typing import Any, TypeVar

from soci_bootstrap import paths
from soci_bootstrap.errors import StateError
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import Entry

SCHEMA = 1


class Outcome(str, Enum):
    """The outcome of a run; a record keeps that of the last one."""

    AT_WORK = ""
    """A run is at work, or was killed."""
    INSTALLED = "installed"
    CHANGED = "changed"
    """Installed before, and updated or repaired; recorded as installed."""
    UNCHANGED = "unchanged"
    STAGED = "staged"
    """Takes effect at the next boot."""
    BAKED = "baked"
    FAILED = "failed"
    """Taken back; whether the node failed open over it is told by ``state.health`` alone."""
    DEGRADED = "degraded"
    """Failed open; recorded as failed."""
    ROLLING_BACK = "rolling-back"
    """A rollback was killed: the next one goes on; boots leave the node alone."""


@dataclass(frozen=True)
class Before:
    """The original of a path, before the first change.

    Attributes:
        entry: what it was.
        backup: where its bytes are kept, empty where it had none.
    """

    entry: Entry
    backup: str = ""


@dataclass(frozen=True)
class Managed:
    """The content last put at a path: bytes by digest and mode, or a link's target.

    Attributes:
        sha256: empty for a daemon that was about to be put there.
        unwired: the digest after failing open, empty where that leaves the file alone.
        merged: the file is another's, into which we merged.
        phase: of change; rollback goes the other way.
        earlier: digests that the path may still have where a run was killed before changing it.
    """

    kind: str
    mode: int = 0
    sha256: str = ""
    target: str = ""
    unwired: str = ""
    merged: bool = False
    phase: int = 0
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Binary:
    """The installed daemon and where it came from; size, times and inode tell whether it is still it."""

    path: str
    version: str
    arch: str
    archive_sha256: str
    sha256: str
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0

    def is_at(self, entry: Entry) -> bool:
        """Tell whether a file is, by its identity, the one that was installed; if not, its bytes tell."""
        return (entry.kind, entry.size, entry.mtime_ns, entry.inode, entry.ctime_ns) == (
            "file",
            self.size,
            self.mtime_ns,
            self.inode,
            self.ctime_ns,
        )


@dataclass(frozen=True)
class Record:
    """Everything kept between runs.

    Attributes:
        outcome: of the last run.
        agent: the version that wrote this.
        boot_id: the boot in which it was written; empty in an image.
        settings: the lasting options of that run.
        binary: the daemon that we fetched, None where the node brought its own.
        managed: what we put where, by path.
        before: what stood there first, by path; one that is not in ``managed`` is nodeadm's to write.
        directories: directories that we made, SOCI's root among them, outermost first.
        units_active: which of the units were active before us, by name.
        wiring: what the hooks need to know, see ``wiring.Wiring.to_json``.
        prepulled: how many snapshots overlayfs held beyond the pause image's when we first looked.
        excluded: decompressors that failed their self-test or lost the comparison on this node.
        registries: those that had to be asked directly: empty where they answered, else why not.
        node_config: the user's NodeConfig as it was before nodeadm merged ours into the cache.
    """

    outcome: Outcome = Outcome.AT_WORK
    agent: str = ""
    boot_id: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    binary: Binary | None = None
    managed: Mapping[str, Managed] = field(default_factory=dict)
    before: Mapping[str, Before] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    units_active: Mapping[str, bool] = field(default_factory=dict)
    wiring: Mapping[str, Any] = field(default_factory=dict)
    registries: Mapping[str, str] = field(default_factory=dict)
    prepulled: int | None = None
    excluded: tuple[str, ...] = ()
    node_config: Mapping[str, Any] = field(default_factory=dict)


def load(system: System) -> Record | None:
    """The node's record, None where there is none.

    Raises:
        StateError: it can't be read as one, or a newer version wrote it.
    """
    data = system.read(paths.RECORD)
    if data is None:
        return None
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            raise _unreadable(f"schema {document['schema']}", f"schema {SCHEMA}")
        return _from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(f"{type(error).__name__}: {error}", "the JSON that install wrote") from error


def save(system: System, record: Record) -> None:
    """Write the record, durable when this returns; nothing to write where it says the same already."""
    data = (json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1, sort_keys=True) + "\n").encode()
    if system.read(paths.RECORD) != data:
        system.mkdir(paths.STATE, 0o700)
        system.write(paths.RECORD, data, 0o600)


def settled(record: Record) -> Record:
    """The record of a run that came to its end: no path can have an earlier run's bytes any more."""
    return replace(
        record, managed={path: replace(managed, earlier=()) for path, managed in record.managed.items()}
    )


def as_recorded(settings: Mapping[str, object]) -> object:
    """Settings the way they look once they were in a record."""
    return json.loads(json.dumps(settings))


def _from_json(document: dict[str, Any]) -> Record:
    binary = document["binary"]
    known = {key: document[key] for key in Record.__dataclass_fields__ if key in document}
    outcome = Outcome(document.get("outcome", ""))
    known.update(
        # Versions before 0.2 recorded here that the node failed open.
        outcome=Outcome.FAILED if outcome is Outcome.DEGRADED else outcome,
        binary=_typed(Binary(**binary)) if binary else None,
        managed={
            _path(path): _typed(Managed(**{**entry, "earlier": _tuple(entry.get("earlier", []))}))
            for path, entry in document["managed"].items()
        },
        before={_path(path): _before(path, entry) for path, entry in document["before"].items()},
        directories=tuple(_path(path) for path in _tuple(document["directories"])),
        excluded=_tuple(document.get("excluded", [])),
    )
    return _typed(Record(**known))


def _before(path: str, document: dict[str, Any]) -> Before:
    before = Before(_typed(Entry(**document["entry"])), document["backup"])
    if before.backup not in ("", backup_name(path)):
        raise ValueError(f"the backup of {path} is at {before.backup!r}")
    return before


def _path(path: str) -> str:
    """Check a path that rollback may write to: none but one that install could have written."""
    if not path.startswith("/") or os.path.normpath(path) != path or path == "/" or not path.isprintable():
        raise ValueError(f"{path!r} is no path of a node")
    return path


def _tuple(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r:.60} is no list")
    return tuple(values)


_KINDS: Mapping[str, type] = {
    "str": str,
    "int": int,
    "bool": bool,
    "None": type(None),
    "Any": object,
    **{made.__name__: made for made in (Binary, Before, Managed, Outcome)},
}
_Made = TypeVar("_Made", Binary, Managed, Record, Entry)


def _typed(made: _Made) -> _Made:
    """See that every value is of its field's type: a file can hold anything.

    Raises:
        TypeError: one is not.
    """
    for name, field_ in made.__dataclass_fields__.items():
        value, kind = getattr(made, name), str(field_.type)
        outer, _, inner = kind.rpartition("[")
        one_of = inner.rstrip("]").removesuffix(", ...").removeprefix("str, ")
        of = tuple(_KINDS[word] for word in one_of.split(" | "))
        if outer == "Mapping":
            good = isinstance(value, Mapping) and all(isinstance(one, of) for one in value.values())
        elif outer == "tuple":
            good = isinstance(value, tuple) and all(isinstance(one, of) for one in value)
        else:
            good = isinstance(value, of)
        if not good:
            raise TypeError(f"{name} is {value!r:.60}, no {kind}")
    return made


def _unreadable(found: str, expected: str) -> StateError:
    return StateError(
        f"{paths.RECORD} can't be used",
        found=found,
        expected=expected,
        remedy="use the version of soci-bootstrap that wrote it, or move it away and install anew",
    )


def backup_name(path: str) -> str:
    """Where a path's earlier bytes are kept: one flat directory, no name that any reader takes."""
    return f"{paths.BACKUPS}/{path.strip('/').replace('%', '%25').replace('/', '%2F')}.before"


class Phase(IntEnum):
    """The order of change. Wiring comes last: everything before it leaves a node that joins."""

    AGENT = 0
    """The agent, its boot-time unit: what a failed install leaves behind, for the next try."""
    SOFTWARE = 1
    CONFIGURATION = 2
    WIRING = 3

"""Items of the desired state: the vocabulary between ``wiring``, ``units``, ``steps`` and ``apply``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Union

from soci_bootstrap.state.record import Managed, Phase


@dataclass(frozen=True)
class File:
    """A file of ours, or one that we merge into.

    Attributes:
        unwired: what failing open makes of it, empty where it leaves it alone.
        merged: it is another's, whose own values we keep.
    """

    name: str
    path: str
    data: bytes
    phase: Phase
    mode: int = 0o644
    unwired: bytes = b""
    merged: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link of ours."""

    name: str
    path: str
    target: str
    phase: Phase


@dataclass(frozen=True)
class Absent:
    """A file that must not be there; rollback brings it back.

    Attributes:
        unwired: what failing open puts there, empty where it puts nothing.
    """

    name: str
    path: str
    phase: Phase
    unwired: bytes = b""


@dataclass(frozen=True)
class Daemon:
    """The snapshotter's program, to be fetched.

    Attributes:
        version: of the release.
        arch: the release's own name for the architecture.
        sha256: the archive's expected digest, None where only upstream can tell.
    """

    name: str
    path: str
    version: str
    arch: str
    sha256: str | None
    phase: Phase = Phase.SOFTWARE


@dataclass(frozen=True)
class Restore:
    """Something of ours that is not wanted any more: what stood there before comes back."""

    name: str
    path: str
    phase: Phase


Item = Union[File, Link, Absent, Daemon, Restore]


def managed_of(item: Item) -> Managed:
    """Compute the record's entry for an item; a daemon's digest is known once it is fetched."""
    if isinstance(item, File):
        return Managed(
            "file",
            item.mode,
            digest(item.data),
            unwired=digest(item.unwired) if item.unwired else "",
            merged=item.merged,
            phase=item.phase,
        )
    if isinstance(item, Link):
        return Managed("link", target=item.target, phase=item.phase)
    if isinstance(item, Absent):
        return Managed("absent", unwired=digest(item.unwired) if item.unwired else "", phase=item.phase)
    return Managed("file", phase=item.phase)


def digest(data: bytes) -> str:
    """The sha256 of a file's bytes, as the record keeps it."""
    return hashlib.sha256(data).hexdigest()

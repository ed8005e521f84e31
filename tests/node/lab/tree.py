"""What a node's file systems hold, to compare before with after."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Entry:
    """One path. ``content`` is a file's sha256, a link's target, a device's number."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...] = ()
    mtime_ns: int = dataclasses.field(default=0, compare=False)


Tree = dict[str, Entry]


def changes(upper: Path, layers: Sequence[Path], var_lib: Path) -> Tree:
    """What the node's disk holds beyond, or other than, its layers; all of /var/lib."""
    found: Tree = {}
    for path, place in _walk(upper, Path("/")):
        entry = _entry(place)
        if not _same_below(entry, path, layers):
            found[path] = entry
    for path, place in _walk(var_lib, Path("/var/lib")):
        found[path] = _entry(place)
    return found


def differences(before: Tree, after: Tree, *, ignore: Sequence[str] = (), mtimes: bool = False) -> list[str]:
    """One line a difference, sorted by path.

    Args:
        before: as ``Node.snapshot_tree`` gave it.
        after: the same, later.
        ignore: shell patterns of paths (``*`` crosses ``/``) that may differ.
        mtimes: whether a file written again with the same bytes is a difference.
    """
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if any(fnmatch.fnmatch(path, pattern) for pattern in ignore):
            continue
        old, new = before.get(path), after.get(path)
        if old is None:
            lines.append(f"+ {path} {new}")
        elif new is None:
            lines.append(f"- {path} {old}")
        elif old != new:
            lines.append(f"! {path} {old} -> {new}")
        elif mtimes and old.kind == "file" and old.mtime_ns != new.mtime_ns:
            lines.append(f"t {path} written again")
    return lines


def _walk(top: Path, name: Path) -> Iterator[tuple[str, Path]]:
    for place, directories, files in os.walk(top):
        for leaf in (*directories, *files):
            path = Path(place, leaf)
            yield str(name / path.relative_to(top)), path


def _entry(place: Path) -> Entry:
    info = place.lstat()
    kind, content = "other", ""
    if stat.S_ISLNK(info.st_mode):
        kind, content = "link", os.readlink(place)
    elif stat.S_ISDIR(info.st_mode):
        kind = "dir"
    elif stat.S_ISREG(info.st_mode):
        kind, content = "file", _sha256(place)
    elif stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
        kind = "deleted"  # overlayfs's mark over a layer's file
    return Entry(
        kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, content, _xattrs(place), info.st_mtime_ns
    )


def _xattrs(place: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(place, follow_symlinks=False))
    return tuple(
        (name, os.getxattr(place, name, follow_symlinks=False))
        for name in names
        if not name.startswith("trusted.overlay.") or name == "trusted.overlay.opaque"
    )


def _same_below(entry: Entry, path: str, layers: Sequence[Path]) -> bool:
    """overlayfs copies a file up when it is opened for writing, changed or not."""
    for layer in layers:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return _entry(layer / path[1:]) == entry
    return False


def _sha256(place: Path) -> str:
    digest = hashlib.sha256()
    with open(place, "rb") as source:
        for block in iter(lambda: source.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()

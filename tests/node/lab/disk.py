"""A node's disk: an overlay's upper directory over shared layers, and what can't lie on an overlay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.node.lab import rootfs, tree

_USR_MERGED = ("bin", "sbin", "lib", "lib64")


class Disk:
    """Files of a node that is off; paths are the node's own.

    Args:
        directory: where it all lies on this machine.
        layers: the overlay's lower ones, uppermost first.
    """

    def __init__(self, directory: Path, layers: Sequence[Path]) -> None:
        self.layers = tuple(layers)
        self.upper, self.work, self.merged = (directory / name for name in ("upper", "work", "merged"))
        self.var_lib, self.array = directory / "varlib", directory / "array"
        for place in (self.upper, self.work, self.merged, self.var_lib, self.array):
            place.mkdir()
        for layer in reversed(self.layers):
            if (layer / "var/lib").is_dir():
                rootfs.copy_tree(layer / "var/lib", self.var_lib)

    def path(self, path: str) -> Path:
        """Where this machine has the node's file, if the node or a test has written it."""
        parts = Path(path).relative_to("/").parts
        if parts[:2] == ("var", "lib"):
            return self.var_lib.joinpath(*parts[2:])
        if parts[0] in _USR_MERGED:  # a directory here would hide the link
            parts = ("usr", *parts)
        return self.upper.joinpath(*parts)

    def find(self, path: str) -> Path:
        """Where this machine has the node's file, on whichever layer; ``path()`` if it is on none."""
        mine = self.path(path)
        return mine if os.path.lexists(mine) else self._below(mine)

    def make_parents(self, place: Path) -> None:
        """Make the directories above one of ``path``'s results, with the modes they have below."""
        for parent in reversed(place.parents):
            if not parent.exists():
                parent.mkdir()
                below = self._below(parent)
                if below.is_dir():
                    shutil.copystat(below, parent)

    def changes(self) -> tree.Tree:
        """What differs from the layers, and all of /var/lib."""
        return tree.changes(self.upper, self.layers, self.var_lib)

    def _below(self, mine: Path) -> Path:
        if mine.is_relative_to(self.upper):
            for layer in self.layers:
                place = layer / mine.relative_to(self.upper)
                if os.path.lexists(place):
                    return place
        return mine

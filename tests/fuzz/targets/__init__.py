"""One module for each family of parsers: ``one(data)`` and ``SEEDS``.

``one`` raises ``BootstrapError`` for what is refused, ``Changed`` for a node that a reader changed,
and anything else for a bug, broken invariants included.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol, cast


class Target(Protocol):
    """What each of these modules is."""

    SEEDS: Sequence[bytes]

    @staticmethod
    def one(data: bytes) -> None: ...


class ChangedError(Exception):
    """A command that only reads, or one that refused, left the node otherwise than it was."""


NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def target(name: str) -> Target:
    """The target of that name."""
    return cast("Target", importlib.import_module(f"{__name__}.{name}"))


def text(data: bytes) -> str:
    """As node files are read where they need not be UTF-8."""
    return data.decode("utf-8", "replace")

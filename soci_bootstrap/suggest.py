"""Suggest the nearest known name for a misspelled one."""

from __future__ import annotations

from collections.abc import Sequence


def closest(name: str, known: Sequence[str]) -> str:
    """Find the known name nearest to ``name``; empty where none is near.

    Case does not count, nor ``_`` for ``-``.
    """
    from difflib import get_close_matches

    folded = {_folded(one): one for one in known}
    return next((folded[match] for match in get_close_matches(_folded(name), folded, n=1)), "")


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def hint(name: str, known: Sequence[str]) -> str:
    """Return ``; did you mean X?``, or an empty string."""
    meant = closest(name, known)
    return f"; did you mean {meant}?" if meant else ""


def hint_or_all(name: str, known: Sequence[str]) -> str:
    """Return ``; did you mean X?``, or all of ``known``."""
    return hint(name, known) or f"; known: {', '.join(known)}"

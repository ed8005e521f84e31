"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Sequence


def closest(name: str, known: Sequence[str]) -> str:
    """The one of ``known`` that ``name`` is a near miss of, empty for none."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1)), "")


def hint(name: str, known: Sequence[str]) -> str:
    """``; did you mean X?``, or nothing."""
    meant = closest(name, known)
    return f"; did you mean {meant}?" if meant else ""


def hint_or_all(name: str, known: Sequence[str]) -> str:
    """``; did you mean X?``, or all of ``known``."""
    return hint(name, known) or f"; known: {', '.join(known)}"

"""The findings for people, in 80 columns: what is not well with its remedy, and the verdict last."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from soci_bootstrap.doctor.finding import Check, Status

WIDTH = 80
_ORDER = (Status.FAIL, Status.WARN, Status.OK, Status.SKIP)
_UNWELL = (Status.FAIL, Status.WARN)
_COLOUR = {Status.FAIL: "31", Status.WARN: "33", Status.OK: "32", Status.SKIP: "90"}
_VERDICTS = {
    "healthy": "this node pulls with SOCI",
    "broken": "SOCI does not work on this node",
    "degraded": "this node works, but not as it should",
    "pending": "changes wait to take effect",
    "absent": "SOCI was never installed on this node",
    "unknown": "this user can't see enough to tell",
}
_VERDICT_COLOUR = {"healthy": "32", "broken": "31"}
_INDENT = " " * 6


def render(verdict: str, checks: Sequence[Check], *, colour: bool, everything: bool) -> str:
    """Render the table.

    Args:
        verdict: in one word.
        checks: in the order of causes, which is kept among those of one status.
        colour: with ANSI escapes.
        everything: with the checks that are well, too.
    """
    lines: list[str] = []
    for status in _ORDER if everything else _UNWELL:
        for check in checks:
            if check.status is status:
                lines += _lines(check, colour)
    counts = [f"{sum(c.status is s for c in checks)} {s.value}" for s in _ORDER]
    lines += ["", f"{len(checks)} checks: {', '.join(counts)}{'' if everything else ' (-v lists all)'}"]
    return "\n".join([*lines, *_last(verdict, checks, colour)]).lstrip("\n") + "\n"


def _last(verdict: str, checks: Sequence[Check], colour: bool) -> list[str]:
    """The verdict, with the first thing that is not well."""
    first = next((check for status in _UNWELL for check in checks if check.status is status), None)
    cause = f" ({first.id}: {first.found})" if first and verdict != "absent" else ""
    lines = _wrapped(f"{verdict}: {_VERDICTS[verdict]}{cause}")
    lines[0] = lines[0].replace(verdict, _painted(verdict, _VERDICT_COLOUR.get(verdict, "33"), colour), 1)
    return lines


def _lines(check: Check, colour: bool) -> list[str]:
    word = check.status.value
    word = f"{word.upper() if check.status in _UNWELL else word:<4}"
    lines = _wrapped(f"{check.id}: {check.found}", f"{word}  ")
    lines[0] = lines[0].replace(word, _painted(word, _COLOUR[check.status], colour), 1)
    if check.hint:
        lines += _wrapped(f"expected: {check.expected}", _INDENT, f"{_INDENT}  ")
        lines += _wrapped(f"remedy: {check.hint}", _INDENT, f"{_INDENT}  ")
    return lines


def _wrapped(text: str, first: str = "", rest: str = _INDENT) -> list[str]:
    """In lines, and nothing in them that a terminal would obey: it may come from a hostile file."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.wrap(
        " ".join(plain.split()), WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text

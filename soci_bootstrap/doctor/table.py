"""The findings for people: what is wrong first, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

from soci_bootstrap.doctor.finding import Check, Status

_ORDER = (Status.FAIL, Status.WARN, Status.OK, Status.SKIP)
_COLOUR = {Status.FAIL: "31", Status.WARN: "33", Status.OK: "32", Status.SKIP: "90"}
_VERDICTS = {
    "healthy": "this node pulls with SOCI",
    "broken": "SOCI does not work on this node",
    "degraded": "this node works, but not as it should",
    "pending": "changes wait to take effect",
}
_VERDICT_COLOUR = {"healthy": "32", "broken": "31", "degraded": "33", "pending": "33"}
_STATUS_WIDTH = 4


def render(verdict: str, checks: Sequence[Check], *, colour: bool) -> str:
    """The table.

    Args:
        verdict: in one word.
        checks: in the order of causes, which is kept among those of one status.
        colour: with ANSI escapes.
    """
    width = max((len(check.id) for check in checks), default=0)
    lines = [_painted(f"{verdict}: {_VERDICTS[verdict]}", _VERDICT_COLOUR[verdict], colour)]
    first = next((check for status in _ORDER[:2] for check in checks if check.status is status), None)
    if first is not None:
        lines[0] += f" ({first.id}: {_line(first.found)})"
    lines.append("")
    for status in _ORDER:
        for check in checks:
            if check.status is status:
                lines += _lines(check, width, colour)
    counts = [f"{sum(c.status is s for c in checks)} {s.value}" for s in _ORDER]
    return "\n".join([*lines, "", f"{len(checks)} checks: {', '.join(counts)}"]) + "\n"


def _lines(check: Check, width: int, colour: bool) -> list[str]:
    word = check.status.value
    word = word.upper() if check.status in (Status.FAIL, Status.WARN) else word
    start = _painted(f"{word:<{_STATUS_WIDTH}}", _COLOUR[check.status], colour)
    lines = [f"{start}  {check.id:<{width}}  {_line(check.found)}"]
    if check.hint:
        indent = " " * (_STATUS_WIDTH + width + 4)
        lines += [f"{indent}expected: {_line(check.expected)}", f"{indent}remedy: {_line(check.hint)}"]
    return lines


def _line(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey: it may come from a hostile file."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text

"""What is measured, and how it is told: a figure is a median, with the middle half of its rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One run of one command: wall clock and CPU (user and system) in seconds, peak RSS in bytes."""

    seconds: float
    cpu: float
    rss: int


Rounds = Sequence[dict[str, Sample]]
"""In each round every command ran once, in turns."""


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        part: of the benchmark.
        name: what was measured, against what.
        unit: ``x`` for a ratio, ``s``, ``ms``, ``MiB``, ``KiB``.
        value: the median.
        low: the lower quartile of the rounds, like ``high`` the value itself where there is but one.
        target: the most that design allows, None where it says nothing.
        rounds: how many.
    """

    part: str
    name: str
    unit: str
    value: float
    low: float
    high: float
    target: float | None = None
    rounds: int = 1

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.value <= self.target


def figure(part: str, name: str, unit: str, values: Iterable[float], target: float | None = None) -> Figure:
    """The median of some values."""
    found = list(values)
    low, _, high = statistics.quantiles(found, n=4) if len(found) > 2 else (min(found), 0.0, max(found))
    return Figure(part, name, unit, statistics.median(found), low, high, target, len(found))


def ratio(
    part: str,
    name: str,
    rounds: Rounds,
    ours: str,
    theirs: str,
    target: float | None = None,
    *,
    cpu: bool = False,
) -> Figure:
    """The median of each round's own ratio: what slows the machine down slows both of a pair."""
    pairs = [(entry[ours], entry[theirs]) for entry in rounds]
    values = [a.cpu / b.cpu if cpu else a.seconds / b.seconds for a, b in pairs]
    return figure(part, name, "x", values, target)


def milliseconds(
    part: str, name: str, rounds: Rounds, case: str, target: float | None = None, *, cpu: bool = False
) -> Figure:
    """How long one command took."""
    taken = [entry[case].cpu if cpu else entry[case].seconds for entry in rounds]
    return figure(part, name, "ms", [1000 * seconds for seconds in taken], target)


def shown(figure: Figure, value: float) -> str:
    """A value with its unit, to three digits or so."""
    digits = 2 if figure.unit == "x" else 0 if abs(value) >= 100 else 1
    return f"{value:.{digits}f}{'' if figure.unit == 'x' else ' '}{figure.unit}"


def table(figures: Sequence[Figure]) -> str:
    """Markdown that reads as plain text too."""
    rows = [("part", "what", "median", "middle half", "rounds", "allowed", "")]
    rows.append(("---", "---", "---:", "---", "---:", "---:", "---"))
    for entry in figures:
        spread = f"{shown(entry, entry.low)} to {shown(entry, entry.high)}" if entry.rounds > 1 else ""
        target = "" if entry.target is None else shown(entry, entry.target)
        verdict = {None: "", True: "met", False: "NOT MET"}[entry.met]
        rows.append(
            (entry.part, entry.name, shown(entry, entry.value), spread, str(entry.rounds), target, verdict)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        fill = "-" if row[0] == "---" else " "
        cells = [
            text.rjust(width, fill) if column in (2, 4, 5) else text.ljust(width, fill)
            for column, (text, width) in enumerate(zip(row, widths))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

"""Build the real programs: ``python -m tests.node.real [--relock] [SET[/PROGRAM]]...``, all by default.

SET is a folder's name beside this file, or its beginning. What is built already is left as it is.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.node.real import build
from tests.node.real.sets import SETS, ProgramSet
from tests.node.real.toolchain import BuildError

_EVERY_SECONDS = 20.0
"""Between two lines of progress where there is no terminal to write over."""


class _Terminal:
    """Progress on stderr: one line that is written over, or a line now and then into a log."""

    def __init__(self) -> None:
        self._wide = sys.stderr.isatty()
        self._last = time.monotonic()

    def say(self, text: str, lasting: bool) -> None:
        if self._wide:
            sys.stderr.write(f"\r\033[Kreal: {text}" + ("\n" if lasting else ""))
        elif lasting or time.monotonic() - self._last > _EVERY_SECONDS:
            sys.stderr.write(f"real: {text}\n")
            self._last = time.monotonic()
        sys.stderr.flush()


def _chosen(names: list[str]) -> dict[ProgramSet, set[str]]:
    """The sets that are meant, with the programs that are meant of each; none for all."""
    chosen: dict[ProgramSet, set[str]] = {}
    for name in names or SETS:
        beginning, _, program = name.partition("/")
        found = [each for known, each in SETS.items() if known.startswith(beginning)]
        if not found or any(program and program not in each.programs for each in found):
            known = [f"{each.name} ({', '.join(each.programs)})" for each in SETS.values()]
            raise BuildError(f"{name} is not known; known are {'; '.join(known)}")
        for each in found:
            chosen.setdefault(each, set()).update([program] if program else each.programs)
    return chosen


def main() -> int:
    """Build, or say why not."""
    parser = argparse.ArgumentParser(prog="python -m tests.node.real", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET[/PROGRAM]")
    parser.add_argument("--relock", action="store_true", help="complete go.mod and go.sum; builds nothing")
    options = parser.parse_args()
    say = _Terminal().say
    try:
        chosen = _chosen(options.sets)
        if options.relock:
            for each in chosen:
                build.relock(each, say)
            return 0
        todo = [each for each, programs in chosen.items() if each.missing(programs)]
        if todo:
            minutes = sum(each.minutes for each in todo)
            say(f"{len(todo)} of {len(chosen)} sets to build, up to {minutes} minutes on two cores", True)
        for each, programs in chosen.items():
            sys.stdout.write(f"{build.ensure(each, say, programs)}\n")
    except BuildError as error:
        sys.stderr.write(f"\nreal: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

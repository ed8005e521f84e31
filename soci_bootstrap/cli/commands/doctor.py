"""`doctor`: is this node really pulling with SOCI, and if not, why."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from soci_bootstrap.doctor.finding import EXIT_STATUS, Check, verdict
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console


@dataclass(frozen=True)
class Result:
    """What `doctor` found.

    Attributes:
        verdict: ``healthy``, ``broken``, ``degraded`` or ``pending``.
        checks: all of them, in the order of causes.
        text: the table.
    """

    verdict: str
    checks: tuple[Check, ...]
    text: str

    @property
    def exit_status(self) -> int:
        """0 healthy, 1 broken, 2 degraded or pending."""
        return EXIT_STATUS[self.verdict]

    @property
    def document(self) -> Mapping[str, object]:
        """The contract's object."""
        return {"verdict": self.verdict, "checks": [check.to_json() for check in self.checks]}


def run(settings: Settings, console: Console) -> Result:
    """Look at the node, judge it, and write the bundle where one is asked for.

    Raises:
        RefusedError: the bundle's file can't be created; nothing was looked at.
    """
    from soci_bootstrap.doctor import table
    from soci_bootstrap.doctor.observe.observe import observe
    from soci_bootstrap.doctor.rules import judge
    from soci_bootstrap.system import System

    file = _bundle_file(settings)
    system = System(settings.root)
    node = observe(system)
    checks = judge(node)
    word = verdict(checks)
    result = Result(word, checks, table.render(word, checks, colour=_colour()))
    if file is not None:
        _write_bundle(file, settings, console, system, node, result)
    return result


def _bundle_file(settings: Settings) -> IO[bytes] | None:
    if settings.bundle is None:
        return None
    from soci_bootstrap.doctor import bundle

    return bundle.create(settings.bundle)


def _write_bundle(
    file: IO[bytes], settings: Settings, console: Console, system: System, node: Node, result: Result
) -> None:
    from soci_bootstrap.doctor import bundle, table

    plain = table.render(result.verdict, result.checks, colour=False)
    try:
        with file:
            bundle.write(file, bundle.members(system, node, result.document, plain))
    except OSError as error:
        os.unlink(str(settings.bundle))
        console.error(f"the bundle {settings.bundle} could not be written: {error.strerror or error}")
        return
    console.info(f"wrote {settings.bundle}, secrets taken out; look through it before you send it")


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

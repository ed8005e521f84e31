"""`doctor`: is this node really pulling with SOCI, and if not, why."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

from soci_bootstrap.cli.result import Result
from soci_bootstrap.doctor import bundle, table
from soci_bootstrap.doctor.finding import EXIT_STATUS
from soci_bootstrap.doctor.report import Report, examine
from soci_bootstrap.system import System

if TYPE_CHECKING:
    from soci_bootstrap.settings import Settings
    from soci_bootstrap.system.console import Console


def run(settings: Settings, console: Console) -> Result:
    """Look at the node, judge it, and write the bundle where one is asked for.

    Raises:
        UsageError: the bundle's file can't be created; nothing was looked at.
    """
    system = System(settings.root)
    if settings.bundle is None:
        report = examine(system, settings.wait)
    else:
        report = _bundled(bundle.create(settings.bundle), settings, console, system)
    text = table.render(report.verdict, report.checks, colour=_colour(), everything=settings.verbosity > 0)
    return Result(EXIT_STATUS[report.verdict], report.document, text)


def _bundled(file: IO[bytes], settings: Settings, console: Console, system: System) -> Report:
    """Examine, and fill the bundle; where that comes to nothing, no file of ours is left."""
    path = str(settings.bundle)
    try:
        report = examine(system, settings.wait)
        plain = table.render(report.verdict, report.checks, colour=False, everything=True)
        with file:
            bundle.write(file, bundle.members(system, report.node, report.document, plain))
    except OSError as error:
        os.unlink(path)
        console.error(f"the bundle {path} could not be written: {error.strerror or error}")
    except BaseException:
        os.unlink(path)
        raise
    else:
        console.info(f"wrote {path}, secrets taken out; look through it before you send it")
    return report


def _colour() -> bool:
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

"""The command line: dispatch, help, completion, exit status; commands/ has one file for each command."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from soci_bootstrap.errors import BootstrapError, RefusedError, StoppedError

if TYPE_CHECKING:
    from soci_bootstrap.cli.result import Result
    from soci_bootstrap.settings import Settings
    from soci_bootstrap.settings.commandline import CommandLine
    from soci_bootstrap.system.console import Console

DONE, FAILED, DEGRADED, UNKNOWN = 0, 1, 2, 4

_MODULES = {"bake": "install"}
"""Commands that live in a module of another name."""


def entry() -> None:
    """The console script and the zipapp."""
    import os

    sys.exit(main(sys.argv[1:], os.environ))


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command.

    Args:
        argv: without the program's name.
        environ: the environment.

    Returns:
        The exit status.
    """
    if argv and argv[0] == "hook":
        # containerd's start waits for these: no settings, nothing third-party.
        from soci_bootstrap import hooks

        return hooks.main(argv[1:])
    started = time.monotonic()
    from soci_bootstrap.settings import commandline
    from soci_bootstrap.system.console import Console

    line = commandline.parse(argv)
    told = _told(line)
    if told is not None:
        return _print(told, DONE)
    console = Console()
    settings: Settings | None = None
    try:
        from soci_bootstrap.system import signals

        signals.handle()
        settings = _load(argv, environ)
        console = Console(settings.verbosity)
        for what in settings.unseen:
            console.warn(what)
        result = _run(settings, console)
    except KeyboardInterrupt:
        return _failed(StoppedError(), line, settings, environ, console, started)
    except BootstrapError as error:
        return _failed(error, line, settings, environ, console, started)
    except Exception as error:  # noqa: BLE001 - whatever happens, a node must join and say why
        _traceback(line)
        bug = BootstrapError(
            f"unexpected {type(error).__name__}: {error}",
            remedy="run it again with -v and report this as a bug",
        )
        return _failed(bug, line, settings, environ, console, started)
    return _finished(result, settings, console)


def _told(line: CommandLine) -> str | None:
    """Return what needs no settings: help, version, completion, the manual; None for all else."""
    if line.help:
        from soci_bootstrap.cli import helptext

        return helptext.command_help(line.command) if line.command else helptext.overview()
    if line.version:
        from soci_bootstrap.system.resources import version

        return f"soci-bootstrap {version()}\n"
    if line.problems:
        return None
    if line.command == "completion":
        from soci_bootstrap.cli import completion

        return completion.script(line.operand or "")
    if line.command == "man":
        from soci_bootstrap.cli import helptext
        from soci_bootstrap.system.resources import version

        return helptext.page(version())
    return None


def _load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    from soci_bootstrap.settings import load
    from soci_bootstrap.system.tree import read_regular

    return load(argv, environ, read_regular)


def _run(settings: Settings, console: Console) -> Result:
    import importlib

    module = _MODULES.get(settings.command, settings.command)
    run = importlib.import_module(f"soci_bootstrap.cli.commands.{module}").run
    result: Result = run(settings, console)
    return result


def _finished(result: Result, settings: Settings, console: Console) -> int:
    status = _print(_json(result.document) if settings.json else result.text, result.exit_status)
    reason = result.document.get("reason")
    if status and reason:
        console.error(str(reason))
    return status


def _failed(
    error: BootstrapError,
    line: CommandLine,
    settings: Settings | None,
    environ: Mapping[str, str],
    console: Console,
    started: float,
) -> int:
    status = exit_status(error, settings)
    if settings.json if settings else line.json or _truthy(environ.get("SOCI_BOOTSTRAP_JSON", "")):
        _print(_json(_failure(error, line.command, settings, status, time.monotonic() - started)), status)
    console.error(str(error))
    return status


def exit_status(error: BootstrapError, settings: Settings | None) -> int:
    """The contract's status for a failure: 2 only where a node fell back to overlayfs, 4 for `doctor`."""
    if settings is None or isinstance(error, RefusedError):
        return FAILED
    if settings.command == "doctor":
        return UNKNOWN
    fails_open = settings.command == "install" and settings.live and not settings.strict
    return DEGRADED if fails_open else FAILED


def _failure(
    error: BootstrapError, command: str, settings: Settings | None, status: int, seconds: float
) -> dict[str, object]:
    """The JSON object of a command that did not get as far as a result."""
    if command == "doctor" and status == UNKNOWN:
        from soci_bootstrap.doctor.rules import unlooked

        checks = [check.to_json() for check in unlooked(error.problem)]
        return {"verdict": "unknown", "reason": str(error), "checks": checks}
    document: dict[str, object] = {
        "outcome": "degraded" if status == DEGRADED else "failed",
        "reason": str(error),
    }
    if command in ("install", "bake", ""):
        document.update(steps=[], **_asked(settings), wiring=None, seconds=round(seconds, 3))
    return document


def _asked(settings: Settings | None) -> dict[str, object]:
    """The release that would have been installed; nothing where the settings are not known."""
    if settings is None:
        return {"soci_version": None, "arch": None, "sha256": None}
    import os

    from soci_bootstrap.facts.machine import ARCHITECTURES
    from soci_bootstrap.fetch import release

    version = settings.soci_version or release.NEWEST
    machine = os.uname().machine
    arch = settings.arch or ARCHITECTURES.get(machine, machine)
    digest = settings.sha256 or release.pinned_digest(version, arch)
    return {"soci_version": version, "arch": arch, "sha256": digest}


def _json(document: Mapping[str, object]) -> str:
    import json

    return json.dumps(document) + "\n"


def _print(text: str, status: int) -> int:
    """Write results; a reader that has gone away, or never was, is no failure of ours."""
    if sys.stdout is None:
        return status
    try:
        sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        import os

        # Else Python would try again to write it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            from soci_bootstrap.system.console import Console

            Console().error(f"the result can't be written to stdout: {error.strerror}")
            return status or FAILED
    return status


def _truthy(text: str) -> bool:
    from soci_bootstrap.configfiles.soci_rules import parse_bool

    try:
        return parse_bool(text)
    except ValueError:
        return False


def _traceback(line: CommandLine) -> None:
    if any(option.name == "verbose" for option, _ in line.given):
        import traceback

        traceback.print_exc()

"""The node's options, as the arguments that its agent is started with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soci_bootstrap.settings import Settings


def install_arguments(settings: Settings) -> tuple[str, ...]:
    """Arguments that give a node's agent what ``settings`` say and its own defaults don't.

    Left out is what concerns this run alone: ``--root``, ``--arch``, ``--json``, ``-v``, ``-q`` and
    the node that `config` is asked about.
    """
    return tuple(_arguments(settings))


def quoted(arguments: Sequence[str]) -> str:
    """``arguments`` as words of a POSIX shell command line."""
    return " ".join(shlex.quote(argument) for argument in arguments)


def _arguments(settings: Settings) -> Iterator[str]:
    from soci_bootstrap.settings import Settings as Defaults

    defaults = Defaults(command=settings.command)
    for flag, name in (
        ("--soci-version", "soci_version"),
        ("--mirror", "mirror"),
        ("--tarball", "tarball"),
        ("--sha256", "sha256"),
        ("--wiring", "wiring"),
        ("--snapshotter-root", "snapshotter_root"),
        ("--decompressor", "decompressor"),
        ("--deadline", "deadline"),
    ):
        value = getattr(settings, name)
        if value is not None and value != getattr(defaults, name):
            yield flag
            yield _text(value)
    for key in sorted(settings.parallel_pull):
        yield "--set"
        yield f"{key}={_text(settings.parallel_pull[key])}"
    if settings.strict:
        yield "--strict"
    if settings.force:
        yield "--force"


def _text(value: object) -> str:
    """``value`` as the command line spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)

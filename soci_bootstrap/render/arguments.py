"""The node's options, as the arguments that its agent is started with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from soci_bootstrap.configfiles.soci_rules import GZIP_ARGS_KEY
from soci_bootstrap.settings.options import OPTIONS

if TYPE_CHECKING:
    from soci_bootstrap.settings import Settings


def install_arguments(settings: Settings) -> tuple[str, ...]:
    """Arguments that give a node's agent what was set here; what was not stays its own to decide."""
    return tuple(_arguments(settings))


def _arguments(settings: Settings) -> Iterator[str]:
    for option in OPTIONS:
        if not option.for_nodes:
            continue
        if option.name == "set":
            yield from _pull(settings)
        elif not option.metavar:
            yield from (option.flag,) if getattr(settings, option.attribute) else ()
        elif option.attribute in settings.given:
            yield from (option.flag, _text(getattr(settings, option.attribute)))


def _pull(settings: Settings) -> Iterator[str]:
    pull = dict(settings.parallel_pull)
    if settings.decompressor_args is not None:
        pull[GZIP_ARGS_KEY] = json.dumps(settings.decompressor_args)
    for key in sorted(pull):
        yield from ("--set", f"{key}={_text(pull[key])}")


def _text(value: object) -> str:
    """``value`` as the command line spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")  # as many digits as are read
    return str(value)

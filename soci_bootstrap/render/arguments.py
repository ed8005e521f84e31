"""The node's options, as the arguments that its agent is started with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from soci_bootstrap.configfiles.soci_rules import GZIP_ARGS_KEY

if TYPE_CHECKING:
    from soci_bootstrap.settings import Settings

# What changes a node's behaviour. Left out is what concerns this run alone, and the node that
# `config` is asked about.
_FLAGS = (
    ("--soci-version", "soci_version"),
    ("--mirror", "mirror"),
    ("--tarball", "tarball"),
    ("--sha256", "sha256"),
    ("--wiring", "wiring"),
    ("--snapshotter-root", "snapshotter_root"),
    ("--decompressor", "decompressor"),
    ("--deadline", "deadline"),
)


def install_arguments(settings: Settings) -> tuple[str, ...]:
    """Arguments that give a node's agent what was set here; what was not stays its own to decide."""
    return tuple(_arguments(settings))


def _arguments(settings: Settings) -> Iterator[str]:
    for flag, name in _FLAGS:
        if name in settings.given:
            yield flag
            yield _text(getattr(settings, name))
    pull = dict(settings.parallel_pull)
    if settings.decompressor_args is not None:
        pull[GZIP_ARGS_KEY] = json.dumps(settings.decompressor_args)
    for key in sorted(pull):
        yield "--set"
        yield f"{key}={_text(pull[key])}"
    if settings.strict:
        yield "--strict"
    if settings.force:
        yield "--force"


def _text(value: object) -> str:
    """``value`` as the command line spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")  # as many digits as are read
    return str(value)

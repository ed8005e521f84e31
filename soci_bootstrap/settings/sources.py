"""Gather settings from flags, the environment and a file, each value with the name of its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.configfiles import soci_rules
from soci_bootstrap.errors import StateError
from soci_bootstrap.settings.commandline import CommandLine
from soci_bootstrap.settings.commands import UNPRIVILEGED
from soci_bootstrap.settings.options import (
    BUILD_ENVIRONMENT,
    ENVIRONMENT_PREFIX,
    OPTIONS,
    STUB_ENVIRONMENT,
    Option,
)
from soci_bootstrap.suggest import hint

ReadFile = Callable[[str], bytes]
"""Reads a path, or raises ``OSError``."""

FILE, ENVIRONMENT, FLAG = range(3)
"""Ranks: the higher wins."""

_NOT_FILED = tuple(option.name for option in OPTIONS if not option.filed)
_COMMA = re.compile(r",(?![^\[]*\])")
"""A comma that does not stand in a list."""


@dataclass(frozen=True)
class Given:
    """One value of one source.

    Attributes:
        option: which.
        value: typed; for ``set`` a mapping of SOCI's keys.
        source: what a message calls it: a flag, a variable, or a file and its key.
        rank: ``FILE``, ``ENVIRONMENT`` or ``FLAG``.
    """

    option: Option
    value: object
    source: str
    rank: int


def gather(
    line: CommandLine,
    environ: Mapping[str, str],
    read_file: ReadFile,
    problems: list[str],
    unseen: list[str],
) -> list[Given]:
    """Every value of every source, lowest rank first.

    Args:
        line: the flags.
        environ: the environment.
        read_file: reads the file of settings.
        problems: what is wrong is added to these.
        unseen: as is to these what this user may not read and does without.
    """
    flags = list(_typed(_flags(line), FLAG, problems))
    variables = list(_typed(_variables(environ, line.command, problems), ENVIRONMENT, problems))
    path, required = _file(variables + flags)
    hidden = unseen if not required and line.command in UNPRIVILEGED else problems
    file = _typed(_entries(path, required, read_file, problems, hidden), FILE, problems)
    return [*file, *variables, *flags]


_Raw = Iterator[tuple[Option, object, str]]


def _typed(raw: _Raw, rank: int, problems: list[str]) -> Iterator[Given]:
    for option, value, source in raw:
        if option.name == "set":
            yield Given(option, dict(_keys(value, source, rank, problems)), source, rank)
            continue
        try:
            yield Given(option, option.parse(value), source, rank)
        except ValueError as error:
            problems.append(f"{source}: {error}")


def _flags(line: CommandLine) -> _Raw:
    for option, text in line.given:
        yield option, text, option.flag


def _variables(environ: Mapping[str, str], command: str, problems: list[str]) -> _Raw:
    known = {option.variable: option for option in OPTIONS}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in BUILD_ENVIRONMENT:
            continue
        if name in STUB_ENVIRONMENT and command != "render":
            continue
        option = known.get(name)
        if option is None:
            problems.append(f"{name}: no such setting{hint(name, tuple(known))}")
        elif environ[name]:
            yield option, environ[name], name


def _file(given: Sequence[Given]) -> tuple[str, bool]:
    """Find the file's path, and tell if it has to be there."""
    named = [str(found.value) for found in given if found.option.name == "config"]
    if named:
        return named[-1], True
    roots = [str(found.value) for found in given if found.option.name == "root"]
    return (roots[-1].rstrip("/") if roots else "") + paths.SETTINGS, False


def _entries(path: str, required: bool, read_file: ReadFile, problems: list[str], hidden: list[str]) -> _Raw:
    try:
        data = read_file(path)
    except FileNotFoundError:
        if required:
            problems.append(f"--config: found no file {path}, expected one of settings in TOML")
        return
    except OSError as error:
        told = hidden if isinstance(error, PermissionError) else problems
        told.append(f"{path}: can't be read: {error.strerror or error}")
        return
    from soci_bootstrap.configfiles import toml

    try:
        document = toml.loads(data, path)
    except StateError as error:
        problems.append(f"{path}: found {error.found}, expected a TOML document")
        return
    known = {option.name: option for option in OPTIONS if option.filed}
    for key, value in document.items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            problems.append(f"{path}: {key}: {_stranger(key, tuple(known))}")
        else:
            yield option, value, f"{path}: {key}"


def _stranger(key: str, known: Sequence[str]) -> str:
    if key in soci_rules.SETTABLE:
        return "found outside of [set], expected it there"
    if key in _NOT_FILED:
        return "says where the file is: expected it as a flag or in the environment"
    return f"no such setting{hint(key, known)}"


def _keys(value: object, source: str, rank: int, problems: list[str]) -> Iterator[tuple[str, object]]:
    """SOCI's keys out of ``KEY=VALUE``, a comma-separated list of these, or a file's table."""
    pairs: list[tuple[str, object]]
    if rank == FILE:
        if not isinstance(value, Mapping):
            problems.append(f"{source}: found {value!r}, expected a table of SOCI's keys")
            return
        pairs = list(_flat(value))
    else:
        words = _COMMA.split(str(value)) if rank == ENVIRONMENT else [str(value)]
        pairs = []
        for word in words:
            key, equals, text = word.partition("=")
            if equals:
                pairs.append((key.strip().replace('"', ""), text))
            else:
                problems.append(f"{source}: found {word!r}, expected KEY=VALUE")
    for key, found in pairs:
        try:
            yield key, soci_rules.validate_key(key, found)
        except ValueError as error:
            problems.append(f"{source} {key}: {error}")


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value

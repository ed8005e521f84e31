"""Replace one string value in a TOML file, as text: what a hook can do with Python alone.

Only for files that a program wrote (nodeadm, `containerd config migrate`, tomli-w): standard
tables, one key a line. Everything else in the file stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADER = re.compile(r"^\s*\[([^\[\]].*)\]\s*(#.*)?$")
_KEY = re.compile(
    r"^(?P<key>\s*[A-Za-z0-9_.\"'\s-]+?)(?P<equals>\s*=\s*)"
    r"(?P<value>\"[^\"\\]*\"|'[^']*')(?P<rest>\s*(#.*)?)$"
)
_PART = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*(\.|$)")
_MULTILINE = ('"""', "'''")


def values(text: str, key: str, tables: tuple[tuple[str, ...], ...]) -> list[str]:
    """The values of ``key`` in any of ``tables`` (paths of names), in order."""
    return [match["value"][1:-1] for _, match in _matches(text, key, tables)]


def replace(text: str, key: str, tables: tuple[tuple[str, ...], ...], old: str, new: str) -> str:
    """``text`` with every ``key = old`` in those tables made ``key = new``."""
    lines = text.splitlines(keepends=True)
    for number, match in _matches(text, key, tables):
        if match["value"][1:-1] == old:
            ending = lines[number][len(lines[number].rstrip("\r\n")) :]
            quote = match["value"][0]
            lines[number] = f"{match['key']}{match['equals']}{quote}{new}{quote}{match['rest']}{ending}"
    return "".join(lines)


def _matches(text: str, key: str, tables: tuple[tuple[str, ...], ...]) -> Iterator[tuple[int, re.Match[str]]]:
    table: tuple[str, ...] = ()
    closing = ""
    for number, line in enumerate(text.splitlines()):
        if closing:
            closing = "" if closing in line else closing
            continue
        header = _HEADER.match(line)
        if header:
            table = _path(header[1])
            continue
        closing = next((mark for mark in _MULTILINE if line.count(mark) == 1), "")
        match = None if closing else _KEY.match(line)
        if match and table + _path(match["key"]) in {(*path, key) for path in tables}:
            yield number, match


def _path(dotted: str) -> tuple[str, ...]:
    parts: list[str] = []
    position = 0
    while position < len(dotted):
        match = _PART.match(dotted, position)
        if match is None:
            return ()
        parts.append(next(group for group in match.groups()[:3] if group is not None))
        position = match.end()
        if match[4] != ".":
            break
    return tuple(parts)

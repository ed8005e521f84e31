"""Replace one string value in a TOML file, as text: what a hook can do with Python alone.

Only for files that a program wrote (nodeadm, `containerd config migrate`, tomli-w): standard
tables, one key a line. Everything else in the file stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

IMAGES_PLUGIN, RUNTIME_PLUGIN = "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"
"""CRI's plugins in schema 3 and 4."""
CRI_PLUGIN = "io.containerd.grpc.v1.cri"
"""CRI's one plugin in schema 2."""
KEY = "snapshotter"
TABLES = (
    ("plugins", IMAGES_PLUGIN),
    ("plugins", CRI_PLUGIN, "containerd"),
)

_HEADER = re.compile(r"^\s*\[([^\[\]].*)\]\s*(#.*)?$")
_ARRAY_HEADER = re.compile(r"^\s*\[\[.*\]\]\s*(#.*)?$")
_KEY = re.compile(
    r"^(?P<key>\s*[A-Za-z0-9_.\"'\s-]+?)(?P<equals>\s*=\s*)"
    r"(?P<value>\"[^\"\\]*\"|'[^']*')(?P<rest>\s*(#.*)?)$"
)
_PART = re.compile(r"\s*(?:\"([^\"\\]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*(\.|$)")
# Strings are one token each, so that no bracket or quote inside of them counts.
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|(?P<open>"""|\'\'\').*'
    r'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|(?P<deeper>[\[{])|(?P<higher>[\]}])'
)


def values(text: str, key: str, tables: tuple[tuple[str, ...], ...]) -> list[str]:
    """The values of ``key`` in any of ``tables`` (paths of names), in order."""
    return [match["value"][1:-1] for _, match in _matches(text, key, tables)]


def replace(text: str, key: str, tables: tuple[tuple[str, ...], ...], old: str, new: str) -> str:
    """``text`` with every ``key = old`` in those tables made ``key = new``."""
    lines = text.split("\n")
    for number, match in _matches(text, key, tables):
        if match["value"][1:-1] == old:
            quote = match["value"][0]
            lines[number] = f"{match['key']}{match['equals']}{quote}{new}{quote}{match['rest']}"
    return "\n".join(lines)


def _matches(text: str, key: str, tables: tuple[tuple[str, ...], ...]) -> Iterator[tuple[int, re.Match[str]]]:
    wanted = {(*path, key) for path in tables}
    table: tuple[str, ...] | None = ()
    closing, depth = "", 0
    # Not splitlines(): it also ends lines at characters that may stand in a string.
    for number, line in enumerate(text.split("\n")):
        if closing:
            closing = "" if closing in line else closing
            continue
        if not depth and (_ARRAY_HEADER.match(line) or _HEADER.match(line)):
            header = _HEADER.match(line)
            table = _path(header[1]) if header else None
            continue
        match = _KEY.match(line) if table is not None and not depth else None
        for token in _TOKEN.finditer(line):
            closing = token["open"] or ""
            depth += bool(token["deeper"]) - bool(token["higher"])
        if match and (*(table or ()), *(_path(match["key"]) or ())) in wanted:
            yield number, match


def _path(dotted: str) -> tuple[str, ...] | None:
    """The names of a dotted key; None for one that is not written plainly."""
    parts: list[str] = []
    position = 0
    while position < len(dotted):
        match = _PART.match(dotted, position)
        if match is None:
            return None
        parts.append(next(group for group in match.groups()[:3] if group is not None))
        position = match.end()
    return tuple(parts)


def named(texts: Iterable[str]) -> str:
    """The snapshotter that configurations name, the last one winning; overlayfs, the default, for none."""
    found = [value for text in texts for value in values(text, KEY, TABLES)]
    return found[-1] if found else "overlayfs"


def unwired(config: bytes) -> bytes:
    """Containerd's configuration with overlayfs where it says soci, and all else byte for byte."""
    text = config.decode("utf-8", "surrogateescape")
    return replace(text, KEY, TABLES, "soci", "overlayfs").encode("utf-8", "surrogateescape")

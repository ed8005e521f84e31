"""TOML in and out: the standard library's reader where there is one, tomli and tomli-w elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from soci_bootstrap.errors import StateError


def loads(data: bytes | str, name: str) -> dict[str, Any]:
    """Parse a TOML document.

    Args:
        data: the document, UTF-8.
        name: where it came from, for the error.

    Raises:
        StateError: it is not UTF-8, not TOML, or holds numbers that no other reader takes.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        document = tomllib.loads(text)
        _check_integers(document)
    except (ValueError, RecursionError) as error:
        raise StateError(
            f"{name} is not TOML",
            found=str(error),
            expected="a TOML document",
            remedy="repair it; nothing was changed",
        ) from error
    return document


def dumps(document: Mapping[str, Any]) -> bytes:
    """A TOML document of ``document``, UTF-8.

    Raises:
        StateError: it can't be written: too deep, or text that is none.
    """
    import tomli_w

    try:
        return tomli_w.dumps(document).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise StateError(
            "a TOML document can't be written",
            found=str(error),
            expected="values that TOML has",
            remedy="repair the file that they are from; nothing was changed",
        ) from error


def _check_integers(document: Mapping[str, Any]) -> None:
    """Go's reader refuses what does not fit 64 bits; Python's would choke on printing it."""
    pending: list[object] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ValueError("an integer of more than 64 bits")


def table(document: object, *path: str) -> dict[str, Any]:
    """The table at a path of keys; an empty one where there is none, or something else than a table."""
    found = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}

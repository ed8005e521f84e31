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
        StateError: it is not UTF-8 or not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise StateError(
            f"{name} is not TOML",
            found=str(error),
            expected="a TOML document",
            remedy="repair it; nothing was changed",
        ) from error


def dumps(document: Mapping[str, Any]) -> bytes:
    """A TOML document of ``document``, UTF-8."""
    import tomli_w

    return tomli_w.dumps(document).encode("utf-8")

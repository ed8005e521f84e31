"""Read the files that are carried to the node: unit files, decompressor, stub, the running zipapp itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import ResourceLoader

    __loader__: ResourceLoader

PACKAGE = os.path.dirname(os.path.dirname(__file__))


_HOMES = {"systemd": "systemd", "bootstrap.sh": "scripts/bootstrap.sh"}
"""Files that a build copies into data/, and their places in a checkout."""


def read(name: str) -> bytes:
    """Read a file of ``soci_bootstrap/data/``, such as ``systemd/soci-snapshotter.service``.

    The module's own loader reads it, be that a directory or the zipapp; ``importlib.resources`` does
    the same at many times the import cost.

    Raises:
        OSError: there is no such file.
    """
    first, slash, rest = name.partition("/")
    try:
        return __loader__.get_data(os.path.join(PACKAGE, "data", name))
    except OSError:
        if first not in _HOMES:
            raise
    return __loader__.get_data(os.path.join(os.path.dirname(PACKAGE), _HOMES[first] + slash + rest))


def agent_path() -> str | None:
    """Find the running zipapp; None from a source checkout or an installed package."""
    archive: str | None = getattr(__loader__, "archive", None)
    return archive


def agent_bytes() -> bytes | None:
    """Read the running zipapp, to be left on the node; None where there is no zipapp."""
    path = agent_path()
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def version() -> str:
    """Name the package's version, and the commit where the build says it."""
    from soci_bootstrap import __version__

    try:
        from soci_bootstrap._build import COMMIT  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return __version__
    return f"{__version__} ({COMMIT})"

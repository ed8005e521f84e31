"""Files that we carry: unit files, the decompressor, and the running zipapp itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import ResourceLoader

    __loader__: ResourceLoader

PACKAGE = os.path.dirname(os.path.dirname(__file__))


def read(name: str) -> bytes:
    """The bytes of a file of this package, such as ``systemd/soci-snapshotter.service``.

    ``name`` is relative to ``soci_bootstrap/``. The module's own loader reads it, be that a directory
    or the zipapp; ``importlib.resources`` does the same at many times the import cost.

    Raises:
        OSError: there is no such file.
    """
    return __loader__.get_data(os.path.join(PACKAGE, name))


def agent_path() -> str | None:
    """The zipapp that is running; None from a source checkout or an installed package."""
    archive: str | None = getattr(__loader__, "archive", None)
    return archive


def agent_bytes() -> bytes | None:
    """The running zipapp's own bytes, to be left on the node; None where there is no zipapp."""
    path = agent_path()
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def version() -> str:
    """The package's version, and the commit where the build says it."""
    from soci_bootstrap import __version__

    try:
        from soci_bootstrap._build import COMMIT  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return __version__
    return f"{__version__} ({COMMIT})"

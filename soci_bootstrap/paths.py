"""Which paths may go into unit files: systemd splits, expands and unquotes what stands there."""

from __future__ import annotations

import os
import re

PLAIN = "an absolute path other than / and without .., of letters, digits and _.+:@,=~-"
_PLAIN = re.compile(r"(?:/[\w.+:@,=~-]+)+")


def is_plain(path: str) -> bool:
    """Whether a path means the same to systemd, TOML, mount tables and shells without any quoting."""
    return _PLAIN.fullmatch(path) is not None and os.path.normpath(path) == path

"""Write one line to the journal. Source: systemd's native journal protocol."""

from __future__ import annotations

import socket

from soci_bootstrap import paths

_ERROR = 3


def say(text: str) -> None:
    """Write an error to the journal and to stderr."""
    import sys

    error(text)
    sys.stderr.write(f"soci-bootstrap: {text}\n")


def error(message: str) -> None:
    """Write an error to the journal; do nothing on a node without one."""
    line = " ".join(message.split())
    fields = f"MESSAGE={line}\nPRIORITY={_ERROR}\nSYSLOG_IDENTIFIER=soci-bootstrap\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.settimeout(0.5)
            journal.connect(paths.JOURNAL)
            journal.send(fields.encode())
    except OSError:
        return

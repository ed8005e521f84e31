"""The result of a command: an exit status, and what goes to stdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The result that every command's ``run(settings, console)`` returns.

    Attributes:
        exit_status: the process's.
        document: the object that ``--json`` prints. A ``reason`` in it is stderr's last line where
            the exit status is not 0.
        text: stdout without ``--json``.
    """

    exit_status: int
    document: Mapping[str, object]
    text: str

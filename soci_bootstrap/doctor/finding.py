"""Findings of checks, unknowns, and the verdict over all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar, Union

from soci_bootstrap.errors import BootstrapError, CommandError
from soci_bootstrap.system.threads import Task

T = TypeVar("T")
NEEDS_ROOT = "needs root"
_REFUSALS = ("permission denied", "insufficient permissions", "failed to connect to")
"""As ``ctr``, ``journalctl`` and ``systemctl`` say it to who is not root."""
EXIT_STATUS: Mapping[str, int] = {
    "healthy": 0,
    "broken": 1,
    "degraded": 2,
    "pending": 2,
    "absent": 3,
    "unknown": 4,
}


class Status(str, Enum):
    """A check's outcome.

    ``fail``: pulls fail, or this node has no working SOCI. ``warn``: they work, but not as they
    should. ``skip``: it could not or need not be looked at; ``found`` says why.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """The finding of one check; ``hint`` is what to do, empty on ``ok`` and ``skip``."""

    status: Status
    found: str
    expected: str
    hint: str = ""


@dataclass(frozen=True)
class Check:
    """A finding under its check's name."""

    id: str
    status: Status
    found: str
    expected: str
    hint: str

    def to_json(self) -> dict[str, str]:
        """The contract's object."""
        return {
            "id": self.id,
            "status": self.status.value,
            "found": self.found,
            "expected": self.expected,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Unknown:
    """Why something could not be observed.

    Attributes:
        why: the reason, for ``found``.
        remedy: what to do about it; empty where it is nobody's fault, so that a check is skipped.
    """

    why: str
    remedy: str = ""

    def judged(self, expected: str) -> Finding:
        """A finding for a check that depends on it."""
        return warn(self.why, expected, self.remedy) if self.remedy else skip(self.why, expected)


Observed = Union[T, Unknown]
"""A fact, or the reason why it isn't known. Never confused with "nothing is there"."""


Answer = Callable[[], Observed[T]]
"""Waits for what is being looked at."""


def ok(found: str, expected: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, found, expected)


def warn(found: str, expected: str, hint: str) -> Finding:
    """It works, but not as it should."""
    return Finding(Status.WARN, found, expected, hint)


def fail(found: str, expected: str, hint: str) -> Finding:
    """It does not work."""
    return Finding(Status.FAIL, found, expected, hint)


def skip(why: str, expected: str) -> Finding:
    """Not looked at."""
    return Finding(Status.SKIP, why, expected)


def attempt(look: Callable[[], T]) -> Observed[T]:
    """Call ``look``; on a half-broken node its failure is a finding, with the reason."""
    try:
        return look()
    except (BootstrapError, OSError) as error:
        if _refused(error) and os.geteuid() != 0:
            return Unknown(NEEDS_ROOT)
        if isinstance(error, BootstrapError):
            found = f": {error.found}" if error.found else ""
            return Unknown(f"{error.problem}{found}", error.remedy or "repair it, then run doctor again")
        return Unknown(f"{type(error).__name__}: {error}", "repair it, then run doctor again")
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks go on
        return Unknown(f"unexpected {type(error).__name__}: {error}", "report this as a bug")


def begin(look: Callable[[], T], seconds: float = 10.0) -> Answer[T]:
    """Start to look at something; returns what waits for the answer, or for the end of its time."""
    task = Task(look, seconds)
    return lambda: attempt(task.result)


def _refused(error: BaseException) -> bool:
    """Permission denied, as the system said it or as a program passes it on."""
    if isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError):
        return True
    return isinstance(error, CommandError) and any(words in error.found.lower() for words in _REFUSALS)


PRIVILEGES, INSTALLED, FAILED_OPEN = "privileges", "installed", "failed-open"
STAGED, PLAN = "staged", "plan"
"""Checks that the verdict looks at by name."""


def verdict(checks: Iterable[Check]) -> str:
    """Sum the node up in one word; this is the whole rule.

    - ``absent``: nothing was ever installed, and nobody wired SOCI either;
    - ``broken``: a check fails;
    - ``degraded``: it failed open, so it pulls with overlayfs;
    - ``unknown``: what is hidden from an unprivileged user may say anything;
    - ``pending``: what was installed takes effect at the next boot, or all that is to be said is
      that an install would change something;
    - ``degraded``: anything else is not as it should be;
    - ``healthy``: none of these.
    """
    found = {check.id: check.status for check in checks}
    warned = {name for name, status in found.items() if status is Status.WARN}
    if INSTALLED in warned and FAILED_OPEN not in warned:
        return "absent"
    if Status.FAIL in found.values():
        return "broken"
    if FAILED_OPEN in warned:
        return "degraded"
    if PRIVILEGES in warned:
        return "unknown"
    if STAGED in warned or warned == {PLAN}:
        return "pending"
    return "degraded" if warned else "healthy"

"""Hooks that systemd starts: guard and verify around containerd's start, boot before nodeadm.

The internal command ``hook NAME``: each hook imports no more than it needs, and ends 0 whatever happens.

The units bound them in time; no lock of install's is taken by the ones that hold containerd up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from soci_bootstrap.system import System

if TYPE_CHECKING:
    from soci_bootstrap.system.deadline import Deadline


def main(arguments: Sequence[str]) -> int:
    """Run one hook by name; 0 whatever happens, but for a name that is none (1)."""
    hooks: dict[str, Callable[[System], None]] = {"guard": _guard, "verify": _verify, "boot": _boot}
    hook = hooks.get(arguments[0]) if len(arguments) == 1 else None
    if hook is None:
        _say(f"hook: found {' '.join(arguments)!r}, expected one of {', '.join(hooks)}")
        return 1
    try:
        hook(System(tag="hook"))
    except Exception as error:  # noqa: BLE001 - containerd starts, whatever happened here
        _say(f"{arguments[0]}: {type(error).__name__}: {error}")
    return 0


def _guard(system: System) -> None:
    from soci_bootstrap.hooks import guard

    guard.guard(system, _deadline(guard.SECONDS))


def _verify(system: System) -> None:
    from soci_bootstrap.hooks import verify

    verify.verify(system, _deadline(verify.SECONDS))


def _boot(system: System) -> None:
    from soci_bootstrap.hooks import boot

    boot.run(system)


def _deadline(seconds: float) -> Deadline:
    """One for the whole hook, counted from the start of the process, as the unit counts."""
    from soci_bootstrap.system.deadline import Deadline, process_age

    return Deadline(seconds, spent=process_age())


def _say(text: str) -> None:
    from soci_bootstrap.system import journal

    journal.say(text)

"""What the hooks found out: the last failing open, and the snapshotter containerd ran with.

Apart from the record, since hooks take no lock. Standard library only.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace

from soci_bootstrap import paths
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.system import System


@dataclass(frozen=True)
class State:
    """What one hook tells the next, and doctor.

    Attributes:
        snapshotter: the one containerd last ran with; images of another are not usable.
        degraded: why the node is not pulling through SOCI as wired; empty where it is.
        at: when that was found, UTC, ISO 8601.
        boot_id: in which boot.
    """

    snapshotter: str = "overlayfs"
    degraded: str = ""
    at: str = ""
    boot_id: str = ""


def load(system: System) -> State:
    """The state; a fresh one where there is none or it can't be read: hooks go on."""
    try:
        data = system.read(paths.HEALTH)
        found = State(**json.loads(data)) if data else State()
    except (ValueError, TypeError, RecursionError, BootstrapError):
        return State()
    return found if all(isinstance(value, str) for value in asdict(found).values()) else State()


def save(system: System, state: State) -> None:
    """Write the state where it differs."""
    if load(system) != state or system.read(paths.HEALTH) is None:
        system.mkdir(paths.HEALTH.rsplit("/", 1)[0], 0o700)
        system.write(paths.HEALTH, (json.dumps(asdict(state)) + "\n").encode(), 0o600)


def degraded(system: System, reason: str) -> None:
    """Record why the node failed open, and tell the journal."""
    boot_id = (system.read(paths.BOOT_ID) or b"").decode().strip() if system.live else ""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    save(system, replace(load(system), degraded=reason, at=now, boot_id=boot_id))


def is_degraded(system: System) -> bool:
    """Tell whether the node failed open, and has not recovered since: the one answer for everybody."""
    return bool(load(system).degraded)


def recovered(system: System) -> None:
    """Forget an earlier failing open."""
    found = load(system)
    if found.degraded:
        save(system, replace(found, degraded="", at="", boot_id=""))

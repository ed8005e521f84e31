"""Findings of the hooks: the last failing open, and the snapshotter containerd ran with.

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
class Unwired:
    """A file that failing open changed.

    Attributes:
        original: its bytes before, as text in which what is no UTF-8 is escaped.
        sha256: of what failing open made of it.
    """

    path: str
    original: str
    sha256: str


@dataclass(frozen=True)
class State:
    """Findings of one hook for the next, and for doctor.

    Attributes:
        snapshotter: the one containerd last ran with; images of another are not usable.
        degraded: why the node is not pulling through SOCI as wired; empty where it is.
        at: when that was found, UTC, ISO 8601.
        boot_id: in which boot.
        unwired: files that failing open changed, to be put back.
    """

    snapshotter: str = "overlayfs"
    degraded: str = ""
    at: str = ""
    boot_id: str = ""
    unwired: tuple[Unwired, ...] = ()


def load(system: System) -> State:
    """The state; a fresh one where there is none or it can't be read: hooks go on."""
    try:
        document = json.loads(system.read(paths.HEALTH) or b"{}")
        unwired = tuple(Unwired(**one) for one in document.pop("unwired", []))
        found = State(**document)
    except (ValueError, TypeError, AttributeError, RecursionError, BootstrapError):
        return State()
    texts = [*asdict(found).values(), *(text for one in unwired for text in asdict(one).values())]
    good = all(isinstance(value, str) for value in texts if value != ())
    return replace(found, unwired=unwired) if good else State()


def save(system: System, state: State) -> None:
    """Write the state where it differs."""
    if load(system) != state or system.read(paths.HEALTH) is None:
        system.mkdir(paths.HEALTH.rsplit("/", 1)[0], 0o700)
        document = asdict(state)
        if not state.unwired:
            # A version before it could not read the state with it.
            del document["unwired"]
        system.write(paths.HEALTH, (json.dumps(document) + "\n").encode(), 0o600)


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

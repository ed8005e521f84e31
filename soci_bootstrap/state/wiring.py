"""The wiring of a node, as the record keeps it and the hooks read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum

from soci_bootstrap import paths
from soci_bootstrap.errors import StateError
from soci_bootstrap.system import System


class WiringMode(str, Enum):
    """The way in which containerd and kubelet are pointed at SOCI."""

    NODEADM = "nodeadm"
    """A drop-in of nodeadm's."""
    DIRECT = "direct"
    """Merged into their own files."""
    NONE = "none"
    """The user's to wire."""
    UNKNOWN = "unknown"
    """No record that can be read tells."""


@dataclass(frozen=True)
class Wired:
    """Wiring of a node, as far as the hooks need it; kept in the record.

    Attributes:
        mode: who wires, and where.
        dialect: containerd's configuration schema.
        address: SOCI's socket.
        root: SOCI's ``--root``.
        static: the user's NodeConfig wires SOCI.
        containerd_config: containerd's configuration file.
        kubelet_config: kubelet's configuration file.
        kubelet_dir: kubelet's drop-in directory.
        fallback: nodeadm's drop-in after failing open, empty for none.
    """

    mode: WiringMode
    dialect: str
    address: str
    root: str
    static: bool
    containerd_config: str
    kubelet_config: str
    kubelet_dir: str
    fallback: str

    def to_json(self) -> dict[str, object]:
        """For the record."""
        return asdict(self)


def from_json(document: Mapping[str, object]) -> Wired | None:
    """The wiring in a record; None where the node was never wired, or another version wrote it."""
    try:
        known = {**document, "mode": WiringMode(document["mode"])} if document else {}
        return Wired(**known) if known else None  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError):
        return None


WELL_KNOWN = Wired(
    mode=WiringMode.UNKNOWN,
    dialect="v3",
    address=paths.SOCI_ADDRESS,
    root=paths.SOCI_ROOT,
    static=False,
    containerd_config=paths.CONTAINERD_CONFIG,
    kubelet_config=paths.KUBELET_CONFIG,
    kubelet_dir=paths.KUBELET_DROPINS,
    fallback="",
)
"""Where wiring usually is: what the hooks have where the record does not say."""


def read_wired(system: System) -> Wired | None:
    """Read the wiring from the record, as far as it can be read; None where the node was never wired.

    A record that is cut, or of another version, must not turn the hooks off: with SOCI dead, the node
    would not join. What is known of its wiring counts, and the well-known paths for the rest.
    """
    import json

    try:
        data = system.read(paths.RECORD)
        if data is None:
            return None
        document = json.loads(data)
        wiring = document.get("wiring")
    except (ValueError, AttributeError, RecursionError, StateError):
        return WELL_KNOWN
    if not wiring:
        return None
    if not isinstance(wiring, dict):
        return WELL_KNOWN
    fields = asdict(WELL_KNOWN)
    known = {name: value for name, value in wiring.items() if type(value) is type(fields.get(name))}
    modes = [mode for mode in WiringMode if mode == wiring.get("mode")]
    return Wired(**{**fields, **known, "mode": modes[0] if modes else WiringMode.UNKNOWN})

"""The wiring of a node, as the record keeps it and the hooks read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum

from soci_bootstrap import paths
from soci_bootstrap.system import System


class WiringMode(str, Enum):
    """The way in which containerd and kubelet are pointed at SOCI."""

    NODEADM = "nodeadm"
    """A drop-in of nodeadm's."""
    DIRECT = "direct"
    """Merged into their own files."""
    NONE = "none"
    """The user's to wire."""


@dataclass(frozen=True)
class Wired:
    """What the hooks need to know of the wiring; kept in the record.

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


def read_wired(system: System) -> Wired | None:
    """Read the wiring from the record; None where the node was never wired."""
    import json

    data = system.read(paths.RECORD)
    return from_json(json.loads(data).get("wiring") or {}) if data else None

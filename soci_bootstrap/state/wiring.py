"""The wiring of a node, as the record keeps it and the hooks read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from soci_bootstrap import paths
from soci_bootstrap.system import System


@dataclass(frozen=True)
class Wired:
    """What the hooks need to know of the wiring; kept in the record.

    Attributes:
        mode: ``nodeadm``, ``direct`` or ``none``.
        dialect: containerd's configuration schema.
        address: SOCI's socket.
        root: SOCI's ``--root``.
        static: the user's NodeConfig wires SOCI.
        containerd_config: containerd's configuration file.
        kubelet_config: kubelet's configuration file.
        kubelet_dir: kubelet's drop-in directory.
        fallback: nodeadm's drop-in after failing open, empty for none.
    """

    mode: str
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
        return Wired(**document) if document else None  # type: ignore[arg-type]
    except TypeError:
        return None


def read_wired(system: System) -> Wired | None:
    """Read the wiring from the record; None where the node was never wired."""
    import json

    data = system.read(paths.RECORD)
    return from_json(json.loads(data).get("wiring") or {}) if data else None

"""What a converged run leaves for ``memo``: the stat() of everything that the plan was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soci_bootstrap import contentstore, memo, nodeconfig
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan import Desired
from soci_bootstrap.record import STATE
from soci_bootstrap.system import System


def memory(
    system: System,
    found: Facts,
    desired: Desired,
    argv: Sequence[str],
    environ: Mapping[str, str],
    document: Mapping[str, object],
    text: str,
) -> bytes:
    """The bytes of ``memo.PATH``.

    Args:
        system: through which everything was looked at and changed.
        found: what was observed.
        desired: what the node holds now.
        argv: of this run.
        environ: of this run.
        document: what the next run reports with ``--json`` where nothing differs.
        text: what it reports without.
    """
    apart = {nodeconfig.CACHE, memo.PLANNED, "/proc/sys/kernel/random/boot_id"}
    if desired.wiring.mode == "nodeadm":
        # nodeadm writes these anew; nothing in them but containerd's root decides anything here.
        apart |= {found.containerd.config_path, *found.kubelet.sources}
    touched = {
        path: listed
        for path, listed in system.touched.items()
        if path not in apart and not _is_state(path, found)
    }
    touched[memo.SETTINGS_FILE] = False
    layers = contentstore.layers(system, found.containerd.root) | contentstore.pause_members(system)
    chosen = desired.decompressor
    inflater = [chosen.path, *chosen.args] if chosen.path else []
    return memo.save_document(argv, environ, system.root, inflater, touched, layers, document, text)


def _is_state(path: str, found: Facts) -> bool:
    """Our own records, and containerd's store, which ``memo`` looks at in its own way."""
    return f"{path}/".startswith((f"{STATE}/", f"{found.containerd.root}/io.containerd."))

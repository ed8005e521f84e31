"""What a converged run leaves for ``memo``: the stat() of everything that the plan was made from."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from soci_bootstrap import paths
from soci_bootstrap.facts import Facts, content_store, nodeconfig
from soci_bootstrap.plan.desired import Desired
from soci_bootstrap.plan.wiring import for_hooks
from soci_bootstrap.runtime.unwire import config_files
from soci_bootstrap.state import memo
from soci_bootstrap.state.record import Record, load
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
    """The bytes of ``memo.PATH``; none where stat() would not see what the node sees, or this run did not.

    Args:
        system: through which everything was looked at and changed.
        found: what was observed.
        desired: what the node holds now.
        argv: of this run.
        environ: of this run.
        document: what the next run reports with ``--json`` where nothing differs.
        text: what it reports without.
    """
    _look_at_what_may_come(system, found, desired)
    if _leads_away(system):
        return b""
    record = load(system) or Record()
    touched = {path: listed for path, listed in system.touched.items() if _decides(path, found, desired)}
    touched[paths.SETTINGS] = False
    if _changed_meanwhile(system, touched, record):
        return b""
    touched[paths.RECORD] = False
    chosen = desired.decompressor
    inflater = [chosen.path, *chosen.args] if chosen.path else []
    store = {
        "blobs": content_store.directory(found.containerd.root),
        "layer": found.store.foreign_layer.partition(":")[2],
        "pause": sorted(content_store.pause_members(system)),
    }
    recorded = {"outcome": record.outcome, "settings": dict(record.settings)}
    return memo.save_document(argv, environ, system.root, inflater, touched, store, recorded, document, text)


def _look_at_what_may_come(system: System, found: Facts, desired: Desired) -> None:
    """Directories whose next file decides something, though this run may not have listed them."""
    # Once nodeadm has merged them, what is remembered of them is all that counts, until the next boot.
    for path in nodeconfig.dropin_paths(system):
        system.entry(path)
    for _ in config_files(system, for_hooks(desired.wiring, found)):
        pass
    for path in [path for path, listed in system.touched.items() if listed]:
        # Where a link stands for a directory, it is the directory that changes.
        system.listdir(system.followed(path))


def _decides(path: str, found: Facts, desired: Desired) -> bool:
    """Whether anything depends on what stands at a path.

    Nothing does on our own records, nor on what SOCI makes; ``memo`` looks at containerd's store in
    its own way. What nodeadm writes it writes anew at each boot, and merges our drop-in into: but
    for containerd's root nothing in that decides anything here.
    """
    below = [paths.STATE, desired.wiring.root, paths.SOCI_STORE]
    apart = {paths.NODECONFIG_CACHE, memo.PLANNED, paths.BOOT_ID}
    if desired.wiring.mode == "nodeadm":
        apart |= {found.containerd.config_path, *found.kubelet.sources}
        below.append(for_hooks(desired.wiring, found).kubelet_dir)
    starts = (*(f"{directory}/" for directory in below), f"{found.containerd.root}/io.containerd.")
    return path not in apart and not f"{path}/".startswith(starts)


def _leads_away(system: System) -> bool:
    """Whether a link in an image leads elsewhere for us than for the node, for which it is absolute."""
    if system.live:
        return False
    watched = {f"{os.path.dirname(path)}/-" for path in system.touched}
    return any(
        os.path.realpath(os.path.dirname(system.root + path)) != os.path.dirname(system.path(path))
        for path in watched
    )


def _changed_meanwhile(system: System, touched: Mapping[str, bool], record: Record) -> bool:
    """Whether someone else changed, since this run began, what it may have looked at before that."""
    watched = {path for path in touched if path not in record.managed}
    for directory in [path for path, listed in touched.items() if listed]:
        watched.update(f"{directory}/{name}" for name in system.listdir(directory))
    return any(_is_young(system, path) for path in watched - record.managed.keys())


def _is_young(system: System, path: str) -> bool:
    try:
        found = os.lstat(system.path(path))
    except OSError:
        return False
    # Of a directory its names are looked at, where they matter.
    return not stat.S_ISDIR(found.st_mode) and found.st_ctime_ns >= system.began

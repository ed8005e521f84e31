"""Layers and snapshots on containerd's disk beyond the pause image's.

A layer that lies in the content store makes SOCI's parallel pull fail for good while
``discard_unpacked_layers`` is true (SOCI issue 2035, all pinned versions); images unpacked by
overlayfs are not seen by SOCI. Both are read from the disk, since containerd is not up yet.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.system import System

_JSON_MAX = 4 << 20
"""Manifests and configs are smaller than this (containerd's own bound); anything larger is a layer."""


@dataclass(frozen=True)
class ContentStore:
    """Content of the store beyond the pause image.

    Attributes:
        foreign_layer: the digest of one such layer, empty for none.
        overlayfs_snapshots: how many snapshots overlayfs holds beyond the pause image's.
    """

    foreign_layer: str = ""
    overlayfs_snapshots: int = 0

    @property
    def may_discard(self) -> bool:
        """Tell whether ``discard_unpacked_layers`` may be true on this node."""
        return not self.foreign_layer


def observe(system: System, containerd_root: str) -> ContentStore:
    """Look at the store below containerd's root."""
    blobs = system.listdir(directory(containerd_root))
    snapshots = system.listdir(f"{containerd_root}/{paths.OVERLAYFS_SNAPSHOTS}")
    if not blobs and not snapshots:
        return ContentStore()
    pause = pause_members(system)
    foreign = next(
        (
            name
            for name in blobs
            if name not in pause and not _is_json(system, f"{directory(containerd_root)}/{name}")
        ),
        "",
    )
    # The pause image has one layer; where it is not cached, overlayfs holds nothing of it.
    beyond = len(snapshots) - (1 if pause else 0)
    return ContentStore(f"sha256:{foreign}" if foreign else "", max(0, beyond))


def directory(containerd_root: str) -> str:
    """Return the directory of containerd's blobs, each named by its digest in hex."""
    return f"{containerd_root}/{paths.CONTENT_STORE}"


def pause_members(system: System) -> frozenset[str]:
    """The digests, in hex, of everything in the pause image's archive, OCI layout or docker's."""
    tar = system.read(paths.PAUSE_IMAGE)
    if tar is None:
        return frozenset()
    import hashlib
    import tarfile

    digests = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    digests.add(hashlib.sha256(file.read()).hexdigest())
    except (tarfile.TarError, OSError, EOFError, ValueError):
        # Not an archive: then nothing is known to be the pause image's, which errs on the safe side.
        return frozenset()
    return frozenset(digests)


def _is_json(system: System, path: str) -> bool:
    import json

    entry = system.entry(path)
    if entry.kind != "file" or entry.size > _JSON_MAX:
        return False
    try:
        json.loads(system.read(path) or b"")
    except (ValueError, RecursionError):
        return False
    return True

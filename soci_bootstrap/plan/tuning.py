"""Tune SOCI's parallel pull to a node's cores and memory. Pure: facts in, settings out.

The model, in words
-------------------
*Downloads* cost connections, not memory: SOCI copies each ranged GET into the layer's temporary
file through small buffers, so a chunk's size never lies in its heap. What a connection holds is a
TLS record, Go's HTTP buffers and the kernel's receive buffer: ``DOWNLOAD_BYTES`` bounds it.
20 of them fill the network of ordinary instances; 20 to 40 lie within the noise of each other on
a small node, so only nodes with more cores (and so more network) get more, up to 40.

*Unpacks* cost a core and a process each: the decompressor (the largest is ours, a Python of some
12 MiB), a pipe, and tar's buffers in SOCI: ``UNPACK_BYTES`` bounds it. One per core, never fewer
than 4, since layers wait for the disk as often as for a core, never more than 12, since images
rarely have more large layers than that.

*Memory* may take unpacks away, nothing else does: pulls may hold an eighth of the node's memory,
half of that in connections and half in unpacks. kubelet pulls several images at once, so the same
budget also gives the limits over all images, where it is small enough to matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from soci_bootstrap.configfiles.soci import Decompressor, ParallelPull
from soci_bootstrap.facts.content_store import ContentStore
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.fetch import release

MIB = 1024 * 1024
DOWNLOAD_BYTES = 1 * MIB
UNPACK_BYTES = 16 * MIB
MEMORY_SHARE = 8
"""Pulls may hold one part in this many of the node's memory."""
MIN_DOWNLOADS, MAX_DOWNLOADS = 20, 40
MIN_UNPACKS, MAX_UNPACKS = 4, 12
AMPLE_UNPACKS = 64
"""From here on a limit over all images would never be reached: there is none."""
UNBOUNDED = -1
CHUNK_SIZE = "16mb"

DISCARD_FIXED_IN = (0, 16, 0)
"""The first SOCI release without issue 2035."""


def may_discard(store: ContentStore, version: str) -> bool:
    """Tell whether SOCI may discard unpacked layers: before 0.16 not over a layer in the store (2035)."""
    return store.may_discard or release.parse_version(version) >= DISCARD_FIXED_IN


def tune(
    machine: Machine,
    decompressor: Decompressor,
    *,
    discard_unpacked_layers: bool,
    overrides: Mapping[str, object] | None = None,
) -> ParallelPull:
    """Settings for this node, as the module's text explains.

    Args:
        machine: the node's cores and memory.
        decompressor: one that has passed its self-test, or ``Decompressor("none")``.
        discard_unpacked_layers: whether the content store allows it (SOCI issue 2035).
        overrides: what the user set, by SOCI's key, typed and checked
            (``snapshotter.validate_key``, ``snapshotter.limit_problems``); each wins.

    Returns:
        Settings that SOCI accepts: a limit per image never exceeds the one over all images.
    """
    share = machine.memory_bytes // MEMORY_SHARE // 2
    memory_unpacks = max(1, share // UNPACK_BYTES)
    downloads = _clamp(machine.vcpus, MIN_DOWNLOADS, MAX_DOWNLOADS)
    unpacks = min(_clamp(machine.vcpus, MIN_UNPACKS, MAX_UNPACKS), memory_unpacks)
    ample = memory_unpacks >= AMPLE_UNPACKS
    values: dict[str, object] = {
        "enable": True,
        "max_concurrent_downloads": UNBOUNDED if ample else max(downloads, share // DOWNLOAD_BYTES),
        "max_concurrent_downloads_per_image": downloads,
        "concurrent_download_chunk_size": CHUNK_SIZE,
        "max_concurrent_unpacks": UNBOUNDED if ample else memory_unpacks,
        "max_concurrent_unpacks_per_image": unpacks,
        "discard_unpacked_layers": discard_unpacked_layers,
        "decompressor": decompressor,
    }
    chosen = dict(overrides or {})
    values.update(chosen)
    for total in ("max_concurrent_downloads", "max_concurrent_unpacks"):
        _agree(values, chosen, total, f"{total}_per_image")
    return ParallelPull(**{field.name: values[field.name] for field in fields(ParallelPull)})  # type: ignore[arg-type]


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _agree(values: dict[str, object], chosen: Mapping[str, object], total: str, each: str) -> None:
    """Where the user set one limit of a pair, move the other: SOCI refuses each > total."""
    limit, per_image = values[total], values[each]
    if not isinstance(limit, int) or not isinstance(per_image, int) or limit < 0 or per_image <= limit:
        return
    if each in chosen:
        values[total] = per_image
    else:
        values[each] = limit

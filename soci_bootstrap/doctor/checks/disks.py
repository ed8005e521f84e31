"""Checks of where SOCI's data lie: beside containerd's, on the array, with room."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.observe.node import Node

_FREE_PERCENT = 10
"""kubelet on EKS evicts pods below this (evictionHard nodefs.available)."""
_INODES_PERCENT = 5
_FULL = 64 << 20
_FULL_INODES = 1000


def database(node: Node) -> Finding:
    """The daemon's open database is the one below its root: a move of the disk would leave it behind."""
    expected = "its open files to be those below its root"
    if isinstance(node.process.astray, Unknown):
        return node.process.astray.judged(expected)
    if node.process.astray:
        return fail(
            f"{node.process.astray}: another file stands there now, as after a move of the disk",
            expected,
            f"drain the node, then systemctl restart {paths.SOCI_SERVICE} containerd, or replace it",
        )
    return ok("they are", expected)


def array(node: Node) -> Finding:
    """Where the NodeConfig asks for an array, both roots are on it."""
    config = node.node_config
    if isinstance(config, Unknown):
        return config.judged("the disk that the NodeConfig asks for")
    if config.raid != "raid0":
        return ok("no RAID0 asked for", "the disk that the NodeConfig asks for")
    expected = f"{node.daemon.root} on the array"
    if not node.live:
        return skip("below --root no array is mounted", expected)
    for disk in (node.containerd_disk, node.soci_disk):
        if isinstance(disk, Unknown):
            return disk.judged(expected)
        if not disk.array:
            return warn(f"on {disk.source}", expected, "let nodeadm set up the disks: replace the node")
    return ok("on the array", expected)


def shared(node: Node) -> Finding:
    """SOCI's root and containerd's lie on one file system, so that their databases live and die together."""
    expected = f"{node.daemon.root} on the file system of {node.containerd.root}"
    soci, containerd = node.soci_disk, node.containerd_disk
    if isinstance(soci, Unknown):
        return soci.judged(expected)
    if isinstance(containerd, Unknown):
        return containerd.judged(expected)
    if soci.device != containerd.device:
        return warn(
            f"SOCI on {soci.source}, containerd on {containerd.source}",
            expected,
            "leave --snapshotter-root out, so that SOCI's root is below containerd's",
        )
    return ok(soci.source or "one file system", expected)


def space(node: Node) -> Finding:
    """There is room for layers."""
    disk = node.soci_disk
    expected = f"at least {_FREE_PERCENT} % free, below which kubelet evicts pods"
    if isinstance(disk, Unknown):
        return disk.judged(expected)
    if not disk.size:
        return skip("its file system does not say", expected)
    percent = disk.free * 100 // disk.size
    found = f"{disk.free / (1 << 30):.1f} GiB ({percent} %) free"
    if disk.free < _FULL:
        return fail(found, expected, "free space: no layer fits any more")
    if percent < _FREE_PERCENT:
        return warn(found, expected, "remove unused images, or give the node a larger disk")
    return ok(found, expected)


def inodes(node: Node) -> Finding:
    """There is room for files."""
    disk = node.soci_disk
    expected = f"at least {_INODES_PERCENT} % of the inodes free"
    if isinstance(disk, Unknown):
        return disk.judged(expected)
    if not disk.inodes:
        return ok("no limit on this file system", expected)
    percent = disk.inodes_free * 100 // disk.inodes
    found = f"{disk.inodes_free} ({percent} %) free"
    if disk.inodes_free < _FULL_INODES:
        return fail(found, expected, "remove files: no layer can be unpacked any more")
    if percent < _INODES_PERCENT:
        return warn(found, expected, "remove unused images, or give the node a larger disk")
    return ok(found, expected)

"""Which containers run on SOCI, told without containerd: by the overlay mounts of their roots."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.system import System

_TASKS = "/io.containerd.runtime.v2.task/"


def on_snapshotter(system: System, root: str) -> bool:
    """Tell whether any running container's root file system comes from below a snapshotter's root.

    A marker would go stale with the containers; their mounts live and die with them, survive a
    restart of containerd and are gone after a reboot. A pod that is up always has its sandbox's.
    """
    needle = f"upperdir={_escaped(root)}/"
    read_only = f"lowerdir={_escaped(root)}/"
    for line in (system.read(paths.MOUNTINFO) or b"").decode("utf-8", "replace").splitlines():
        if " - overlay " in line and _TASKS in line and (needle in line or read_only in line):
            return True
    return False


def mount_points(system: System) -> tuple[str, ...]:
    """Where file systems are mounted now, as mountinfo writes it."""
    lines = (system.read(paths.MOUNTINFO) or b"").decode("utf-8", "replace").splitlines()
    return tuple(words[4] for line in lines if len(words := line.split()) > 4)


def _escaped(path: str) -> str:
    """A path as mountinfo writes it."""
    return path.replace("\\", "\\134").replace(" ", "\\040")

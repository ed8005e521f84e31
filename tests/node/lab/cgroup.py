"""A cgroup (version 2) of its own for each node, so that two nodes' systemds don't meet."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path

from tests.node.lab.rootfs import LabError


def path(name: str) -> str:
    """Where the named top-level group is or would be."""
    return f"{_mount_point()}/{name}"


def within(group: str) -> list[str]:
    """What to put before a command so that it runs there; the group is made."""
    os.makedirs(group, exist_ok=True)
    # Not a preexec_fn: it would run between fork and exec of a process with threads.
    return ["sh", "-c", 'echo 0 > "$0" && exec "$@"', f"{group}/cgroup.procs"]


def remove(group: str) -> None:
    """Kill what is left in it and remove it."""
    with contextlib.suppress(FileNotFoundError):
        Path(group, "cgroup.kill").write_text("1")
    for _ in range(100):
        for place, _names, _files in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(place)
        if not os.path.exists(group):
            return
        time.sleep(0.01)  # killed processes leave their group a moment later
    raise LabError(f"processes stay in {group}")


@functools.cache
def _mount_point() -> str:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return before.split()[4]
    raise LabError("no cgroup2 file system is mounted on this machine")

"""Where a directory's data lie, and how much room is there."""

from __future__ import annotations

import os

from soci_bootstrap import paths
from soci_bootstrap.doctor import outputs
from soci_bootstrap.doctor.finding import Unseen, attempt
from soci_bootstrap.doctor.node import Disk
from soci_bootstrap.system import System


def observe(system: System, path: str) -> Disk:
    """The file system of ``path``, or of the nearest directory above it that exists.

    Raises:
        OSError: it can't be looked at.
    """
    host = system.path(system.followed(_existing(system, path)))
    room, device = os.statvfs(host), os.stat(host).st_dev
    source = attempt(lambda: mount(system, path)[0])
    return Disk(
        device=device,
        source="" if isinstance(source, Unseen) else source,
        free=room.f_bavail * room.f_frsize,
        size=room.f_blocks * room.f_frsize,
        inodes_free=room.f_favail,
        inodes=room.f_files,
    )


def mount(system: System, path: str) -> tuple[str, tuple[str, ...]]:
    """What is mounted where a path lies, and how; nothing is known of that below ``--root``."""
    if not system.live:
        return "", ()
    data = system.read(paths.MOUNTINFO) or b""
    return outputs.mount_of(data.decode("utf-8", "replace"), os.path.realpath(path))


def _existing(system: System, path: str) -> str:
    while path != "/" and system.entry(system.followed(path)).kind == "absent":
        path = os.path.dirname(path)
    return path

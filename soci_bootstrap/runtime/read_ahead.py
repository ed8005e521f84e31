"""Read programs from a cold disk before anything times them."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.system import System


def read_ahead(system: System, daemon: str = paths.DAEMON) -> None:
    """Have the kernel read containerd, its client and SOCI's daemon, and don't wait for that.

    The first read of a program on a volume that is restored from a snapshot takes seconds (amazon-eks-ami,
    pull request 2011); a time limit that runs out over it says nothing about the program.

    Args:
        system: the node; nothing below ``--root``.
        daemon: SOCI's, where the node has one.
    """
    if system.live:
        for program in (system.which("ctr"), system.which("containerd"), daemon):
            if program:
                system.read_ahead(program)

"""A release of SOCI that whoever measures has: ``--release FILE``."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from soci_bootstrap.errors import UsageError
from soci_bootstrap.fetch.release import canonical, pinned_as
from tests.node.lab.soci.build import Release, this_arch

_NAME = re.compile(r"soci-snapshotter-(\d+\.\d+\.\d+)-linux-(amd64|arm64)(-static)?\.tar\.gz")
_DAEMON = "soci-snapshotter-grpc"


def opened(path: str) -> Release:
    """The release in a file, whose name says which it is.

    Raises:
        UsageError: it is none, or none for this machine, or has no parallel pull.
    """
    remedy = f"expected soci-snapshotter-V-linux-{this_arch()}.tar.gz as upstream publishes it"
    match = _NAME.fullmatch(Path(path).name)
    if not match or match[2] != this_arch():
        raise UsageError([f"--release {path} is no release for this machine by its name"], remedy)
    version = canonical(match[1])
    try:
        data = Path(path).read_bytes()
        with tarfile.open(path) as archive:
            member = archive.extractfile(_DAEMON)
            binary = member.read() if member else b""
    except (OSError, EOFError, tarfile.TarError, KeyError) as error:
        raise UsageError([f"--release {path} can't be read: {error}"], remedy) from error
    return Release(version, match[2], data, binary)


def described(release: Release) -> str:
    """Which release it is, and whether it is what upstream published."""
    pinned = pinned_as(release.sha256)
    origin = f"pinned as {pinned}" if pinned else "unpinned"
    return f"{release.name}, sha256 {release.sha256}, {origin}"

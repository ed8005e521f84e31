"""`mirror DEST`: fetch and verify the pinned releases, laid out as ``--mirror`` reads them."""

from __future__ import annotations

import os

from soci_bootstrap.errors import UsageError
from soci_bootstrap.fetch import release
from soci_bootstrap.fetch.mirror import PATIENCE, MirrorResult, mirror
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import DEFAULT
from soci_bootstrap.settings import Settings
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline


def run(settings: Settings, console: Console) -> MirrorResult:
    """Fetch what is missing; whatever fails, the rest is still fetched.

    Raises:
        UsageError: DEST is no place to write to.
    """
    seconds = settings.deadline if "deadline" in settings.given else PATIENCE
    if (settings.mirror or "").rstrip("/") == (settings.operand or "").rstrip("/"):
        raise UsageError([f"--mirror and DEST are both {settings.operand}: expected a place to fetch from"])
    return mirror(
        wanted(settings), settings.operand or "", Deadline(seconds), console, os.environ, policy=DEFAULT
    )


def wanted(settings: Settings) -> tuple[Request, ...]:
    """Every pinned version and architecture, or those that were asked for."""
    versions = (settings.soci_version,) if settings.soci_version else tuple(release.PINNED)
    architectures = (settings.arch,) if settings.arch else release.ARCHITECTURES
    return tuple(
        Request(version, arch, sha256=settings.sha256, mirror=settings.mirror)
        for version in versions
        for arch in architectures
    )

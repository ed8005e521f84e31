"""`mirror DEST`: fetch and verify the pinned releases, laid out as ``--mirror`` reads them."""

from __future__ import annotations

import os
from dataclasses import asdict

from soci_bootstrap.cli.result import Result
from soci_bootstrap.errors import UsageError
from soci_bootstrap.fetch import release
from soci_bootstrap.fetch.mirror import PATIENCE, Mirrored, mirror
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import DEFAULT
from soci_bootstrap.settings import Settings
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline


def run(settings: Settings, console: Console) -> Result:
    """Fetch what is missing; whatever fails, the rest is still fetched.

    Returns:
        ``document`` has ``outcome`` (``done`` or ``failed``), ``reason``, ``destination`` and ``files``
        (``path``, ``sha256``, ``size``, ``fetched``); ``text`` has a line a file, as sha256sum writes it.

    Raises:
        UsageError: DEST is no place to write to.
    """
    seconds = settings.deadline if "deadline" in settings.given else PATIENCE
    if (settings.mirror or "").rstrip("/") == (settings.operand or "").rstrip("/"):
        raise UsageError([f"--mirror and DEST are both {settings.operand}: expected a place to fetch from"])
    destination = settings.operand or ""
    mirrored = mirror(wanted(settings), destination, Deadline(seconds), console, os.environ, policy=DEFAULT)
    return _result(destination, mirrored)


def _result(destination: str, mirrored: Mirrored) -> Result:
    failed = bool(mirrored.failures)
    document = {
        "outcome": "failed" if failed else "done",
        "reason": "; ".join(mirrored.failures) or None,
        "destination": destination,
        "files": [asdict(file) for file in mirrored.files],
    }
    lines = [f"{file.sha256}  {file.path}" for file in mirrored.files]
    if not failed:
        lines.append(f"# nodes take releases from here with --mirror {destination}")
    return Result(1 if failed else 0, document, "\n".join(lines))


def wanted(settings: Settings) -> tuple[Request, ...]:
    """Every pinned version and architecture, or those that were asked for."""
    versions = (settings.soci_version,) if settings.soci_version else tuple(release.PINNED)
    architectures = (settings.arch,) if settings.arch else release.ARCHITECTURES
    return tuple(
        Request(version, arch, sha256=settings.sha256, mirror=settings.mirror)
        for version in versions
        for arch in architectures
    )

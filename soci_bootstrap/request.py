"""Which release to fetch, and from where."""

from __future__ import annotations

import re
from dataclasses import dataclass

from soci_bootstrap.errors import UsageError
from soci_bootstrap.redact import redact_url
from soci_bootstrap.releases import ARCHITECTURES, UPSTREAM, asset_path, parse_version, pinned_digest

SCHEMES = ("https", "http", "s3", "file")


@dataclass(frozen=True)
class Request:
    """One release of SOCI."""

    version: str
    arch: str
    sha256: str | None = None
    """What the archive must hash to; None: what is pinned, else what the source itself says."""
    mirror: str | None = None
    """A URL, ``s3://bucket/prefix`` or directory in place of upstream's release page."""
    tarball: str | None = None
    """A local archive in place of any of these."""

    def digest(self) -> str | None:
        """What the archive must hash to, where that is known beforehand; ``sha256`` goes first."""
        return self.sha256.lower() if self.sha256 else pinned_digest(self.version, self.arch)

    def location(self) -> str:
        """The URL or path of the archive. A mirror's query string, such as a SAS token, stays at the end."""
        if self.tarball is not None:
            return self.tarball
        base, question, query = (self.mirror or UPSTREAM).partition("?")
        return f"{base.rstrip('/')}/{asset_path(self.version, self.arch)}{question}{query}"

    def is_local(self) -> bool:
        """Whether the archive is a file that is here already, and its owner's to keep."""
        scheme, separator, _ = self.location().partition("://")
        return not separator or scheme.lower() == "file"

    def check(self) -> None:
        """See that it can be served safely, before anything is changed or asked of the network.

        Raises:
            UsageError: with every problem found.
        """
        problems = self.problems()
        if problems:
            raise UsageError(problems)

    def problems(self) -> list[str]:
        """Why it can't be served safely, whatever the network; empty if it can."""
        problems: list[str] = []
        try:
            parse_version(self.version)
        except UsageError as error:
            problems.extend(error.problems)
        if self.arch not in ARCHITECTURES:
            problems.append(f"unknown architecture {self.arch[:40]!r}: expected {' or '.join(ARCHITECTURES)}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            problems.append(f"--sha256 {self.sha256[:80]!r} is no digest: expected 64 hexadecimal digits")
        if self.mirror is not None and self.tarball is not None:
            problems.append("both --mirror and --tarball are given: expected one of them")
        return problems or self._unsafe()

    def _unsafe(self) -> list[str]:
        scheme = self.mirror.split("://", 1)[0].lower() if self.mirror and "://" in self.mirror else ""
        if scheme and scheme not in SCHEMES:
            schemes = ", ".join(f"{known}://" for known in SCHEMES)
            return [f"--mirror {redact_url(self.mirror or '')}: expected {schemes} or a directory"]
        if scheme in ("https", "http") and not _is_url(self.mirror or ""):
            return [f"--mirror {redact_url(self.mirror or '')} is not a URL: expected https://host/path"]
        if self.digest() is not None:
            return []
        what = f"the digest of SOCI {self.version} is not pinned"
        if scheme == "http":
            return [f"--mirror is plain http and {what}: give it with --sha256, or use https"]
        if self.tarball is not None:
            return [f"--tarball is given and {what}: give it with --sha256"]
        return []


def _is_url(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False

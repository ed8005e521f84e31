"""Which releases of the SOCI snapshotter there are, what they must hash to and where they stand.

Source of the digests: sha256 of the published assets as public packagers pin them. A new release
is added here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from soci_bootstrap.errors import UsageError

SCHEMES = ("https", "http", "s3", "file")
#: A zipapp's URL: what may stand in one, minus the characters that shells, HCL or SSM would act upon.
ZIPAPP_URL = re.compile(
    r"(?:https|s3)://(?:[A-Za-z0-9][A-Za-z0-9.:_-]*|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?)"
    r"/[A-Za-z0-9._~:/?#@!&()*+,;=%-]+"
)

UPSTREAM = "https://github.com/awslabs/soci-snapshotter/releases/download"

MINIMUM = (0, 11, 0)
"""The first release with parallel pull and unpack."""

ARCHITECTURES = ("amd64", "arm64")

PINNED: Mapping[str, Mapping[str, str]] = {
    "0.11.1": {
        "amd64": "52d72692880150f974a48dbfa44bff01f1a3ba97815658cc16f835e5e7f96d49",
        "arm64": "da055b182000dbac3e916a8c731cbc0d7a204791311260c94d960a1160d25b3e",
    },
    "0.12.1": {
        "amd64": "32518cdcd13ed099a5f201f32e10c917aa2958a4c196af5990b7bef37ac38b5d",
        "arm64": "ad30043d3bddaf98007c1dee2eec45cbd6663d9d6e1946eb132b1dc2aef7544d",
    },
    "0.13.0": {
        "amd64": "8951d87d6d17d719f7155d89f25ce08e139c3b48ef3323ee8e347de2d8c2d555",
        "arm64": "dab5117cc50b0343521ae9f6dc691b4d3ab5f7eb19404d1f7c35524b48bcdad5",
    },
    "0.14.1": {
        "amd64": "1a8dba2a14c1ba8b65e0b935ef697e22eb8324759961a65296e656dd724d9441",
        "arm64": "c01ecb402ac7930bcfcf6571f76da541d7054626337d7211dac0b11a9bd05ddc",
    },
    "0.15.0": {
        "amd64": "d34f610d88b19bec1fa4e0591e2ec0950c0bca73a16a66c56dffe843aa6611fa",
        "arm64": "3b562de8c4caf7470d614f6bd9268951d054e3f53c3a11acf5281269d0023bb8",
    },
}
"""version -> architecture -> sha256 of the release archive, oldest version first."""

NEWEST = "0.15.0"
"""The version to install where the user names none."""

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})", re.ASCII)


def parse_version(text: str) -> tuple[int, int, int]:
    """``0.15.0`` or ``v0.15.0`` as numbers.

    Raises:
        UsageError: not three numbers, or older than parallel pull.
    """
    match = _VERSION.fullmatch(text)
    if not match:
        raise UsageError(
            [f"{text[:40]!r} is not a SOCI version: expected three numbers such as {NEWEST}"],
            remedy=f"pinned are {', '.join(PINNED)}",
        )
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < MINIMUM:
        raise UsageError(
            [f"SOCI {text} has no parallel pull: expected {'.'.join(map(str, MINIMUM))} or newer"],
            remedy=f"pinned are {', '.join(PINNED)}",
        )
    return version


def canonical(text: str) -> str:
    """``v0.15.0`` as ``0.15.0``, the form that all else takes; raises as ``parse_version``."""
    return ".".join(map(str, parse_version(text)))


def pinned_digest(version: str, arch: str) -> str | None:
    """Return the archive's sha256 in lower-case hex, None for a version or architecture not pinned."""
    return PINNED.get(version, {}).get(arch)


def pinned_as(digest: str) -> str | None:
    """Which release has this digest, as ``0.14.1 arm64``; None if none of the pinned ones."""
    for version, digests in PINNED.items():
        for arch, pinned in digests.items():
            if pinned == digest:
                return f"{version} {arch}"
    return None


def asset_path(version: str, arch: str) -> str:
    """Name the archive's path below ``UPSTREAM`` and below any ``--mirror``."""
    return f"v{version}/soci-snapshotter-{version}-linux-{arch}.tar.gz"


@dataclass(frozen=True)
class Request:
    """One release of SOCI, of values that settings have checked."""

    version: str
    arch: str
    sha256: str | None = None
    """The digest to require; None: the pinned one, else the one that the source itself gives."""
    mirror: str | None = None
    """A URL, ``s3://bucket/prefix`` or directory in place of upstream's release page."""
    tarball: str | None = None
    """A local archive in place of any of these."""

    def digest(self) -> str | None:
        """Return the digest to require, None where none is known beforehand; ``sha256`` goes first."""
        return self.sha256 or pinned_digest(self.version, self.arch)

    def location(self) -> str:
        """Name the archive's URL or path. A mirror's query string, such as a SAS token, stays at the end."""
        if self.tarball is not None:
            return self.tarball
        base, question, query = (self.mirror or UPSTREAM).partition("?")
        return f"{base.rstrip('/')}/{asset_path(self.version, self.arch)}{question}{query}"

    def is_local(self) -> bool:
        """Tell if the archive is a file of this machine, and its owner's to keep."""
        scheme, separator, _ = self.location().partition("://")
        return not separator or scheme.lower() == "file"

    def unsafe(self) -> str | None:
        """Tell why nothing would prove that the archive is the one asked for; None where something does."""
        if self.digest() is not None:
            return None
        unpinned = f"the digest of SOCI {self.version} is not pinned"
        if self.tarball is not None:
            return f"--tarball is given and {unpinned}: give it with --sha256"
        if (self.mirror or "").lower().startswith("http://"):
            return f"--mirror is plain http and {unpinned}: give it with --sha256, or use https"
        return None

"""Find the digest that an archive must have, and compare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from soci_bootstrap.errors import ArchiveError, DigestMismatchError, FetchError, UsageError
from soci_bootstrap.fetch.download import Download
from soci_bootstrap.fetch.release import Request, asset_path, pinned_as
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.fetch.sources import source
from soci_bootstrap.redact import redact_text, redact_url
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

_SIDECAR_LIMIT = 4096


@dataclass(frozen=True)
class Expected:
    """A digest and its source."""

    sha256: str
    by: str
    """The source, for messages."""
    warning: str | None = None
    requests: int = 0


def expected_digest(
    request: Request, deadline: Deadline, console: Console, environ: Mapping[str, str], policy: RetryPolicy
) -> Expected:
    """Return the digest given or pinned, else the one beside the archive (``.sha256sum``), with a warning.

    Raises:
        UsageError: nobody would be asked who can be believed.
        FetchError: there is none, or it is not one.
    """
    known = request.digest()
    if known is not None:
        return Expected(known, "--sha256" if request.sha256 else "pinned in soci-bootstrap")
    unsafe = request.unsafe()
    if unsafe is not None:
        raise UsageError([unsafe])
    base, question, query = request.location().partition("?")
    location = f"{base}.sha256sum{question}{query}"
    download = Download(source(location, environ), deadline, console, policy=policy, limit=_SIDECAR_LIMIT)
    body = b""
    with closing(download.blocks()) as blocks:
        for block in blocks:
            body = body[: block.offset] + block.data
    name = redact_url(location)
    warning = (
        f"the digest of SOCI {request.version} {request.arch} is not pinned: it was read from {name}, "
        "of the same origin as the archive; --sha256 would prove more"
    )
    digest = _parse(body, asset_path(request.version, request.arch).rsplit("/", 1)[1], name)
    return Expected(digest, name, warning, download.requests)


def check_digest(request: Request, expected: Expected, found: str, flaw: ArchiveError | None) -> None:
    """Raise ``DigestMismatchError`` naming both digests unless ``found`` is as expected.

    Args:
        request: what was fetched.
        expected: the digest it must have.
        found: the digest it has.
        flaw: what else is wrong with the archive, which often says why.
    """
    if found == expected.sha256:
        return
    release = pinned_as(found)
    also = f" (the archive of SOCI {release})" if release else f" ({flaw.problem})" if flaw else ""
    deleted = "" if request.is_local() else ", and was deleted"
    raise DigestMismatchError(
        f"{redact_url(request.location())} is not SOCI {request.version} {request.arch}{deleted}",
        found=f"sha256 {found}{also}",
        expected=f"{expected.sha256} ({expected.by})",
        remedy="fetch the release's own archive, or give this one's --sha256 if you trust it",
    )


def _parse(body: bytes, asset: str, name: str) -> str:
    """Read the digest of this asset from sha256sum's format."""
    for line in body.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{64})(?:\s+\*?(?:\S*/)?(\S+))?\s*", line)
        if match and match[2] in (None, asset):
            return match[1].lower()
    raise FetchError(
        f"{name} holds no digest",
        found=redact_text(body.decode("utf-8", "replace"), 80) or "an empty file",
        expected=f"64 hexadecimal digits and {asset}",
        remedy="give the digest with --sha256",
    )

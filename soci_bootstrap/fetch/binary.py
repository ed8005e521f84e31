"""Fetch a release and put its one binary into a staged file, in one pass over the bytes.

The archive streams from the source; its sha256, its gunzip, the binary's own sha256 and the writing
run side by side. Nobody may use the staged file before ``fetch_binary`` returns: until then the
digest of the whole archive isn't known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, final

from soci_bootstrap.errors import ArchiveError
from soci_bootstrap.fetch.digest import Expected, check_digest, expected_digest
from soci_bootstrap.fetch.download import Download
from soci_bootstrap.fetch.gunzip import Gunzip, load_igzip
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import DEFAULT, RetryPolicy
from soci_bootstrap.fetch.sources import source
from soci_bootstrap.fetch.staged import StagedFile
from soci_bootstrap.fetch.tar import LIMIT, TarReader
from soci_bootstrap.fetch.threads import Data, Worker
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.signals import deferred

__all__ = ["Fetched", "Request", "fetch_binary"]

ARCHIVE_LIMIT = 512 << 20
"""Bytes: a release archive has about 30 MB."""


@dataclass(frozen=True)
class Fetched:
    """The staged file's contents, and their source."""

    archive_sha256: str
    binary_sha256: str
    binary_size: int
    warning: str | None
    """A caution about the source of the digest, for the user."""
    requests: int
    """Requests made, failed ones and the digest's included."""
    seconds_waited: float
    """Seconds spent backing off."""


def fetch_binary(
    request: Request,
    staged_path: str,
    deadline: Deadline,
    console: Console,
    environ: Mapping[str, str],
    *,
    policy: RetryPolicy = DEFAULT,
) -> Fetched:
    """Fetch the release, check it, and leave its binary in ``staged_path``.

    Args:
        request: which release, from where.
        staged_path: a file that does not exist yet, on its target's file system.
        deadline: bounds everything.
        console: progress and retries.
        environ: proxies, CA bundle, the aws CLI's settings: the process's own, over those that
            nodeadm puts into the node's environment.
        policy: when to try again.

    Raises:
        UsageError: nothing would prove that the archive is the one asked for; see ``Request.unsafe``.
        FetchError: nothing could be fetched, or it could not be written.
        DigestMismatchError: final.
        ArchiveError: the archive is not one that we take anything from.
        DeadlineError: the time is up.
    """
    expected = expected_digest(request, deadline, console, environ, policy)
    origin = source(request.location(), environ)
    console.info(f"fetching {origin.name}")
    download = Download(origin, deadline, console, policy=policy, limit=ARCHIVE_LIMIT)
    begin = partial(_Extraction, staged_path, load_igzip())
    with download.into(begin, partial(console.progress, "fetching")) as extraction:
        archive_sha256 = extraction.finish(request, expected)
        return Fetched(
            archive_sha256=archive_sha256,
            binary_sha256=extraction.binary_sha256.hexdigest(),
            binary_size=extraction.binary_size,
            warning=expected.warning,
            requests=download.requests + expected.requests,
            seconds_waited=download.waited,
        )


@final
class _Extraction:
    """One pass over one archive: three workers and a staged file that live and die together."""

    def __init__(self, staged_path: str, igzip: Any | None) -> None:
        self.archive_sha256 = hashlib.sha256()
        self.binary_sha256 = hashlib.sha256()
        self.binary_size = 0
        self._staged = StagedFile(staged_path)
        self._archive_hasher = Worker("sha256 of the archive", self.archive_sha256.update)
        self._binary_hasher = Worker("sha256 of the binary", self.binary_sha256.update)
        self._writer = Worker("writing", self._staged.write)
        self._gunzip = Gunzip(igzip, LIMIT)
        self._tar = TarReader(self._begin, self._member)
        self._flaw: ArchiveError | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Extraction:
        with ExitStack() as stack:
            for part in (self._staged, self._archive_hasher, self._binary_hasher, self._writer):
                stack.enter_context(part)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with deferred():
            self._stack.__exit__(kind, error, trace)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the archive.

        An archive that is no good is read to its end all the same: if its digest is wrong, then
        that is what is wrong with it, and both digests can be named.
        """
        self._archive_hasher.put(data)
        if self._flaw is not None:
            return
        try:
            for piece in self._gunzip.feed(data):
                self._tar.feed(piece)
        except ArchiveError as flaw:
            self._flaw = flaw

    def finish(self, request: Request, expected: Expected) -> str:
        """Judge: first the digest, then the archive; only then is the file kept."""
        self._archive_hasher.finish()
        digest = self.archive_sha256.hexdigest()
        if self._flaw is None:
            try:
                self._gunzip.finish()
                self._tar.finish()
            except ArchiveError as flaw:
                self._flaw = flaw
        check_digest(request, expected, digest, self._flaw)
        if self._flaw is not None:
            raise self._flaw
        self._writer.finish()
        self._binary_hasher.finish()
        self._staged.keep()
        return digest

    def _begin(self, size: int) -> None:
        self.binary_size = size
        self._staged.reserve(size)

    def _member(self, data: Data) -> None:
        self._writer.put(data)
        self._binary_hasher.put(data)

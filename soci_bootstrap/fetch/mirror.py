"""`mirror DEST`: the pinned releases, the zipapp and the stub, laid out as ``--mirror`` reads them.

Below DEST: ``v{V}/soci-snapshotter-{V}-linux-{arch}.tar.gz`` and its ``.sha256sum``, the zipapp and
its ``.sha256``, ``bootstrap.sh`` with that digest in it, and ``index.json`` with the digest of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.fetch import (
    http,  # noqa: F401 - `source` imports these two, which no thread may be the first to do
    mirror_archive,
    release,
    s3,  # noqa: F401
)
from soci_bootstrap.fetch.digest import expected_digest
from soci_bootstrap.fetch.mirror_store import Store, store
from soci_bootstrap.fetch.release import ZIPAPP_URL, Request
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.system import resources
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.threads import Task

PARALLEL = 4
"""Archives fetched at once."""

PATIENCE = 3600.0
"""Seconds for all of it unless --deadline is given: no node waits for this."""

INDEX = "index.json"
ZIPAPP = "soci-bootstrap.pyz"
STUB = "bootstrap.sh"


@dataclass(frozen=True)
class MirroredFile:
    """One file of the mirror; ``fetched`` is False where it was there and right already."""

    path: str
    sha256: str
    size: int
    fetched: bool


@dataclass(frozen=True)
class Mirrored:
    """The files that stand below DEST now, and why others could not be had, a sentence each."""

    files: tuple[MirroredFile, ...]
    failures: tuple[str, ...]


def mirror(
    requests: Sequence[Request],
    destination: str,
    deadline: Deadline,
    console: Console,
    environ: Mapping[str, str],
    *,
    policy: RetryPolicy,
) -> Mirrored:
    """Bring ``requests``, the zipapp and the stub to ``destination``.

    Args:
        requests: which releases, from where.
        destination: a directory, ``file://`` or ``s3://`` URL.
        deadline: bounds everything.
        console: progress.
        environ: proxies, CA bundle, the aws CLI's settings.
        policy: when to try again.

    Raises:
        UsageError: another kind of destination.
    """
    to = store(destination, deadline, environ)
    index = _read_index(to)
    progress = _Progress(console)
    slots = threading.Semaphore(PARALLEL)

    def archive(request: Request) -> list[MirroredFile]:
        path = release.asset_path(request.version, request.arch)
        expected = expected_digest(request, deadline, console, environ, policy)
        if expected.warning:
            console.warn(expected.warning)
        size = to.size_if(path, expected.sha256)
        fetched = size is None
        if size is None:
            with (
                to.room(path, expected.sha256) as target,
                mirror_archive.archive(
                    request, expected, target, deadline, progress, environ, policy
                ) as size,
            ):
                to.put_file(path, target, expected.sha256)
            console.info(f"{path}: fetched")
        else:
            console.info(f"{path}: there already")
        line = f"{expected.sha256}  {path.rsplit('/', 1)[1]}\n".encode()
        return [MirroredFile(path, expected.sha256, size, fetched), _small(to, f"{path}.sha256sum", line)]

    def in_turn(request: Request) -> list[MirroredFile]:
        with slots:
            return archive(request)

    files: list[MirroredFile] = []
    failures: set[str] = set()
    for task in [Task(partial(in_turn, request)) for request in requests]:
        try:
            files += task.result()
        except BootstrapError as error:
            failures.add(str(error))
    files += _ourselves(to, destination, console)
    index.update({file.path: {"sha256": file.sha256, "size": file.size} for file in files})
    _small(to, INDEX, (json.dumps({"files": index}, indent=1, sort_keys=True) + "\n").encode())
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return Mirrored(ordered, tuple(sorted(failures)))


def _ourselves(to: Store, destination: str, console: Console) -> list[MirroredFile]:
    """Put the running zipapp, its digest and the stub that fetches it."""
    agent = resources.agent_bytes()
    if agent is None:
        console.warn(
            f"this is not the zipapp, so {ZIPAPP} and {STUB} are left out: run dist/{ZIPAPP} mirror for them"
        )
        return []
    digest = hashlib.sha256(agent).hexdigest()
    stub = resources.read(STUB).decode("ascii").replace("@ZIPAPP_SHA256@", digest)
    url = f"{destination.rstrip('/')}/{ZIPAPP}"
    # For a directory only the user knows by which URL nodes will see it, and a shell acts on some characters.
    if destination.startswith("s3://") and ZIPAPP_URL.fullmatch(url):
        stub = stub.replace("@ZIPAPP_URL@", url)
    return [
        _small(to, ZIPAPP, agent),
        _small(to, f"{ZIPAPP}.sha256", f"{digest}  {ZIPAPP}\n".encode()),
        _small(to, STUB, stub.encode("ascii")),
    ]


def _small(to: Store, path: str, data: bytes) -> MirroredFile:
    digest = hashlib.sha256(data).hexdigest()
    there = to.size_if(path, digest) is not None
    if not there:
        with to.room(path, digest) as target:
            with open(target, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            to.put_file(path, target, digest)
    return MirroredFile(path, digest, len(data), not there)


def _read_index(to: Store) -> dict[str, object]:
    """Read what an earlier run listed and is still there: a narrower run must not forget the rest."""
    try:
        files = json.loads(to.read(INDEX) or b"{}")["files"]
        return {
            path: {"sha256": entry["sha256"], "size": entry["size"]}
            for path, entry in files.items()
            if to.size_if(path, entry["sha256"]) == entry["size"]
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


class _Progress:
    """One bar for all archives, told of from several threads."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._done: dict[str, tuple[int, int]] = {}

    def __call__(self, name: str, done: int, total: int | None) -> None:
        with self._lock:
            self._done[name] = (done, total or done)
            so_far, in_all = (sum(column) for column in zip(*self._done.values()))
            self.console.progress(f"mirroring {len(self._done)} archives", so_far, in_all)

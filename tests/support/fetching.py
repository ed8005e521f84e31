"""A fetch to test: where it goes, what it says, what is asked for."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

from soci_bootstrap.fetch.binary import Fetched, fetch_binary
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from tests.support.corpus import servers

QUICK = RetryPolicy(attempts=4, base=0.001)
DIGEST = hashlib.sha256(servers.BODY).hexdigest()
PATH = "v0.15.0/soci-snapshotter-0.15.0-linux-amd64.tar.gz"


class Run:
    """A fetch into a directory of its own, and what it said."""

    def __init__(self, tmp_path, deadline: float = 15.0, policy: RetryPolicy = QUICK) -> None:
        self.staged = tmp_path / "place" / "soci-snapshotter-grpc.tmp"
        self.staged.parent.mkdir()
        self.said = io.StringIO()
        self.deadline = deadline
        self.policy = policy

    def __call__(self, request: Request, **environ: str) -> Fetched:
        return fetch_binary(
            request,
            str(self.staged),
            Deadline(self.deadline),
            Console(1, self.said),
            environ,
            policy=self.policy,
        )


def wanted(data: bytes = servers.BODY, **changes) -> Request:
    return replace(Request("0.15.0", "amd64", sha256=hashlib.sha256(data).hexdigest()), **changes)


def written(directory, data: bytes = servers.BODY, path: str = PATH):
    target = directory / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target

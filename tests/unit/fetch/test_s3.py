from __future__ import annotations

import hashlib
import io

import pytest

from soci_bootstrap.errors import DeadlineError, DigestMismatchError, FetchError
from soci_bootstrap.fetch.binary import fetch_binary
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from tests.support.corpus import servers
from tests.support.corpus.aws import install_aws, put

pytestmark = pytest.mark.subprocess

OBJECT = "bucket/prefix/v0.15.0/soci-snapshotter-0.15.0-linux-amd64.tar.gz"
REQUEST = Request(
    "0.15.0", "amd64", sha256=hashlib.sha256(servers.BODY).hexdigest(), mirror="s3://bucket/prefix/"
)


class Node:
    def __init__(self, directory) -> None:
        self.directory = directory
        self.environ = install_aws(directory)
        self.staged = directory / "staged.tmp"
        self.said = io.StringIO()

    def fetch(self, request: Request = REQUEST, deadline: float = 20.0):
        policy = RetryPolicy(attempts=3, base=0.001)
        console = Console(1, self.said)
        return fetch_binary(
            request, str(self.staged), Deadline(deadline), console, self.environ, policy=policy
        )

    def calls(self) -> list[str]:
        log = self.directory / "aws.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def node(tmp_path) -> Node:
    return Node(tmp_path)


def test_good(node) -> None:
    put(node.directory, OBJECT, servers.BODY)
    node.fetch()
    assert node.staged.read_bytes() == servers.PROGRAM
    assert node.calls() == [f"s3 cp s3://{OBJECT} - --only-show-errors --no-progress"]


def test_a_cli_that_talks_a_lot_does_not_get_stuck(node) -> None:
    put(node.directory, OBJECT, servers.BODY)
    node.environ["AWS_CHATTER"] = "100000"
    node.fetch()
    assert node.staged.read_bytes() == servers.PROGRAM


def test_cut_once(node) -> None:
    put(node.directory, OBJECT, servers.BODY)
    (node.directory / "cut").touch()
    assert node.fetch().requests == 2
    assert node.staged.read_bytes() == servers.PROGRAM
    assert servers.SECRET not in node.said.getvalue()


def test_another_archive(node) -> None:
    put(node.directory, OBJECT, servers.OLD)
    with pytest.raises(DigestMismatchError):
        node.fetch()
    assert not node.staged.exists()


@pytest.mark.parametrize(
    ("says", "calls", "found"),
    [
        ("fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden", 1, "403"),
        ("fatal error: Unable to locate credentials", 1, "Unable to locate credentials"),
        ("An error occurred (NoSuchBucket) when calling GetObject: it does not exist", 1, "NoSuchBucket"),
        ("fatal error: Could not connect to the endpoint URL: https://s3.test/?sig=hunter2", 3, "3 requests"),
        ("fatal error: An error occurred (SlowDown) when calling GetObject: reduce your rate", 3, "SlowDown"),
    ],
)
def test_failures(node, says: str, calls: int, found: str) -> None:
    put(node.directory, OBJECT, servers.BODY)
    node.environ["AWS_SAYS"] = says
    with pytest.raises(FetchError, match=found) as caught:
        node.fetch()
    assert len(node.calls()) == calls
    assert servers.SECRET not in str(caught.value) + node.said.getvalue()
    assert not node.staged.exists()


def test_missing_object(node) -> None:
    with pytest.raises(FetchError, match="404"):
        node.fetch()


def test_no_cli(node) -> None:
    node.environ["PATH"] = str(node.directory / "empty")
    with pytest.raises(FetchError, match="the aws CLI does not start"):
        node.fetch()


def test_a_cli_that_hangs_is_ended_at_the_deadline(node) -> None:
    put(node.directory, OBJECT, servers.BODY)
    (node.directory / "hang").touch()
    with pytest.raises((DeadlineError, FetchError), match="deadline"):
        node.fetch(deadline=1.0)
    assert not node.staged.exists()

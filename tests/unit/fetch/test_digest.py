"""Which digest an archive must have, and what is said where it has another."""

from __future__ import annotations

import pytest

from soci_bootstrap.errors import DigestMismatchError, FetchError
from soci_bootstrap.fetch.release import Request
from tests.support.corpus import servers
from tests.support.fetching import DIGEST, Run, written


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


def beside(digest: str, status: int = 200) -> servers.Behave:
    def behave(x: servers.Exchange) -> None:
        if x.path.endswith(".sha256sum"):
            x.reply(status, digest.encode())
        else:
            x.reply(200, servers.BODY)

    return behave


def test_a_version_that_is_not_pinned_is_believed_of_its_own_origin_with_a_warning(run) -> None:
    asset = "soci-snapshotter-0.99.0-linux-amd64.tar.gz"
    with servers.Server(beside(f"{DIGEST}  {asset}\n"), "server.pem") as server:
        fetched = run(Request("0.99.0", "amd64", mirror=server.origin), SSL_CERT_FILE=servers.CA)
        assert [seen.path for seen in server.seen] == [f"/v0.99.0/{asset}.sha256sum", f"/v0.99.0/{asset}"]
    assert fetched.warning is not None
    assert "not pinned" in fetched.warning
    assert fetched.requests == 2


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("0" * 64, 200, "is not SOCI 0.99.0 amd64"),
        (f"{DIGEST}  another.tar.gz\n", 200, "holds no digest"),
        ("<html>", 200, "holds no digest: found <html>"),
        ("", 200, "found an empty file"),
        ("f" * 10_000, 200, "too large"),
        ("", 404, "HTTP status 404"),
    ],
)
def test_digests_that_are_none(run, text: str, status: int, error: str) -> None:
    with servers.Server(beside(text, status), "server.pem") as server, pytest.raises(FetchError, match=error):
        run(Request("0.99.0", "amd64", mirror=server.origin), SSL_CERT_FILE=servers.CA)
    assert not run.staged.exists()


def test_the_digest_that_is_given_overrides_the_pinned_one(run, tmp_path) -> None:
    written(tmp_path)
    with pytest.raises(DigestMismatchError) as caught:
        run(Request("0.15.0", "amd64", mirror=str(tmp_path)))
    assert DIGEST in str(caught.value)
    assert "d34f610d88b19bec1fa4e0591e2ec0950c0bca73a16a66c56dffe843aa6611fa (pinned" in str(caught.value)
    # What lies in a directory of the user's is not ours to delete.
    assert "deleted" not in str(caught.value)
    run(Request("0.15.0", "amd64", sha256=DIGEST, mirror=str(tmp_path)))
    assert run.staged.read_bytes() == servers.PROGRAM

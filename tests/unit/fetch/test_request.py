"""Requests that no network could serve safely."""

from __future__ import annotations

import pytest

from soci_bootstrap.errors import UsageError
from soci_bootstrap.fetch.release import Request
from tests.support.fetching import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Request("0.99.0", "amd64", mirror="http://mirror.test"), "plain http"),
        (Request("0.99.0", "amd64", tarball="x.tar.gz"), "--tarball is given"),
        (Request("0.99.0", "amd64", mirror="HTTP://mirror.test"), "plain http"),
    ],
)
def test_requests_that_are_refused_before_anything_happens(run, request_: Request, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        run(request_)
    assert run.said.getvalue() == ""


def test_a_digest_makes_any_place_safe() -> None:
    for place in ({"mirror": "http://mirror.test"}, {"tarball": "x.tar.gz"}):
        assert Request("0.99.0", "amd64", sha256="ab" * 32, **place).unsafe() is None
        assert Request("0.15.0", "amd64", **place).unsafe() is None
    for mirror in (None, "https://mirror.test", "s3://bucket", "/srv/mirror"):
        assert Request("0.99.0", "amd64", mirror=mirror).unsafe() is None


@pytest.mark.parametrize(
    ("place", "local"),
    [
        ({}, False),
        ({"mirror": "https://m.example/x"}, False),
        ({"mirror": "s3://bucket/x"}, False),
        ({"mirror": "/srv/mirror"}, True),
        ({"mirror": "FILE:///srv/mirror"}, True),
        ({"tarball": "soci.tar.gz"}, True),
    ],
)
def test_what_is_here_already(place: dict[str, str], local: bool) -> None:
    assert Request("0.15.0", "amd64", **place).is_local() == local

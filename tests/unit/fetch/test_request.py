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
        (Request("0.10.0", "amd64"), "no parallel pull"),
        (Request("latest", "amd64"), "not a SOCI version"),
        (Request("0.15.0", "riscv64"), "unknown architecture 'riscv64'"),
        (Request("0.15.0", "amd64", sha256="abc"), "64 hexadecimal digits"),
        (Request("0.15.0", "amd64", mirror="ftp://mirror.test"), "expected https://"),
        (Request("0.15.0", "amd64", mirror="/a", tarball="b"), "one of them"),
        (Request("0.15.0", "amd64", mirror="https://"), "is not a URL"),
        (Request("0.15.0", "amd64", mirror="https://[::1"), "is not a URL"),
        (Request("0.15.0", "amd64", mirror="https://host:port/x"), "is not a URL"),
    ],
)
def test_requests_that_are_refused_before_anything_happens(run, request_: Request, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        run(request_)
    assert run.said.getvalue() == ""


def test_all_problems_are_told_at_once(run) -> None:
    with pytest.raises(UsageError) as caught:
        run(Request("0.1.0", "mips", sha256="?"))
    assert len(caught.value.problems) == 3


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

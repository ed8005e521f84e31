"""What servers say beside the body: headers, redirects, digests; and what users write as URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from soci_bootstrap import redact
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.facts import registries
from soci_bootstrap.fetch import digest as digest_
from soci_bootstrap.fetch import http, proxies, release, retry
from soci_bootstrap.settings import values
from tests.fuzz.targets import text

SEEDS = [
    b"Wed, 21 Oct 2015 07:28:00 GMT",
    b"120",
    b"https://user:pw@host:8443/path?X-Amz-Signature=abc#d",
    b"//other/path",
    b"http://host/",
    b"https://[::1]:99999/",
    b"aa" * 32 + b"  soci-snapshotter-0.15.0-linux-amd64.tar.gz\n",
    b"aa" * 32,
    b"localhost,.internal,10.0.0.0/8,[::1]:80,*.x:443,*",
    b"Authorization: Bearer hunter2, token=x&password='y'",
    b"v0.15.0",
]


@dataclass
class _Answer:
    """As much of a response as the parsers look at."""

    headers: CaseInsensitiveDict[str]


def one(data: bytes) -> None:
    """One text in every place."""
    said = text(data)
    seconds = retry.parse_retry_after(said, lambda: 1.7e9)
    assert seconds is None or seconds >= 0
    _headers(said)
    _redirects(said)
    proxies.proxy_for("https", said, 443, {"https_proxy": "p", "no_proxy": "x"})
    proxies.proxy_for("https", "h.x", 443, {"HTTPS_PROXY": said, "NO_PROXY": said})
    registries.url(said)
    line = redact.redact_text(said)
    assert len(line) <= 300
    assert line.isprintable()
    redact.redact_url(said)
    for version in re.findall(r"\S+", said)[:3]:
        _version(version)
    _mirror(said)
    digest = digest_._parse(data, "a", "b")
    assert re.fullmatch("[0-9a-f]{64}", digest)


def _headers(said: str) -> None:
    answer = _Answer(CaseInsensitiveDict({"Content-Length": said}))
    response: requests.Response = answer  # type: ignore[assignment]
    length = http._length(response)
    assert length is None or length >= 0


def _redirects(said: str) -> None:
    try:
        url = http._next_hop("https://user:planted@host/a", said, "https://host/a")
    except BootstrapError as error:
        assert "planted" not in str(error) or "planted" in said
        return
    parts = urlsplit(url)
    assert parts.scheme == "https"
    if parts.netloc.rpartition("@")[2].lower() != "host":
        assert "planted" not in url or "planted" in said, "credentials for another host"


def _mirror(said: str) -> None:
    try:
        assert values.mirror(said) == said
    except ValueError:
        return


def _version(said: str) -> None:
    try:
        assert release.parse_version(said) >= release.MINIMUM
        assert release.canonical(f"v{release.canonical(said)}") == release.canonical(said)
        assert "/../" not in release.asset_path(release.canonical(said), "amd64")
    except BootstrapError:
        return
    assert values.version(said)

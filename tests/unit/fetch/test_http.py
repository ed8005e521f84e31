from __future__ import annotations

import subprocess
import sys

import pytest

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch import http
from soci_bootstrap.fetch.http import HttpSource, ca_bundle
from soci_bootstrap.fetch.source import TransientError
from tests.support.corpus import servers


@pytest.mark.parametrize(
    ("environ", "chosen"),
    [
        ({"REQUESTS_CA_BUNDLE": "a.pem", "SSL_CERT_FILE": "b.pem"}, "a.pem"),
        ({"SSL_CERT_FILE": "b.pem"}, "b.pem"),
        ({"SSL_CERT_FILE": ""}, "debian.crt"),
        ({}, "debian.crt"),
    ],
)
def test_ca_bundle(tmp_path, monkeypatch, environ: dict[str, str], chosen: str) -> None:
    for name in ("a.pem", "b.pem", "debian.crt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(http, "BUNDLES", (str(tmp_path / "amazon.crt"), str(tmp_path / "debian.crt")))
    named = {key: str(tmp_path / value) if value else "" for key, value in environ.items()}
    assert ca_bundle(named) == str(tmp_path / chosen)


def test_a_ca_bundle_that_is_not_there(tmp_path, monkeypatch) -> None:
    with pytest.raises(FetchError, match=r"SSL_CERT_FILE names no CA bundle: found no file /absent\.pem"):
        ca_bundle({"SSL_CERT_FILE": "/absent.pem"})
    monkeypatch.setattr(http, "BUNDLES", (str(tmp_path / "absent.crt"),))
    with pytest.raises(FetchError, match="this node has no CA bundle"):
        ca_bundle({})


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://host:port/", "http://a b/", "http://*.x/"])
def test_what_is_no_url_is_an_error_of_ours(url: str) -> None:
    with pytest.raises((FetchError, TransientError)):
        HttpSource(url, {}).open(1.0)


def test_reads_give_what_has_arrived() -> None:
    def slowly(x: servers.Exchange) -> None:
        x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        x.pause(servers.PATIENCE)

    with servers.Server(slowly) as server:
        opened = HttpSource(server.origin, {}).open(5.0)
        assert opened.total == 6
        assert opened.read(6) == b"abc"
        opened.close()


@pytest.mark.subprocess
def test_without_certifi(tmp_path) -> None:
    """The zipapp carries a stand-in for certifi; the node's bundle is trusted, nothing of ours."""
    (tmp_path / "certifi.py").write_text("def where():\n    return '/nowhere'\n")
    program = (
        "import sys; sys.path[:0] = sys.argv[1:2]\n"
        "import certifi; assert certifi.where() == '/nowhere'\n"
        "from soci_bootstrap.fetch.http import HttpSource\n"
        "opened = HttpSource(sys.argv[2], {'SSL_CERT_FILE': sys.argv[3]}).open(5.0)\n"
        "sys.stdout.buffer.write(opened.read(100))\n"
    )
    with servers.Server(servers.reply(body=b"body"), "server.pem") as server:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), server.origin, servers.CA],
            check=True,
            stdout=subprocess.PIPE,
            timeout=30,
        )
    assert done.stdout == b"body"

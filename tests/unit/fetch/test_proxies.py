from __future__ import annotations

import pytest

from soci_bootstrap.fetch.proxies import proxy_for, usable

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other.test"}, PROXY),
        ({"HTTPS_PROXY": "proxy.test:3128"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": "  "}, None),
    ],
)
def test_which(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for("https", "mirror.test", 443, environ) == proxy


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("mirror.test", "mirror.test", True),
        ("MIRROR.test.", "mirror.TEST", True),
        ("deep.mirror.test", "mirror.test", True),
        ("deep.mirror.test", ".mirror.test", True),
        ("deep.mirror.test", "*.mirror.test", True),
        ("mirror.test", ".mirror.test", False),
        ("notmirror.test", "mirror.test", False),
        ("mirror.test", "a.test, mirror.test ,b.test", True),
        ("mirror.test", "*", True),
        ("mirror.test", "mirror.test:443", True),
        ("mirror.test", "mirror.test:8443", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("mirror.test", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "fd00::1", True),
        ("fd00::1", "[fd00::1]:443", True),
        ("fd00::1", "[fd00::1]:80", False),
        ("mirror.test", "nonsense/net", False),
        ("localhost", "", True),
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("mirror.test", "", False),
        ("mirror.test", ",,", False),
    ],
)
def test_no_proxy(host: str, no_proxy: str, direct: bool) -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    assert proxy_for("https", host, 443, environ) == (None if direct else PROXY)


@pytest.mark.parametrize(
    ("proxy", "good"),
    [
        (PROXY, True),
        ("https://user:secret@proxy.test", True),
        ("http://[fd00::1]:3128", True),
        ("socks5://proxy.test:1080", False),
        ("http://", False),
        ("http://[fd00::1", False),
        ("http://proxy.test:port", False),
    ],
)
def test_usable(proxy: str, good: bool) -> None:
    assert usable(proxy) is good

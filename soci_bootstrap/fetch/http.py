"""https, and http for a mirror whose digest is known: requests, with our own rules on top.

Redirects are followed here rather than by requests, so that each hop is checked: never from https
to http, never with credentials to another host, never for ever.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from soci_bootstrap import __version__
from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch.http_errors import REMEDY, cause, classified, refused
from soci_bootstrap.fetch.proxies import proxy_for, usable
from soci_bootstrap.fetch.source import Opened, TransientError
from soci_bootstrap.redact import redact_url

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

REDIRECTS = 5
"""Hops followed; GitHub needs one."""

CONNECT = 10.0
"""Seconds to reach a server, one address at a time."""

BUNDLES = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt")
"""Where Amazon Linux and Debian keep the certificate authorities that the node trusts."""


class HttpSource:
    """One URL."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self.url = url
        self.name = redact_url(url)
        self._environ = environ
        # Without a requests.Session: that reads .netrc and proxies of its own choice, and the whole
        # body of a redirect, however long.
        self._adapter = _TlsAdapter()

    def open(self, timeout: float) -> Opened:
        """GET the URL.

        Raises:
            TransientError: no answer, 429 or 5xx.
            FetchError: any other answer that is no body.
        """
        headers = {
            "User-Agent": f"soci-bootstrap/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        response = self._follow(headers, timeout)
        if response.status_code != 200:
            self._close(response)
            raise refused(response, self.name)
        return Opened(
            read=lambda size: _read(response.raw, size),
            close=lambda: self._close(response),
            total=_length(response),
        )

    def ask(self, timeout: float) -> int:
        """GET the URL for its answer alone, whatever that is: the status.

        Raises:
            TransientError: there is no answer.
            FetchError: there can be none: the certificate is not trusted, the proxy refuses.
        """
        response = self._get(self.url, {"User-Agent": f"soci-bootstrap/{__version__}"}, timeout)
        self._close(response)
        return response.status_code

    def cancel(self) -> None:
        """Nothing: a blocked read ends with its timeout, in a thread that nobody waits for."""

    def _follow(self, headers: Mapping[str, str], timeout: float) -> requests.Response:
        url = self.url
        for _ in range(REDIRECTS + 1):
            response = self._get(url, headers, timeout)
            target = response.headers.get("Location")
            if response.status_code not in (301, 302, 303, 307, 308) or not target:
                return response
            response.close()
            url = _next_hop(url, target, self.name)
        raise FetchError(
            f"could not fetch {self.name}",
            found=f"more than {REDIRECTS} redirects, the last to {redact_url(url)}",
            expected="a redirect or two",
            remedy=REMEDY,
        )

    def _get(self, url: str, headers: Mapping[str, str], timeout: float) -> requests.Response:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise classified(requests.exceptions.InvalidURL(error), redact_url(url), None) from None
        proxy = proxy_for(parts.scheme, host, port, self._environ)
        if proxy and not usable(proxy):
            raise FetchError(
                f"the proxy to {redact_url(url)} can't be used",
                found=redact_url(proxy),
                expected="http://host:port or https://host:port",
                remedy="correct HTTPS_PROXY, or name the host in NO_PROXY",
            )
        secure = parts.scheme == "https" or (proxy or "").startswith("https")
        bundle = ca_bundle(self._environ) if secure else None
        try:
            return self._adapter.send(
                requests.Request("GET", url, headers=dict(headers)).prepare(),
                stream=True,
                timeout=(min(CONNECT, timeout), timeout),
                verify=bundle or True,
                proxies={parts.scheme: proxy} if proxy else None,
            )
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise classified(error, redact_url(url), bundle, proxy and redact_url(proxy)) from None

    def _close(self, response: requests.Response) -> None:
        response.close()
        self._adapter.close()


class _TlsAdapter(HTTPAdapter):
    """TLS 1.2 at least, directly and through a proxy, whatever the defaults of library and node."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_tls())

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=_tls(), proxy_ssl_context=_tls())


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def ca_bundle(environ: Mapping[str, str]) -> str:
    """Find the file of certificate authorities to trust: the user's, else the node's; none is carried.

    Raises:
        FetchError: the one that is named does not exist, or the node has none.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        named = environ.get(variable)
        if named and not os.path.isfile(named):
            raise FetchError(
                f"{variable} names no CA bundle",
                found=f"no file {named}",
                expected="a PEM file of trusted certificates",
                remedy=f"correct or unset {variable}",
            )
        if named:
            return named
    for path in BUNDLES:
        if os.path.isfile(path):
            return path
    raise FetchError(
        "this node has no CA bundle",
        found=f"neither of {', '.join(BUNDLES)}",
        expected="the certificate authorities to trust",
        remedy="install ca-certificates, or set SSL_CERT_FILE",
    )


def _next_hop(url: str, target: str, name: str) -> str:
    """Resolve a redirect, with the user information of ``url`` only on the same origin."""
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, target))
    except ValueError:
        raise FetchError(
            f"could not fetch {name}", found="a redirect to no URL at all", expected="https", remedy=REMEDY
        ) from None
    if new.scheme not in ("https", "http") or (old.scheme == "https" and new.scheme != "https"):
        raise FetchError(
            f"could not fetch {name}",
            found=f"a redirect to {redact_url(new.geturl())}",
            expected="a redirect to https",
            remedy="a redirect to http is never followed; correct the mirror",
        )
    host = new.netloc.rpartition("@")[2]
    same = (old.scheme, old.netloc.rpartition("@")[2].lower()) == (new.scheme, host.lower())
    return urlunsplit((new.scheme, old.netloc if same else host, new.path or "/", new.query, ""))


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "").strip()
    if not re.fullmatch(r"[0-9]{1,15}", value) or "Transfer-Encoding" in response.headers:
        return None
    return int(value)


def _read(raw: BaseHTTPResponse, size: int) -> bytes:
    """Read what has arrived, at most ``size`` bytes; ``read`` would wait for all of them."""
    try:
        return raw.read1(size, decode_content=False)
    except (HTTPError, OSError, ValueError) as error:
        raise TransientError(f"the connection failed in the middle of the body ({cause(error)})") from None

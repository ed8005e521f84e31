"""Classify failed HTTP requests: worth another one, or final.

The libraries' own texts are never shown: they quote whole URLs, signed queries included.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch.retry import parse_retry_after
from soci_bootstrap.fetch.source import TransientError
from soci_bootstrap.redact import redact_text

REMEDY = "check --mirror, or bring the release nearer with --mirror or --tarball"

_REMEDIES = {
    401: "the server wants credentials: put them in the mirror's URL, or use s3:// with the instance role",
    403: "check the mirror's access rules (S3 answers 403 for a missing object too)",
    404: "check --soci-version, and --mirror: below it stands v{V}/soci-snapshotter-{V}-linux-{arch}.tar.gz",
    407: "the proxy wants credentials: put them in HTTPS_PROXY",
    410: "check --soci-version and --mirror",
}


def refused(response: requests.Response, name: str) -> Exception:
    """Make the error for an answer whose status is not 200."""
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        wait = parse_retry_after(response.headers.get("Retry-After"), time.time)
        return TransientError(f"the server answered {status}", wait)
    return FetchError(
        f"could not fetch {name}",
        found=f"HTTP status {status} {redact_text(response.reason or '', 40)}".strip(),
        expected="200",
        remedy=_REMEDIES.get(status, REMEDY),
    )


def classified(error: BaseException, name: str, bundle: str | None, proxy: str | None = None) -> Exception:
    """Make the error for a request that got no answer.

    Args:
        error: what requests or urllib3 raised.
        name: the redacted URL.
        bundle: the CA bundle that was trusted.
        proxy: the proxy that was asked, redacted.
    """
    for link in _chain(error):
        final = _untrusted(link, name, bundle) or _refused_by_proxy(link, name) or _nonsense(link, name)
        if final is not None:
            return final
    through = f" through the proxy {proxy}" if proxy else ""
    return TransientError(f"no answer{through} ({cause(error)})")


def cause(error: BaseException) -> str:
    """Describe the cause in the operating system's or the library's words, without addresses."""
    links = list(_chain(error))
    if any(type(link).__name__ == "IncompleteRead" for link in links):
        return "it was cut short"
    for link in reversed(links):
        if isinstance(link, OSError) and not isinstance(link, HTTPError) and isinstance(link.strerror, str):
            return redact_text(link.strerror, 80)
    if any(isinstance(link, TimeoutError) or "Timeout" in type(link).__name__ for link in links):
        return "timed out"
    return type(links[-1]).__name__


def _untrusted(link: BaseException, name: str, bundle: str | None) -> FetchError | None:
    if isinstance(link, ssl.SSLCertVerificationError):
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return FetchError(
            f"{name} can't be trusted",
            found=f"a certificate that fails verification ({link.verify_message})",
            expected=f"one that {bundle} vouches for, at {now} by this node's clock",
            remedy="set SSL_CERT_FILE for a private CA, or correct the clock",
        )
    if isinstance(link, ssl.SSLError) and link.library == "X509":
        return FetchError(
            f"{name} can't be trusted",
            found=f"no certificate that can be read in {bundle}",
            expected="a PEM file of trusted certificates",
            remedy="correct SSL_CERT_FILE or REQUESTS_CA_BUNDLE, or install ca-certificates",
        )
    # A connection cut during the handshake (EOF) is the network's doing and worth another try.
    if isinstance(link, ssl.SSLError) and link.reason and "EOF" not in link.reason:
        return FetchError(
            f"no TLS connection to {name}",
            found=redact_text(link.reason, 60),
            expected="TLS 1.2 or newer",
            remedy="check the server's TLS versions and --mirror's scheme",
        )
    return None


def _refused_by_proxy(link: BaseException, name: str) -> FetchError | None:
    match = re.search(r"Tunnel connection failed: (4\d\d)", str(link))
    if not match or match[1] == "429":
        return None
    return FetchError(
        f"the proxy refuses to connect to {name}",
        found=f"HTTP status {match[1]}",
        expected="200",
        remedy=_REMEDIES[407] if match[1] == "407" else "check HTTPS_PROXY and NO_PROXY",
    )


def _nonsense(link: BaseException, name: str) -> FetchError | None:
    if isinstance(link, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError)):
        return FetchError(f"{name} is not a URL", expected="https://host/path", remedy="check --mirror")
    if "got more than" in str(link):  # http.client: a header line too long, or too many of them
        return FetchError(
            f"could not fetch {name}",
            found="headers larger than any real server sends",
            expected="an HTTP answer",
            remedy=REMEDY,
        )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what is inside it: requests and urllib3 wrap in args, ``reason`` and ``__context__``."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [getattr(current, "reason", None), current.__cause__, current.__context__, *current.args]
        waiting.extend(item for item in inner if isinstance(item, BaseException))

"""The node's own certificate authorities where requests asks certifi for its bundle.

Stands in for certifi in the zipapp: what the node trusts is the node's business, and a bundle that
we carried would go stale.
"""

from __future__ import annotations

import os

_BUNDLES = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt")


def where() -> str:
    """The path of the bundle: ``SSL_CERT_FILE``, else Amazon Linux's or Debian's."""
    named = os.environ.get("SSL_CERT_FILE")
    if named:
        return named
    for path in _BUNDLES:
        if os.path.exists(path):
            return path
    return _BUNDLES[0]

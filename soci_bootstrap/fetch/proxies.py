"""Which proxy a request takes: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as containerd reads them."""

from __future__ import annotations

from collections.abc import Mapping


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """Choose the proxy's URL, None to connect directly.

    Args:
        scheme: of the request, ``http`` or ``https``.
        host: name or address, an IPv6 address without brackets.
        port: of the request, for NO_PROXY entries that name one.
        environ: the process's own, over what nodeadm puts in the node's environment.
    """
    proxy = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not proxy or _bypassed(host.lower().rstrip("."), port, _variable(environ, "no_proxy")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def usable(proxy: str) -> bool:
    """Tell if requests can be sent through ``proxy``: http or https, and a host."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(proxy)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _variable(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _bypassed(host: str, port: int, no_proxy: str) -> bool:
    # Never through a proxy, whatever the variables say: Go's rule, so containerd's and SOCI's too.
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return True
    return any(_matches(host, port, entry.strip().lower()) for entry in no_proxy.split(",") if entry.strip())


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(host, entry)
    name, bracket, rest = entry.rpartition("]")
    if bracket:
        name, wanted_port = name.lstrip("["), rest.lstrip(":")
    elif entry.count(":") == 1:
        name, _, wanted_port = entry.partition(":")
    else:
        name, wanted_port = entry, ""
    if wanted_port and wanted_port != str(port):
        return False
    name = name[1:] if name.startswith("*.") else name
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _in_network(host: str, entry: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False

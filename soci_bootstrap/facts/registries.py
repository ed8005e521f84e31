"""Registries that containerd reaches in a way of its own, which SOCI's parallel pull knows nothing of.

SOCI asks the original registry over https with the node's trust (tried on 0.15.0): a mirror, a CA, a
client certificate or a header from certs.d is not used. So each such registry is asked directly.

Sources: containerd's docs/hosts.md, its reader of hosts.toml and of docker's certificate directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from soci_bootstrap import paths
from soci_bootstrap.configfiles import toml
from soci_bootstrap.configfiles.containerd_text import CRI_PLUGIN, IMAGES_PLUGIN
from soci_bootstrap.errors import StateError
from soci_bootstrap.system import System

DEFAULT = "_default"
"""The directory for every registry that has none of its own."""
_DOCKER_HUB = frozenset({"docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Registry:
    """A registry with a way of its own.

    Attributes:
        name: host and port, or ``_default``.
        why: what containerd does there and SOCI does not, such as ``a mirror``.
        source: the file or directory that says so.
    """

    name: str
    why: str
    source: str

    @property
    def warning(self) -> str:
        """Warn the user of this registry, in one sentence."""
        asked = "the registry itself" if self.name != DEFAULT else "every registry itself"
        return (
            f"{self.source} names {self.why} for {self.name}: SOCI's parallel pull asks {asked}, without it"
        )


def observe(
    system: System, config: bytes, name: str, version: tuple[int, int, int] | None
) -> tuple[Registry, ...]:
    """The registries that containerd's configuration, and the directories it names, say this of.

    Args:
        system: the node.
        config: containerd's configuration.
        name: that file's path.
        version: containerd's, None where it can't be told.

    Raises:
        StateError: the configuration is not TOML.
    """
    plugins = _table(toml.loads(config, name), "plugins") if b"registry" in config else {}
    found: dict[str, Registry] = {}
    listed: list[str] = []
    for plugin in (IMAGES_PLUGIN, CRI_PLUGIN):
        registry = _table(_table(plugins, plugin), "registry")
        for one in _inline(registry, name):
            found.setdefault(one.name, one)
        if registry.get("config_path"):
            listed.append(str(registry["config_path"]))
    if not listed and not found and (version is None or version >= (2, 1)):
        listed = [paths.CERTS_DIRECTORIES]
    for one in _directories(system, ":".join(listed)):
        found.setdefault(one.name, one)
    return tuple(found.values())


def url(name: str) -> str:
    """Return a registry's URL as SOCI makes it: https, but for this machine's own."""
    host = "registry-1.docker.io" if name == "docker.io" else name
    scheme = "http" if _is_local(host) else "https"
    return f"{scheme}://{host}/v2/"


def direct_urls(registries: Iterable[Registry]) -> dict[str, str]:
    """Return each registry's URL by its name; ``_default`` has no host and is left out."""
    return {registry.name: url(registry.name) for registry in registries if registry.name != DEFAULT}


def _inline(registry: Mapping[str, Any], source: str) -> Iterator[Registry]:
    """Read mirrors and TLS settings from containerd's configuration itself, the deprecated way."""
    for name, mirror in _table(registry, "mirrors").items():
        endpoints = mirror.get("endpoint") if isinstance(mirror, dict) else None
        endpoints = endpoints if isinstance(endpoints, list) else []
        if any(_is_another(name, str(endpoint)) for endpoint in endpoints):
            yield Registry(DEFAULT if name == "*" else name, "a mirror", source)
    for name, settings in _table(registry, "configs").items():
        tls = _table(settings, "tls") if isinstance(settings, dict) else {}
        if any(tls.values()):
            yield Registry(name, "TLS settings", source)


def _directories(system: System, config_path: str) -> Iterator[Registry]:
    for root in config_path.split(":"):
        for directory in system.listdir(root) if root else ():
            path = f"{root}/{directory}"
            name = _registry_name(directory)
            hosts = _hosts(system, f"{path}/hosts.toml")
            reasons = _certificates(system, path) if hosts is None else _reasons(name, hosts)
            if reasons:
                yield Registry(name, " and ".join(dict.fromkeys(reasons)), path)


def _registry_name(directory: str) -> str:
    """The registry of a directory: ``host_5000_`` is a file system's way to write ``host:5000``."""
    host, _, port = directory[:-1].rpartition("_")
    return f"{host}:{port}" if directory.endswith("_") and host and port.isdigit() else directory


def _hosts(system: System, path: str) -> dict[str, Any] | None:
    """A hosts.toml; None where there is none, or none that containerd could read."""
    data = system.read(path)
    try:
        return toml.loads(data, path) if data else None
    except StateError:
        return None


def _reasons(name: str, document: Mapping[str, Any]) -> list[str]:
    """List what a hosts.toml makes containerd do that SOCI does not."""
    tables = _table(document, "host")
    reasons = ["a mirror" for host in tables if _is_another(name, host)]
    server = document.get("server")
    if isinstance(server, str) and server and _is_another(name, server):
        reasons.append("another server")
    for table in (document, *(table for table in tables.values() if isinstance(table, dict))):
        for key, reason in (("ca", "a CA"), ("client", "a client certificate"), ("header", "a header")):
            if table.get(key):
                reasons.append(reason)
        if table.get("skip_verify") is True:
            reasons.append("skip_verify")
    return reasons


def _certificates(system: System, path: str) -> list[str]:
    """Docker's layout: certificates in files of certain names."""
    suffixes = {name.rpartition(".")[2] for name in system.listdir(path)}
    kinds = (("crt", "a CA"), ("cert", "a client certificate"))
    return [reason for suffix, reason in kinds if suffix in suffixes]


def _is_another(name: str, location: str) -> bool:
    """Tell whether a host of hosts.toml is not the registry itself, asked as SOCI asks it."""
    if not location.startswith("http"):
        location = f"https://{location}"
    try:
        parts, own = urlsplit(location), urlsplit(url(name))
        host, port, own_port = parts.hostname or "", parts.port, own.port
    except ValueError:
        return True
    same_host = host == own.hostname or {host, own.hostname or ""} <= _DOCKER_HUB
    ports = {"http": 80, "https": 443}
    same_port = (port or ports.get(parts.scheme)) == (own_port or ports[own.scheme])
    return not (
        same_host and same_port and parts.scheme == own.scheme and parts.path in {"", "/", "/v2", "/v2/"}
    )


def _is_local(host: str) -> bool:
    name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
    return name == "localhost" or name.startswith("127.") or name.strip("[]") == "::1"


def _table(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}

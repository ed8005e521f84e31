"""What certs.d says of registries. SOCI's parallel pull reads none of it and asks each registry itself.

Source: containerd's docs/hosts.md; that SOCI 0.15 ignores it was tried.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from soci_bootstrap import toml
from soci_bootstrap.doctor.finding import Seen, Unseen
from soci_bootstrap.doctor.node import Registry
from soci_bootstrap.doctor.tasks import Task
from soci_bootstrap.errors import StateError
from soci_bootstrap.system import System

DEFAULT = "_default"
_SECONDS = 2.0
_TRUST = ("ca", "client", "skip_verify")
_EVERY_REGISTRY = Unseen("stands for every registry")
_BELOW_ROOT = Unseen("not asked below --root")


def observe(
    system: System, directories: Sequence[str], mirrors: Sequence[str], environment: Sequence[str]
) -> tuple[Registry, ...]:
    """Every registry that containerd is told something about, asked directly where this is the node.

    Args:
        system: the node.
        directories: of CRI's ``registry.config_path``.
        mirrors: names in CRI's own, older ``registry.mirrors``.
        environment: SOCI's, as ``Environment=`` and ``EnvironmentFile=`` lines.
    """
    told = dict.fromkeys(mirrors, "a mirror")
    for directory in directories:
        for name in system.listdir(directory):
            data = system.read(f"{directory}/{name}/hosts.toml")
            why = said(name, data, f"{directory}/{name}/hosts.toml") if data else ""
            if why:
                told.setdefault(name, why)
    variables = _variables(system, environment)
    asked = {
        name: Task(lambda name=name: reachable(name, variables), 2 * _SECONDS)  # type: ignore[misc]
        for name in told
        if system.live and name != DEFAULT
    }
    return tuple(Registry(name, why, _answer(name, asked)) for name, why in sorted(told.items()))


def said(name: str, data: bytes, path: str) -> str:
    """What a hosts.toml says that SOCI does not heed, a few words; empty for nothing."""
    try:
        document = toml.loads(data, path)
    except StateError as error:
        return error.problem
    hosts = document.get("host")
    hosts = hosts if isinstance(hosts, dict) else {}
    words = []
    own = {_host(name), _host(str(document.get("server") or ""))}
    if any(_host(url) not in own for url in hosts) or (name == DEFAULT and (hosts or document.get("server"))):
        words.append("a mirror")
    tables: list[Mapping[str, Any]] = [document, *(t for t in hosts.values() if isinstance(t, dict))]
    words += [key for key in _TRUST if any(table.get(key) for table in tables)]
    return ", ".join(words)


def reachable(name: str, environ: Mapping[str, str]) -> bool:
    """Whether the registry itself answers ``/v2/`` with anything in HTTP, as SOCI would ask it."""
    import http.client
    import ssl

    from soci_bootstrap.proxies import proxy_for

    host, port = _address(name)
    proxy = proxy_for("https", host, port, environ)
    context = ssl.create_default_context()
    if proxy:
        via, via_port = _address(proxy.partition("://")[2].rpartition("@")[2].rstrip("/"), 3128)
        connection = http.client.HTTPSConnection(via, via_port, timeout=_SECONDS, context=context)
        connection.set_tunnel(host, port, _authorization(proxy))
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", "/v2/", headers={"User-Agent": "soci-bootstrap"})
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _authorization(proxy: str) -> dict[str, str]:
    import base64
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


def _answer(name: str, asked: Mapping[str, Task[bool]]) -> Seen[bool]:
    if name == DEFAULT:
        return _EVERY_REGISTRY
    return asked[name].result() if name in asked else _BELOW_ROOT


def _host(url: str) -> str:
    host = url.partition("://")[2] or url
    host = host.split("/", 1)[0].lower()
    # Docker's name and its registry are one.
    return "docker.io" if host == "registry-1.docker.io" else host


def _address(name: str, default: int = 443) -> tuple[str, int]:
    # certs.d writes HOST_PORT_ too, where a colon can't be in a name.
    if name.endswith("_") and name.rstrip("_").rpartition("_")[2].isdecimal():
        name = name[:-1].replace("_", ":")
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = name, str(default)
    return ("registry-1.docker.io" if host == "docker.io" else host.strip("[]")), int(port)


def _variables(system: System, environment: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in environment:
        key, _, value = line.partition("=")
        text = value
        if key == "EnvironmentFile":
            data = system.read(value.lstrip("-")) or b""
            lines = data.decode("utf-8", "replace").splitlines()
            text = " ".join(line for line in lines if line and not line.startswith(("#", ";")))
        try:
            words = shlex.split(text)
        except ValueError:
            continue
        found.update(
            {name: given for name, equals, given in (word.partition("=") for word in words) if equals}
        )
    return found

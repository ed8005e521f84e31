"""kubelet's configuration: where it is, and its image endpoint.

Sources: nodeadm (kubelet's arguments in /etc/eks/kubelet/environment, config.json and
config.json.d), kubelet's KubeletConfiguration v1beta1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.configfiles.kubelet import endpoint_in
from soci_bootstrap.facts.units import UnitFile
from soci_bootstrap.system import System

ARGUMENTS = "its arguments"
_ARGUMENT = re.compile(r"--config(-dir)?[= ]+([^\s\"']+)")
_ENDPOINT_ARGUMENT = re.compile(r"--image-service-endpoint[= ]+([^\s\"']+)")


@dataclass(frozen=True)
class Kubelet:
    """kubelet as its unit starts it.

    Attributes:
        present: there is a unit, or a configuration of it.
        config_path: its ``--config``.
        config_dir: its ``--config-dir``, empty where its arguments name none.
        config: the bytes at ``config_path``, empty for none.
        config_mode: their permission bits.
        endpoint: the image endpoint that its arguments name, which wins over every file; empty for none.
        sources: the files that all of this was read from.
    """

    present: bool
    config_path: str = paths.KUBELET_CONFIG
    config_dir: str = ""
    config: bytes = b""
    config_mode: int = 0o644
    endpoint: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """kubelet's effective image endpoint and what set it: a file or ``ARGUMENTS``; empty where none does."""

    address: str = ""
    source: str = ""


def observe(system: System, unit: UnitFile) -> Kubelet:
    """Read kubelet's arguments from its unit and the environment files that the unit names."""
    text = " ".join(unit.values("ExecStart") + unit.values("Environment"))
    files = tuple(file.lstrip("-") for file in unit.values("EnvironmentFile"))
    for file in files:
        text += " " + (system.read(file) or b"").decode("utf-8", "replace")
    path, directory = paths.KUBELET_CONFIG, ""
    for match in _ARGUMENT.finditer(text):
        if not paths.is_plain(match[2]):
            # Relative, or a variable of its own: not ours to guess.
            continue
        if match[1]:
            directory = match[2]
        else:
            path = match[2]
    path = system.followed(path)
    config = system.read(path)
    endpoints = _ENDPOINT_ARGUMENT.findall(text)
    return Kubelet(
        present=bool(unit.path) or config is not None,
        config_path=path,
        config_dir=directory,
        config=config or b"",
        config_mode=system.entry(path).mode or 0o644,
        endpoint=endpoints[-1] if endpoints else "",
        sources=(*files, path),
    )


def image_endpoint(system: System, found: Kubelet) -> Endpoint:
    """Find the endpoint by kubelet's order: its configuration, its drop-ins by name, its arguments."""
    if found.endpoint:
        return Endpoint(found.endpoint, ARGUMENTS)
    address, source = endpoint_in(found.config), found.config_path
    for name in system.listdir(found.config_dir) if found.config_dir else ():
        path = f"{found.config_dir}/{name}"
        if name.endswith(".conf") and (named := endpoint_in(system.read(path))):
            address, source = named, path
    return Endpoint(address, source) if address else Endpoint()

"""kubelet's configuration: where it is, and its image endpoint.

Sources: nodeadm (kubelet's arguments in /etc/eks/kubelet/environment, config.json and
config.json.d), kubelet's KubeletConfiguration v1beta1.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from soci_bootstrap import paths
from soci_bootstrap.errors import WiringError
from soci_bootstrap.system import System
from soci_bootstrap.unitfiles import UnitFile

ENDPOINT = "imageServiceEndpoint"
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


def wired(config: bytes, endpoint: str, name: str) -> bytes:
    """Kubelet's configuration with the image endpoint set and every other value kept.

    Raises:
        WiringError: it is not a JSON object.
    """
    document = _parse(config, name)
    if document.get(ENDPOINT) == endpoint:
        return config
    document[ENDPOINT] = endpoint
    return _dump(document)


def dropin(endpoint: str) -> bytes:
    """A KubeletConfiguration drop-in that sets the image endpoint and nothing else."""
    return _dump(
        {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", ENDPOINT: endpoint}
    )


def endpoint_in(config: bytes | None) -> str:
    """The image endpoint a configuration sets; empty where it sets none or can't be read."""
    try:
        found = json.loads(config or b"{}").get(ENDPOINT)
    except (ValueError, AttributeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _parse(config: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise _not_json(name, str(error)) from error
    if not isinstance(document, dict):
        raise _not_json(name, type(document).__name__)
    return document


def _not_json(name: str, found: str) -> WiringError:
    return WiringError(
        f"{name} is not a JSON object",
        found=found,
        expected="kubelet's configuration as JSON",
        remedy="give kubelet a --config-dir, or wire it yourself with --wiring none",
    )


def _dump(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=4) + "\n").encode()

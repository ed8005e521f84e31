"""kubelet's configuration: its image service endpoint."""

from __future__ import annotations

import json
from typing import Any

from soci_bootstrap.errors import WiringError

ENDPOINT = "imageServiceEndpoint"


def with_endpoint(config: bytes, endpoint: str, name: str) -> bytes:
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

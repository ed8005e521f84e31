"""What the user's NodeConfig says: nodeadm's cache, minus ours, plus the other drop-ins.

Sources: awslabs/amazon-eks-ami, nodeadm (cache in /run/eks/nodeadm/config.json, drop-ins in
/etc/eks/nodeadm.d, the text test that decides containerd's schema).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from soci_bootstrap import toml
from soci_bootstrap.errors import StateError
from soci_bootstrap.system import System

CACHE = "/run/eks/nodeadm/config.json"
DROPIN_DIRECTORY = "/etc/eks/nodeadm.d"
DROPIN = f"{DROPIN_DIRECTORY}/50-soci-bootstrap.json"
GATE = "FastImagePull"
_V3_PLUGINS = ("io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime")
_V2_PLUGIN = "io.containerd.grpc.v1.cri"
# In YAML's block strings as in JSON's escaped ones.
_SNAPSHOTTER = re.compile(r"""\bsnapshotter\s*=\s*\\?["']soci\b""")
_SETTING = r"""\b{}\s*=\s*\\?["'](/[^"'\\]*)"""


@dataclass(frozen=True)
class StaticWiring:
    """SOCI as the user's own containerd configuration wires it (the published recipe)."""

    address: str
    root: str


@dataclass(frozen=True)
class NodeConfig:
    """What matters of the user's NodeConfig.

    Attributes:
        containerd: whether it configures containerd at all.
        v3: whether that names a plugin of containerd's schema 3 (nodeadm's own text test).
        gate: the FastImagePull feature gate.
        static: SOCI wired by the user, or None.
        raid: the local storage strategy, lower case, empty for none.
        image_endpoint: kubelet's imageServiceEndpoint, empty where it is not set.
        later: drop-ins that sort after ours and name a snapshotter or an image endpoint.
    """

    containerd: bool = False
    v3: bool = False
    gate: bool = False
    static: StaticWiring | None = None
    raid: str = ""
    image_endpoint: str = ""
    later: tuple[str, ...] = ()


def dropin_paths(system: System) -> tuple[str, ...]:
    """Every file nodeadm takes from its drop-in directory, dotfiles too, but ours, in its order."""
    return tuple(
        f"{DROPIN_DIRECTORY}/{name}"
        for name in system.listdir(DROPIN_DIRECTORY)
        if name.endswith((".json", ".yaml", ".yml")) and f"{DROPIN_DIRECTORY}/{name}" != DROPIN
    )


def read(system: System, *, cached: bool = True) -> NodeConfig:
    """The user's NodeConfig, from the cache and the other drop-ins.

    Args:
        system: the node.
        cached: whether userData counts; it is no part of an image.

    Raises:
        StateError: the cache is not the JSON object that nodeadm writes.
    """
    cache = _read_cache(system) if cached else {}
    spec = _table(cache, "spec")
    text = _table(spec, "containerd").get("config") or ""
    text = text if isinstance(text, str) else ""
    gate = _table(spec, "featureGates").get(GATE) is True
    endpoint = _table(_table(spec, "kubelet"), "config").get("imageServiceEndpoint")
    static = _static(text)
    scanned, later = text, []
    for path in dropin_paths(system):
        other = _without_comments((system.read(path) or b"").decode("utf-8", "replace"))
        # YAML is not ours to parse: a text scan finds the names that decide the dialect.
        if _configures_containerd(other):
            scanned += other
        gate = _gate_in(other, gate)
        static = _static_in(other) or static
        if path > DROPIN and ("snapshotter" in other or "imageServiceEndpoint" in other):
            later.append(path)
    return NodeConfig(
        containerd=bool(scanned.strip()),
        v3=any(name in scanned for name in _V3_PLUGINS),
        gate=gate,
        static=static,
        raid=str(_table(_table(spec, "instance"), "localStorage").get("strategy") or "").lower(),
        image_endpoint=endpoint if isinstance(endpoint, str) else "",
        later=tuple(later),
    )


def _read_cache(system: System) -> dict[str, Any]:
    data = system.read(CACHE)
    if data is None:
        return {}
    try:
        cache = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad_cache(str(error)) from error
    if not isinstance(cache, dict):
        raise _bad_cache(type(cache).__name__)
    return cache


def _bad_cache(found: str) -> StateError:
    return StateError(
        f"{CACHE} is not nodeadm's NodeConfig",
        found=found,
        expected="a JSON object",
        remedy="check `journalctl -u nodeadm-config`",
    )


def _table(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _configures_containerd(text: str) -> bool:
    return (
        any(name in text for name in (*_V3_PLUGINS, _V2_PLUGIN))
        or "containerd:" in text
        or '"containerd"' in text
    )


def _without_comments(text: str) -> str:
    """A drop-in without the lines that are comments, in YAML and in the TOML within it."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _gate_in(text: str, default: bool) -> bool:
    """The gate as a drop-in sets it: ``FastImagePull: true`` in YAML or JSON, else ``default``."""
    for piece in text.split(GATE)[1:]:
        value = piece.lstrip("\"' \t").lstrip(":").lstrip("\"' \t")
        if value[:4].lower() == "true":
            default = True
        elif value[:5].lower() == "false":
            default = False
    return default


def _static(text: str) -> StaticWiring | None:
    if "soci" not in text:
        return None
    document = toml.loads(text, "the NodeConfig's containerd.config")
    plugins = _table(document, "plugins")
    v2 = _table(_table(plugins, _V2_PLUGIN), "containerd")
    v3 = _table(plugins, _V3_PLUGINS[0])
    if "soci" not in (v2.get("snapshotter"), v3.get("snapshotter")):
        return None
    plugin = _table(_table(document, "proxy_plugins"), "soci")
    return StaticWiring(str(plugin.get("address") or ""), str(_table(plugin, "exports").get("root") or ""))


def _static_in(text: str) -> StaticWiring | None:
    """SOCI wired in a drop-in, YAML or JSON: by a text scan, as for the dialect."""
    text = text.replace("\\n", "\n")
    if not _SNAPSHOTTER.search(text):
        return None
    plugin = text.partition("proxy_plugins")[2]
    address, root = (re.search(_SETTING.format(key), plugin) for key in ("address", "root"))
    return StaticWiring(address[1] if address else "", root[1] if root else "")

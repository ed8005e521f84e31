"""The user's NodeConfig: nodeadm's cache, minus our drop-in, plus the other drop-ins.

Sources: awslabs/amazon-eks-ami, nodeadm (cache in /run/eks/nodeadm/config.json, drop-ins in
/etc/eks/nodeadm.d, the text test that decides containerd's schema).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd import NamedSoci, soci_in_config
from soci_bootstrap.configfiles.containerd_text import CRI_PLUGIN, IMAGES_PLUGIN, RUNTIME_PLUGIN
from soci_bootstrap.errors import BootstrapError, StateError
from soci_bootstrap.system import System

GATE = "FastImagePull"
_V3_PLUGINS = (IMAGES_PLUGIN, RUNTIME_PLUGIN)
# In YAML's block strings as in JSON's escaped ones.
_SNAPSHOTTER = re.compile(r"""\bsnapshotter\s*=\s*\\?["']soci\b""")
_TABLE = re.compile(r"""(?=\[\s*[\w"'\\])""")
_PLUGIN = re.compile(r"""\[\s*proxy_plugins\s*\.\s*\\?["']?soci(?![\w-])""")
_ANNOTATED = re.compile(r"\bdisable_snapshot_annotations\s*=\s*false\b")
_SETTING = r"""\b{}\s*=\s*\\?["'](?:unix://)?(/[^"'\\]*)"""


@dataclass(frozen=True)
class NodeConfig:
    """The fields of the user's NodeConfig that the plan depends on.

    Attributes:
        containerd: whether it configures containerd at all.
        v3: whether that names a plugin of containerd's schema 3 (nodeadm's own text test).
        gate: the FastImagePull feature gate.
        static: SOCI as the user names it, and wires it with the published recipe; or None.
        raid: the local storage strategy, lower case, empty for none.
        image_endpoint: kubelet's imageServiceEndpoint, empty where it is not set.
        later: drop-ins that sort after ours and name a snapshotter, SOCI's proxy plugin, an image
            endpoint, or the gate as on.
    """

    containerd: bool = False
    v3: bool = False
    gate: bool = False
    static: NamedSoci | None = None
    raid: str = ""
    image_endpoint: str = ""
    later: tuple[str, ...] = ()


def dropin_paths(system: System) -> tuple[str, ...]:
    """Every file nodeadm takes from its drop-in directory, dotfiles too, but ours, in its order."""
    return tuple(
        f"{paths.NODEADM_DROPINS}/{name}"
        for name in system.listdir(paths.NODEADM_DROPINS)
        if name.endswith((".json", ".yaml", ".yml"))
        and f"{paths.NODEADM_DROPINS}/{name}" != paths.NODEADM_DROPIN
    )


def read(system: System, *, cached: bool = True) -> NodeConfig:
    """The user's NodeConfig, from the cache without what our own drop-in says, and the other drop-ins.

    Args:
        system: the node.
        cached: whether userData counts; it is no part of an image.

    Raises:
        StateError: the cache is not the JSON object that nodeadm writes.
    """
    cache = _read_cache(system) if cached else {}
    spec = _table(cache, "spec")
    text = _config(spec)
    gate = _table(spec, "featureGates").get(GATE)
    endpoint = _endpoint(spec)
    static = soci_in_config(_bytes(text), "the NodeConfig's containerd.config")
    ours = _ours(system)
    if static and static == soci_in_config(_bytes(_config(ours)), paths.NODEADM_DROPIN):
        # nodeadm has merged it into its cache since.
        static = replace(static, snapshotter=False)
    if endpoint == _endpoint(ours):
        endpoint = ""
    gate = gate is True or (gate is False and _table(ours, "featureGates").get(GATE) is False)
    scanned, later = text, []
    for path in dropin_paths(system):
        other = _without_comments((system.read(path) or b"").decode("utf-8", "replace"))
        # YAML is not ours to parse: a text scan finds the names that decide the dialect.
        if _configures_containerd(other):
            scanned += other
        gate = _gate_in(other, gate)
        static = _over(_soci_in_text(other), static)
        if path > paths.NODEADM_DROPIN and _overrides(other):
            later.append(path)
    return NodeConfig(
        containerd=bool(scanned.strip()),
        v3=any(name in scanned for name in _V3_PLUGINS),
        gate=gate,
        static=static,
        raid=str(_table(_table(spec, "instance"), "localStorage").get("strategy") or "").lower(),
        image_endpoint=endpoint,
        later=tuple(later),
    )


def _read_cache(system: System) -> dict[str, Any]:
    data = system.read(paths.NODECONFIG_CACHE)
    if data is None:
        return {}
    try:
        cache = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad_cache(str(error)) from error
    if not isinstance(cache, dict):
        raise _bad_cache(type(cache).__name__)
    return cache


def _ours(system: System) -> dict[str, Any]:
    """Return our own drop-in's ``spec``; empty where there is no drop-in, or not one of ours."""
    try:
        document = json.loads(system.read(paths.NODEADM_DROPIN) or b"{}")
    except (BootstrapError, ValueError, RecursionError):
        return {}
    return _table(document, "spec") if isinstance(document, dict) else {}


def _config(spec: dict[str, Any]) -> str:
    return _text(_table(spec, "containerd").get("config"))


def _endpoint(spec: dict[str, Any]) -> str:
    return _text(_table(_table(spec, "kubelet"), "config").get("imageServiceEndpoint"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bytes(text: str) -> bytes:
    # JSON has texts that UTF-8 has not; what comes of them is no path that a unit takes.
    return text.encode("utf-8", "replace")


def _bad_cache(found: str) -> StateError:
    return StateError(
        f"{paths.NODECONFIG_CACHE} is not nodeadm's NodeConfig",
        found=found,
        expected="a JSON object",
        remedy="check `journalctl -u nodeadm-config`",
    )


def _table(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _configures_containerd(text: str) -> bool:
    return (
        any(name in text for name in (*_V3_PLUGINS, CRI_PLUGIN))
        or "containerd:" in text
        or '"containerd"' in text
    )


def _overrides(text: str) -> bool:
    """Tell whether a drop-in that sorts after ours sets a key that ours sets."""
    named = any(word in text for word in ("snapshotter", "imageServiceEndpoint"))
    return named or _soci_in_text(text) is not None or _gate_in(text, default=False)


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


def _soci_in_text(text: str) -> NamedSoci | None:
    """SOCI in a drop-in, YAML or JSON: by a text scan, as for the dialect."""
    text = text.replace("\\n", "\n")
    tables = _TABLE.split(text)
    plugin = "".join(table for table in tables if _PLUGIN.match(table))
    snapshotter = _SNAPSHOTTER.search(text) is not None
    if not plugin and not snapshotter:
        return None
    address, root = (re.search(_SETTING.format(key), plugin) for key in ("address", "root"))
    annotated = _ANNOTATED.search(text) is not None
    return NamedSoci(
        address[1] if address else "", root[1].rstrip("/") if root else "", snapshotter, annotated
    )


def _over(one: NamedSoci | None, other: NamedSoci | None) -> NamedSoci | None:
    """Merge two namings of SOCI, ``one`` winning."""
    if one is None or other is None:
        return one or other
    return NamedSoci(
        one.address or other.address,
        one.root or other.root,
        one.snapshotter or other.snapshotter,
        one.annotated or other.annotated,
    )

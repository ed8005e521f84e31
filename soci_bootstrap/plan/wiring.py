"""Point containerd and kubelet at SOCI, in the way that this node's AMI reads, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from soci_bootstrap import paths
from soci_bootstrap.configfiles import containerd, containerd_text, toml
from soci_bootstrap.configfiles import kubelet as kubelet_
from soci_bootstrap.errors import WiringError
from soci_bootstrap.facts import Facts, kubelet
from soci_bootstrap.facts.nodeconfig import GATE
from soci_bootstrap.plan.items import Absent, File, Item
from soci_bootstrap.state.record import Phase
from soci_bootstrap.state.wiring import Wired, WiringMode


@dataclass(frozen=True)
class Wiring:
    """How this node is wired.

    Attributes:
        mode: who wires, and where.
        dialect: containerd's configuration schema, ``v2`` or ``v3``.
        address: SOCI's socket.
        root: SOCI's ``--root``, and containerd's exports.root for it.
        static: the user's NodeConfig wires SOCI already.
        items: what makes it so.
        fallback: the drop-in that undoes what only nodeadm could undo, None for none.
        warnings: what the user should know, a sentence each.
    """

    mode: WiringMode
    dialect: str
    address: str
    root: str
    static: bool
    items: tuple[Item, ...]
    fallback: bytes | None
    warnings: tuple[str, ...] = ()


def choose(asked: str, facts: Facts, snapshotter_root: str | None) -> Wiring:
    """The wiring for this node.

    Args:
        asked: ``--wiring``.
        facts: the node.
        snapshotter_root: ``--snapshotter-root``, which wins.

    Raises:
        WiringError: none fits, or a file can't be merged into without losing what it says.
        StateError: a file can't be parsed.
    """
    config = facts.node_config
    mode = _mode(asked, facts)
    named = _named(facts, mode)
    address = next(
        (found.address for found in named if found.address), facts.ami.address or paths.SOCI_ADDRESS
    )
    roots = [
        snapshotter_root,
        *(found.root for found in named),
        f"{facts.containerd.root}/{paths.SOCI_ROOT_NAME}",
    ]
    root = next(path for path in roots if path)
    dialect = _dialect(facts)
    items: tuple[Item, ...] = ()
    fallback = None
    if mode is WiringMode.NODEADM:
        items = _nodeadm_items(facts, dialect, address, root)
        fallback = _fallback(facts, dialect, address, root)
    elif mode is WiringMode.DIRECT:
        items = _direct_items(facts, dialect, address, root)
    if config.gate:
        # Its Requires= would keep containerd down with SOCI. Before systemd reads its units anew.
        items = (*items, Absent("gate-drop-in", paths.GATE_DROPIN, Phase.CONFIGURATION))
    warnings = (
        *_warnings(facts, mode),
        *(_disagreements(facts, address, root) if mode is WiringMode.NONE else ()),
    )
    return Wiring(mode, dialect, address, root, _is_static(facts), items, fallback, warnings)


def _named(facts: Facts, mode: WiringMode) -> list[containerd.NamedSoci]:
    """SOCI as others name it: the user first; then where images lie, which no other root knows of."""
    found = facts.containerd
    there = containerd.soci_in_config(found.config, found.config_path) if mode is WiringMode.NONE else None
    return [named for named in (facts.node_config.static, found.soci, there) if named]


def _is_static(facts: Facts) -> bool:
    """Tell whether the user's NodeConfig has images unpacked with SOCI by itself."""
    static = facts.node_config.static
    return static is not None and static.snapshotter


def _mode(asked: str, facts: Facts) -> WiringMode:
    if asked == "nodeadm" and not facts.nodeadm_dropins:
        raise WiringError(
            "nodeadm on this node does not read drop-ins",
            found=f"no {paths.NODEADM_DROPINS} in nodeadm-run.service's ExecStart",
            expected="an EKS AMI of 2025-10-20 or newer",
            remedy="use --wiring auto or direct",
        )
    if asked != "auto":
        return WiringMode(asked)
    if facts.nodeadm_dropins:
        return WiringMode.NODEADM
    if facts.containerd.present or not facts.live:
        return WiringMode.DIRECT
    raise WiringError(
        "there is no containerd on this node",
        expected="containerd's program, unit or configuration",
        remedy="install containerd first, or use --wiring none",
    )


def _dialect(facts: Facts) -> str:
    """The dialect that the user's configuration speaks; nodeadm's own text test decides."""
    version = facts.containerd.version
    if version is None:
        return "v3" if facts.node_config.v3 else "v2"
    if version[0] < 2:
        return "v2"
    return "v2" if facts.node_config.containerd and not facts.node_config.v3 else "v3"


def _nodeadm_items(facts: Facts, dialect: str, address: str, root: str) -> tuple[Item, ...]:
    config = facts.node_config
    endpoint = f"unix://{address}"
    complete = config.static == containerd.NamedSoci(address, root)
    tables: dict[str, Any] = {} if complete else containerd.keys(dialect, address, root)
    kubelet_endpoint = "" if _is_static(facts) and config.image_endpoint == endpoint else endpoint
    data = _dropin(tables, kubelet_endpoint, config.gate)
    unwired = _fallback(facts, dialect, address, root) or b""
    if data is None:
        # Nothing to add to the user's own wiring; what overrode it when SOCI failed has to go.
        return (Absent("wiring", paths.NODEADM_DROPIN, Phase.WIRING, unwired),)
    return (File("wiring", paths.NODEADM_DROPIN, data, Phase.WIRING, unwired=unwired),)


def _fallback(facts: Facts, dialect: str, address: str, root: str) -> bytes | None:
    """The drop-in of a node that failed open.

    SOCI stays known to containerd, which otherwise could not delete what lies there, and the dialect
    stays what it was: nodeadm chooses its template by that. What the user's own NodeConfig wires is
    overridden; a snapshotter that only we named is simply not there.
    """
    tables = containerd.keys(dialect, address, root)
    image = (
        tables["plugins"].get(containerd_text.IMAGES_PLUGIN)
        or tables["plugins"][containerd_text.CRI_PLUGIN]["containerd"]
    )
    if not _is_static(facts):
        del image["snapshotter"]
        return _dropin(tables, "", facts.node_config.gate)
    image["snapshotter"] = "overlayfs"
    if facts.node_config.static == containerd.NamedSoci(address, root):
        del tables["proxy_plugins"]
    return _dropin(tables, paths.CONTAINERD_ENDPOINT, facts.node_config.gate)


def _dropin(tables: dict[str, Any], endpoint: str, gate: bool) -> bytes | None:
    spec: dict[str, Any] = {}
    if tables:
        spec["containerd"] = {"config": toml.dumps(tables).decode()}
    if endpoint:
        spec["kubelet"] = {"config": {kubelet_.ENDPOINT: endpoint}}
    if gate:
        # The gate would write its own wiring over ours: one owner a file.
        spec["featureGates"] = {GATE: False}
    if not spec:
        return None
    document = {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}
    return (json.dumps(document, indent=2) + "\n").encode()


def _direct_items(facts: Facts, dialect: str, address: str, root: str) -> tuple[Item, ...]:
    found = facts.containerd
    merged = containerd.with_soci(found.config, dialect, address, root, found.config_path)
    unwired = containerd_text.unwired(merged)
    items: list[Item] = [
        File("wiring", found.config_path, merged, Phase.WIRING, found.config_mode, unwired, merged=True)
    ]
    if facts.kubelet.present:
        items.append(_kubelet_item(facts.kubelet, f"unix://{address}"))
    return tuple(items)


def _kubelet_item(found: kubelet.Kubelet, endpoint: str) -> File:
    if found.config_dir:
        path = f"{found.config_dir}/{paths.UNIT_DROPIN}"
        unwired = kubelet_.dropin(paths.CONTAINERD_ENDPOINT)
        return File("kubelet-wiring", path, kubelet_.dropin(endpoint), Phase.WIRING, unwired=unwired)
    path = found.config_path
    data = kubelet_.with_endpoint(found.config or b"{}", endpoint, path)
    unwired = kubelet_.with_endpoint(data, paths.CONTAINERD_ENDPOINT, path)
    return File("kubelet-wiring", path, data, Phase.WIRING, found.config_mode, unwired, merged=True)


def _warnings(facts: Facts, mode: WiringMode) -> tuple[str, ...]:
    warnings = [
        f"{path} sorts after ours and names a snapshotter, SOCI, an image endpoint or {GATE}: it wins"
        for path in facts.node_config.later
        if mode is WiringMode.NODEADM
    ]
    version = facts.containerd.version
    if version is not None and version < (1, 7, 16):
        warnings.append(
            f"containerd {'.'.join(map(str, version))} does not count SOCI's disk use (1.7.16 and newer do)"
        )
    unpacks = containerd.concurrent_unpacks(facts.containerd.config, facts.containerd.config_path)
    if unpacks > 1:
        warnings.append(
            f"{facts.containerd.config_path} sets max_concurrent_unpacks = {unpacks} for its transfer"
            " service, which breaks pulls through any proxy snapshotter (containerd issue 13264): set it to 1"
        )
    if facts.kubelet.endpoint and mode is not WiringMode.NONE:
        warnings.append(
            f"kubelet's arguments name the image endpoint {facts.kubelet.endpoint}, which wins over its files"
            " and keeps failing open from changing it: take --image-service-endpoint out of them"
            " (spec.kubelet.flags in a NodeConfig)"
        )
    warnings += [registry.warning for registry in facts.registries]
    return tuple(warnings)


def _disagreements(facts: Facts, address: str, root: str) -> Iterator[str]:
    """List what is not as SOCI needs it where the user wires, a sentence each."""
    named = _named(facts, WiringMode.NONE)
    yours = "with --wiring none that is yours to wire"
    if not any(one.snapshotter for one in named):
        yield f"containerd's configuration does not name soci as the snapshotter: {yours}"
    if not any(one.annotated for one in named):
        yield f"disable_snapshot_annotations is not false, so that SOCI is not told what to pull: {yours}"
    if not any(one.address == address for one in named):
        yield f"no proxy_plugins.soci has SOCI's socket {address} for its address: {yours}"
    if not any(one.root == root for one in named):
        yield f"no proxy_plugins.soci.exports has SOCI's root {root}, whose disk kubelet would count: {yours}"
    endpoints = {facts.node_config.image_endpoint, kubelet_.endpoint_in(facts.kubelet.config)}
    if facts.kubelet.present and f"unix://{address}" not in {*endpoints, facts.kubelet.endpoint}:
        credentials = "without which SOCI has no registry's credentials"
        yield f"kubelet's {kubelet_.ENDPOINT} is not unix://{address}, {credentials}: {yours}"


def for_hooks(wiring: Wiring, found: Facts) -> Wired:
    """Describe the wiring as the hooks need it; kept in the record."""
    directory = found.kubelet.config_dir or (
        paths.KUBELET_DROPINS if wiring.mode is WiringMode.NODEADM else ""
    )
    return Wired(
        mode=wiring.mode,
        dialect=wiring.dialect,
        address=wiring.address,
        root=wiring.root,
        static=wiring.static,
        containerd_config=found.containerd.config_path,
        kubelet_config=found.kubelet.config_path
        if found.kubelet.present or wiring.mode is WiringMode.NODEADM
        else "",
        kubelet_dir=directory,
        fallback=(wiring.fallback or b"").decode(),
    )

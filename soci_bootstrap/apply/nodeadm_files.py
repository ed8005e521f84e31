"""The files that nodeadm writes: our part in them, put there as nodeadm would, and taken out again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from soci_bootstrap import paths
from soci_bootstrap.configfiles import containerd, containerd_text, kubelet, toml
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts.nodeconfig import GATE
from soci_bootstrap.plan.items import File
from soci_bootstrap.state.record import Phase
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System


def nodeadms_own(system: System, wired: Wired) -> tuple[str, ...]:
    """Containerd's configuration and kubelet's, as far as they are there."""
    files = (
        wired.containerd_config,
        wired.kubelet_config,
        f"{wired.kubelet_dir}/{paths.KUBELET_NODEADM_DROPIN}",
    )
    return tuple(path for path in files if path.startswith("/") and system.entry(path).kind == "file")


def nodeadms_part(system: System, wired: Wired) -> tuple[File, ...]:
    """Those files as they are after nodeadm has read our drop-in.

    Raises:
        WiringError: one can't be merged into.
    """
    files: list[File] = []
    for path in nodeadms_own(system, wired):
        found, mode = system.read(path) or b"", system.entry(path).mode
        if path == wired.containerd_config:
            data = containerd.with_soci(found, wired.dialect, wired.address, wired.root, path)
            files.append(
                File("containerd-config", path, data, Phase.WIRING, mode, containerd_text.unwired(data))
            )
    path = _kubelets(system, wired)
    if path:
        data = kubelet.with_endpoint(system.read(path) or b"{}", f"unix://{wired.address}", path)
        unwired = kubelet.with_endpoint(data, paths.CONTAINERD_ENDPOINT, path)
        files.append(File("kubelet-config", path, data, Phase.WIRING, system.entry(path).mode, unwired))
    return tuple(files)


def unmerged(system: System, wired: Wired, before: Mapping[str, bytes]) -> Iterator[tuple[str, bytes | None]]:
    """Nodeadm's files, each as nodeadm would have it without our drop-in; None for one that goes.

    Args:
        system: the node.
        wired: what was merged.
        before: what is known of their earlier bytes; kubelet's environment files are among them.
    """
    dropin = f"{wired.kubelet_dir}/{paths.KUBELET_NODEADM_DROPIN}"
    configurations = {wired.containerd_config, wired.kubelet_config, dropin, paths.NODECONFIG_CACHE}
    # nodeadm names a directory to kubelet, and makes it, only where somebody configures kubelet.
    arguments = {path: data for path, data in before.items() if path not in configurations}
    only_ours = dropin not in before and bool(arguments)
    for path, earlier in arguments.items():
        found = system.read(path) or b""
        same = _without_directory(found, wired.kubelet_dir) == _without_directory(earlier, wired.kubelet_dir)
        only_ours = only_ours and same
        yield path, earlier if same else found
    for path in sorted({*nodeadms_own(system, wired), *(before.keys() & configurations)}):
        present = system.read(path)
        if present is None:
            continue
        data = without_ours(path, present, before.get(path, b""), wired)
        bare = path == dropin and only_ours and not _json(data, path).keys() - {"apiVersion", "kind"}
        yield path, None if bare else data


def _without_directory(environment: bytes, directory: str) -> list[str]:
    """Kubelet's arguments without the one that names its drop-in directory, in any order."""
    words = environment.decode("utf-8", "replace").replace('"', " ").replace("'", " ").split()
    return sorted(word for word in words if word.partition("=")[0] != "--config-dir" and word != directory)


def without_ours(path: str, found: bytes, before: bytes, wired: Wired) -> bytes:
    """One of nodeadm's files as nodeadm would write it without our drop-in.

    Args:
        path: which one, its NodeConfig cache included.
        found: its bytes.
        before: as it was before us; the very bytes to return where they mean what is left.
        wired: what was merged.

    Raises:
        StateError: it can't be parsed.
    """
    if path == wired.containerd_config:
        document, earlier = toml.loads(found, path), toml.loads(before, path)
        _unmerge_containerd(document, earlier, wired)
        if not earlier and document.keys() == {"version"}:
            # Ours too: a file that said nothing had none.
            document.clear()
        return before if document == earlier else toml.dumps(document)
    document, earlier = _json(found, path), _json(before, path)
    if path == paths.NODECONFIG_CACHE:
        _unmerge_cache(document, earlier, wired)
    else:
        _unmerge(document, earlier, {kubelet.ENDPOINT: f"unix://{wired.address}"})
        _unmerge(document, earlier, {kubelet.ENDPOINT: paths.CONTAINERD_ENDPOINT})
    return before if document == earlier else (json.dumps(document, indent=4) + "\n").encode()


def of_others(path: str, found: bytes | None, before: bytes, wired: Wired | None) -> bytes:
    """A file that we merged into without us, where others changed it and a later install kept that.

    Args:
        path: which one.
        found: its bytes.
        before: as it was before us.
        wired: what was merged.

    Returns:
        Nothing where ``before`` is all there is to bring back.
    """
    if wired is None or found is None:
        return b""
    data = without_ours(path, found, before, wired)
    return b"" if data == before or wired.address.encode() in data else data


def _unmerge_containerd(document: dict[str, Any], earlier: dict[str, Any], wired: Wired) -> None:
    # Whichever dialect ours was in: nodeadm has containerd migrate the older one.
    for dialect in ("v2", "v3"):
        ours = containerd.keys(dialect, wired.address, wired.root)
        _unmerge(document, earlier, ours)


def _unmerge_cache(document: dict[str, Any], earlier: dict[str, Any], wired: Wired) -> None:
    spec, before = _below(document, "spec"), _below(earlier, "spec")
    own, owns = _below(spec, "containerd"), _below(before, "containerd")
    tables = toml.loads(str(own.get("config") or "").encode(), paths.NODECONFIG_CACHE)
    tables_before = toml.loads(str(owns.get("config") or "").encode(), paths.NODECONFIG_CACHE)
    _unmerge_containerd(tables, tables_before, wired)
    text = owns.get("config") if tables == tables_before else toml.dumps(tables).decode()
    _unmerge(spec, before, {"containerd": {"config": own.get("config")}})
    if text:
        spec.setdefault("containerd", {})["config"] = text
    ours = {kubelet.ENDPOINT: f"unix://{wired.address}"}
    _unmerge(spec, before, {"kubelet": {"config": ours}, "featureGates": {GATE: False}})


def _unmerge(document: dict[str, Any], earlier: dict[str, Any], ours: dict[str, Any]) -> None:
    """Take ``ours`` out of a document where it still says so; what was there before comes back."""
    for key, value in ours.items():
        found, before = document.get(key), earlier.get(key)
        if isinstance(value, dict):
            if isinstance(found, dict):
                _unmerge(found, before if isinstance(before, dict) else {}, value)
                if not found and before is None:
                    del document[key]
        elif found == value or (key == containerd_text.KEY and found == "overlayfs"):
            if key in earlier:
                document[key] = before
            else:
                document.pop(key, None)


def _below(parent: dict[str, Any], key: str) -> dict[str, Any]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _json(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        document = str(error)
    if not isinstance(document, dict):
        raise StateError(
            f"{path} is not what nodeadm writes",
            found=str(document)[:100],
            expected="a JSON object",
            remedy="repair it, or reboot: nodeadm writes it anew",
        )
    return document


def _kubelets(system: System, wired: Wired) -> str:
    """The file whose image endpoint wins: nodeadm's drop-in where kubelet reads it."""
    dropin = f"{wired.kubelet_dir}/{paths.KUBELET_NODEADM_DROPIN}"
    own = nodeadms_own(system, wired)
    return next((path for path in (dropin, wired.kubelet_config) if path in own), "")

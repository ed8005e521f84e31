"""The files that nodeadm writes: our part in them, put there as nodeadm would, and taken out again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from soci_bootstrap import paths
from soci_bootstrap.configfiles import containerd, containerd_text, kubelet, toml
from soci_bootstrap.errors import BootstrapError, StateError
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


def put_back(
    system: System, wired: Wired, before: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes | None, bool]]:
    """Nodeadm's files for a node without our drop-in, which nodeadm writes anew at the next boot only.

    Args:
        system: the node.
        wired: what nodeadm merged.
        before: the saved copies of some of them; kubelet's environment files are among them.

    Yields:
        Each file that leads to SOCI with its bytes, and whether these are the saved copy: that takes a
        file in which nothing but our part differs. Any other is unwired. None for one that goes.
    """
    # What a later boot saved leads to SOCI itself, where the first run had found no such file.
    before = {path: saved for path, saved in before.items() if wired.address.encode() not in saved}
    arguments = _arguments_before(system, wired, before)
    yield from ((path, saved, True) for path, saved in arguments.items())
    dropin = f"{wired.kubelet_dir}/{paths.KUBELET_NODEADM_DROPIN}"
    if arguments:
        yield dropin, None, True
    for path in (*nodeadms_own(system, wired), paths.NODECONFIG_CACHE):
        if path == dropin and arguments:
            continue
        found = system.read(path)
        if found is None or (wired.address.encode() not in found and _unwired(path, found, wired) == found):
            continue
        saved = before.get(path)
        if saved is not None and _differs_by_ours(path, found, saved, wired):
            yield path, saved, True
        else:
            yield path, _unwired(path, found, wired), False


def _arguments_before(system: System, wired: Wired, before: Mapping[str, bytes]) -> dict[str, bytes]:
    """Kubelet's environment files before nodeadm made kubelet a drop-in directory for our part alone.

    Nothing where it holds more, or was there before, or where kubelet's other arguments changed too.
    """
    dropin = f"{wired.kubelet_dir}/{paths.KUBELET_NODEADM_DROPIN}"
    known = {wired.containerd_config, wired.kubelet_config, dropin, paths.NODECONFIG_CACHE}
    arguments = {path: saved for path, saved in before.items() if path not in known}
    found = system.read(dropin)
    if found is None or dropin in before:
        return {}
    try:
        ours = not _json(found, dropin).keys() - {"apiVersion", "kind", kubelet.ENDPOINT}
    except StateError:
        return {}
    same = all(
        wired.kubelet_dir.encode() not in saved
        and _words(system.read(path) or b"", wired.kubelet_dir) == _words(saved, wired.kubelet_dir)
        for path, saved in arguments.items()
    )
    return arguments if ours and same else {}


def _words(environment: bytes, directory: str) -> list[str]:
    """Kubelet's arguments without the one that names its drop-in directory, in any order."""
    words = environment.decode("utf-8", "replace").replace('"', " ").replace("'", " ").split()
    return sorted(word for word in words if word.partition("=")[0] != "--config-dir" and word != directory)


def _unwired(path: str, found: bytes, wired: Wired) -> bytes:
    if path == wired.containerd_config:
        return containerd_text.unwired(found)
    if path == paths.NODECONFIG_CACHE or kubelet.endpoint_in(found) != f"unix://{wired.address}":
        return found
    return kubelet.with_endpoint(found, paths.CONTAINERD_ENDPOINT, path)


def _differs_by_ours(path: str, found: bytes, saved: bytes, wired: Wired) -> bool:
    """Tell whether a file says what its saved copy says, our part apart; not where that can't be told."""
    try:
        if path == wired.containerd_config:
            merged = containerd.with_soci(saved, wired.dialect, wired.address, wired.root, path)
            return toml.loads(found, path) == toml.loads(merged, path)
        if path == paths.NODECONFIG_CACHE:
            return _others_part(found, path) == _others_part(saved, path)
        merged = kubelet.with_endpoint(saved or b"{}", f"unix://{wired.address}", path)
        return _json(found, path) == _json(merged, path)
    except BootstrapError:
        return False


def _others_part(cache: bytes, path: str) -> dict[str, Any]:
    """A NodeConfig without the parts that nodeadm merges our drop-in into."""
    document = _json(cache, path)
    spec = document.get("spec")
    if isinstance(spec, dict):
        document["spec"] = {
            key: value for key, value in spec.items() if key not in {"containerd", "kubelet", "featureGates"}
        }
    return document


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
    data = _without_ours(path, found, before, wired)
    return b"" if data == before or wired.address.encode() in data else data


def _without_ours(path: str, found: bytes, before: bytes, wired: Wired) -> bytes:
    if path == wired.containerd_config:
        document, earlier = toml.loads(found, path), toml.loads(before, path)
        for dialect in ("v2", "v3"):
            _unmerge(document, earlier, containerd.keys(dialect, wired.address, wired.root))
        if not earlier and document.keys() == {"version"}:
            # Ours too: a file that said nothing had none.
            document.clear()
        return before if document == earlier else toml.dumps(document)
    document, earlier = _json(found, path), _json(before, path)
    _unmerge(document, earlier, {kubelet.ENDPOINT: f"unix://{wired.address}"})
    _unmerge(document, earlier, {kubelet.ENDPOINT: paths.CONTAINERD_ENDPOINT})
    return before if document == earlier else (json.dumps(document, indent=4) + "\n").encode()


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

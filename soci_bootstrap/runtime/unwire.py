"""Point containerd and kubelet back at overlayfs and containerd's own image service.

Only ``snapshotter`` and the image endpoint change; containerd keeps knowing SOCI, without which it
could not delete what lies there. Standard library only: the guard runs this while containerd waits.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from soci_bootstrap import paths
from soci_bootstrap.configfiles.containerd_text import named, unwired
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.system import System

_IMPORTS = re.compile(r"^[ \t]*imports\s*=\s*\[([^\]]*)\]", re.MULTILINE)


def config_files(system: System, wired: Wired) -> Iterator[tuple[str, str]]:
    """Containerd's configuration and what it imports: (path, text), in the order it reads them."""
    text = (system.read(wired.containerd_config) or b"").decode("utf-8", "surrogateescape")
    yield wired.containerd_config, text
    imports = _IMPORTS.search(text)
    for pattern in re.findall(r"[\"']([^\"']+)[\"']", imports[1] if imports else ""):
        directory, names = os.path.split(os.path.join(os.path.dirname(wired.containerd_config), pattern))
        for name in fnmatch.filter(system.listdir(directory), names):
            path = f"{directory}/{name}"
            yield path, (system.read(path) or b"").decode("utf-8", "surrogateescape")


def snapshotter(system: System, wired: Wired) -> str:
    """The snapshotter that containerd's files name, the last one winning; overlayfs for none."""
    return named(text for _, text in config_files(system, wired))


def leads_to_soci(system: System, wired: Wired) -> bool:
    """Tell whether containerd's snapshotter or kubelet's image endpoint is SOCI."""
    endpoint = wired.address.encode()
    return snapshotter(system, wired) == "soci" or any(
        endpoint in (system.read(path) or b"") for path in _kubelet_files(system, wired)
    )


def unwire(system: System, wired: Wired) -> list[str]:
    """Unwire the node as far as its files allow; the originals of what changes are kept first.

    Returns:
        What could not be changed, a sentence each.
    """
    # A guard that finds SOCI well has no use for this.
    from soci_bootstrap.runtime.originals import keep_originals, write_over

    failures: list[str] = []
    changes: list[tuple[str, bytes, bytes]] = []
    for look in (_containerd_changes, _kubelet_changes):
        try:
            changes += look(system, wired)
        except (BootstrapError, OSError, ValueError) as error:
            failures.append(str(error))
    if changes:
        # A disk that can't be written to for it must not keep the node from being unwired.
        with suppress(BootstrapError):
            keep_originals(system, changes)
    try:
        _replace_dropin(system, wired)
    except BootstrapError as error:
        failures.insert(0, str(error))
    for path, _, data in changes:
        try:
            write_over(system, path, data)
        except BootstrapError as error:
            failures.append(str(error))
    return failures


def _replace_dropin(system: System, wired: Wired) -> None:
    if wired.mode in {WiringMode.DIRECT, WiringMode.NONE}:
        return
    if not wired.fallback:
        system.remove(paths.NODEADM_DROPIN)
    elif system.read(paths.NODEADM_DROPIN) != wired.fallback.encode():
        system.write(paths.NODEADM_DROPIN, wired.fallback.encode())


def _containerd_changes(system: System, wired: Wired) -> Iterator[tuple[str, bytes, bytes]]:
    for path, text in list(config_files(system, wired)):
        before = text.encode("utf-8", "surrogateescape")
        data = unwired(before)
        if data != before:
            yield path, before, data


def _kubelet_files(system: System, wired: Wired) -> list[str]:
    files = [wired.kubelet_config] if wired.kubelet_config else []
    if wired.kubelet_dir:
        names = system.listdir(wired.kubelet_dir)
        files += [f"{wired.kubelet_dir}/{name}" for name in names if name.endswith(".conf")]
    return files


def _kubelet_changes(system: System, wired: Wired) -> Iterator[tuple[str, bytes, bytes]]:
    from soci_bootstrap.configfiles.kubelet import ENDPOINT

    for path in _kubelet_files(system, wired):
        data = system.read(path)
        if not data or wired.address.encode() not in data:
            continue
        document = json.loads(data)
        if isinstance(document, dict) and document.get(ENDPOINT) == f"unix://{wired.address}":
            document[ENDPOINT] = paths.CONTAINERD_ENDPOINT
            yield path, data, (json.dumps(document, indent=4) + "\n").encode()

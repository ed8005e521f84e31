"""A whole node below a directory: `plan` on any content of any of its files, and nothing changes.

Then as far as install gets before it changes anything.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from soci_bootstrap import settings
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.decide import decide, observe
from soci_bootstrap.apply.decompressors import expected_trial
from soci_bootstrap.cli.commands import plan
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.state.record import Record, load
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from tests.fuzz.targets import ChangedError
from tests.support.corpus import inputs, node_files
from tests.support.hostile import lay, shape

_PATHS = (
    node_files.CACHE,
    node_files.CONTAINERD,
    node_files.KUBELET,
    node_files.VERSION,
    node_files.RECORD,
    node_files.HOOKS,
    node_files.PAUSE,
    "/etc/eks/nodeadm.d/90-user.yaml",
    "/usr/lib/systemd/system/containerd.service",
    "/usr/lib/systemd/system/kubelet.service",
    "/etc/systemd/system/soci-snapshotter.socket",
    f"{node_files.CERTS}/x/hosts.toml",
    f"{node_files.BLOBS}/{'a' * 64}",
)
SEEDS = [
    bytes([_PATHS.index(path) * 2 + direct]) + (text if isinstance(text, bytes) else str(text).encode())
    for case in inputs.CASES
    for path, text in case.files.items()
    for direct in (0, 1)
    if path in _PATHS and text and len(text) < 1500
]
_ROOT = Path(tempfile.mkdtemp())


def one(data: bytes) -> None:
    """The first byte says which file, and whether nodeadm reads drop-ins there."""
    which = data[0] if data else 0
    base = node_files.DIRECT if which & 1 else node_files.NODE
    path = _PATHS[(which >> 1) % len(_PATHS)]
    lay(_ROOT, {**base, path: data[1:]})
    try:
        _run()
    finally:
        _remove(path)


def _run() -> None:
    before = shape(_ROOT)
    console = Console(-1, io.StringIO())
    asked = settings.load(
        ["plan", "--root", str(_ROOT), "--arch", "amd64", "--vcpus", "4", "--memory-gib", "8"], {}, _no_file
    )
    try:
        plan.run(asked, console).text.encode("utf-8", "replace")
        system = System(str(_ROOT))
        context = Context(system, asked, console, Deadline(60), b"agent", load(system), Mode.TREE)
        facts = observe(context)
        decide(context, facts, expected_trial(context, facts), Record())
    except BootstrapError as error:
        assert error.remedy
        raise
    finally:
        if shape(_ROOT) != before:
            raise ChangedError(sorted(set(shape(_ROOT).items()) ^ set(before.items()))[:4])


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)


def _remove(path: str) -> None:
    """Only what is not of both bases: the rest is written anew each time."""
    host = Path(f"{_ROOT}{path}")
    host.unlink()
    for only in set(node_files.NODE) - set(node_files.DIRECT):
        below = Path(f"{_ROOT}{only}")
        if below.is_file():
            below.unlink()

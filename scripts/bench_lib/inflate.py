"""The decompressors that SOCI may be told to use, on a layer of several hundred MiB."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, milliseconds, ratio
from scripts.bench_lib.nodes import ON_NODE, Case
from tests.node.lab import rootfs

_ROUNDS = 5
_LAYER = "/opt/bench/layer.gz"
_PROGRAMS = {
    "ours": "/usr/local/libexec/soci-bootstrap/gunzip",
    "igzip": f"/{rootfs.HIDDEN}/igzip -dc",
    "unpigz": "unpigz -dc",
    "gzip": "gzip -dc",
}
_PLACE_OURS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from soci_bootstrap import paths
from soci_bootstrap.facts.machine import architecture
from soci_bootstrap.plan import decompressor
os.makedirs(paths.LIBEXEC)
for carried in decompressor.carried(architecture(None), sys.version_info[:2]):
    with open(carried.path, "wb") as file:
        file.write(carried.data)
    os.chmod(carried.path, carried.mode)
"""


def run() -> list[Figure]:
    """Each reads the layer from a pipe and writes into one, as it does for SOCI."""
    layer = nodes.cached("layer-1", _layer)
    with nodes.held({_LAYER: layer}) as node:
        node.run(["python3", "-I", "-c", _PLACE_OURS, ON_NODE])
        cases = [
            Case(name, ("sh", "-c", f"cat {_LAYER} | {program} | cat >/dev/null"))
            for name, program in _PROGRAMS.items()
        ]
        rounds = nodes.run(node, _ROUNDS, *cases)
    others = [name for name in _PROGRAMS if name != "ours"]
    return [
        *(ratio("inflate", f"our decompressor / {other}", rounds, "ours", other) for other in others),
        milliseconds("inflate", "our decompressor", rounds, "ours"),
    ]


def _layer() -> Iterator[bytes]:
    """A Debian root's /usr as one layer: programs, libraries, text."""
    usr = rootfs.get("bullseye").layers[0] / "usr"
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        archive.add(usr, "usr")
    yield packed.getvalue()

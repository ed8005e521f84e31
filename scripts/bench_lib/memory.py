"""Peak memory of a cold install, by the archive's size."""

from __future__ import annotations

import random
import tarfile
import zlib
from collections.abc import Iterator

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, figure
from scripts.bench_lib.nodes import ON_NODE, Case
from tests.node.lab.mirror import Mirror
from tests.node.lab.soci import build

ALLOWED = 48.0
_LARGE = 600_000_000
_ROUNDS = 3
_TREE = "/opt/bench/tree"


def run() -> list[Figure]:
    """30 MB as released, and ten times that; MiB of resident memory, children included one by one."""
    small = nodes.release()
    large = nodes.cached("large-1", _large)
    figures = []
    with nodes.held() as node, Mirror(node, tls=False, port=8080) as mirror:
        for name, data in (("30 MB", small.data), ("300 MB", large.read_bytes())):
            release = build.Release(small.version, small.arch, data, b"")
            mirror.release(release)
            options = nodes.source(mirror, release).split()
            before = f"rm -rf {_TREE}; mkdir {_TREE}"
            case = Case(name, (ON_NODE, "install", "--root", _TREE, *options), before)
            rounds = nodes.run(node, _ROUNDS, case)
            values = [entry[name].rss / (1 << 20) for entry in rounds]
            figures.append(
                figure("memory", f"peak RSS of a cold install, archive of {name}", "MiB", values, ALLOWED)
            )
    return figures


def _large() -> Iterator[bytes]:
    """A tar around a binary of 600 MB, half of it noise, in pieces."""
    info = tarfile.TarInfo("soci-snapshotter-grpc")
    info.size, info.mode = _LARGE, 0o755
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    yield packer.compress(info.tobuf())
    dice = random.Random(0)
    elf = build.daemon()[:64]
    yield packer.compress(elf)
    done = len(elf)
    while done < _LARGE:
        piece = (dice.randbytes(500_000) + bytes(500_000))[: _LARGE - done]
        done += len(piece)
        yield packer.compress(piece)
    yield packer.compress(bytes(-_LARGE % 512 + 2 * 512))
    yield packer.flush()

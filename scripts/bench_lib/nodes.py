"""The nodes that are measured on, and what is served to them. Needs root; see tests/node/README.md."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from scripts.bench_lib.figures import Rounds, Sample
from tests.node.lab import rootfs
from tests.node.lab.eks import Ami, eks_node
from tests.node.lab.mirror import Mirror
from tests.node.lab.node import Node
from tests.node.lab.soci import build

HERE = Path(__file__).parent
ZIPAPP = HERE.parents[1] / "dist" / "soci-bootstrap.pyz"
ON_NODE = "/opt/bench/soci-bootstrap.pyz"
AGENT = "/usr/local/sbin/soci-bootstrap"
BASELINE = "/opt/bench/baseline.sh"
BARE = ("python3", "-I", "-c", "pass")
AMI = Ami("bullseye", generation=20251208)
"""Python 3.9 and systemd, as on the real node; containerd 1.4."""

BINARY = 60_000_000
_HELD, _GO = "/run/bench-held", "/run/bench-go"
_HOLD = f"#!/bin/sh\n: >{_HELD}\nwhile [ ! -e {_GO} ]; do sleep 0.05; done\n"


@dataclass(frozen=True)
class Case:
    """One command in a round.

    Attributes:
        name: to find its samples by.
        argv: run on the node.
        before: a shell script, not timed.
        statuses: that it may end with.
    """

    name: str
    argv: Sequence[str]
    before: str = ""
    statuses: tuple[int, ...] = (0,)


def run(node: Node, rounds: int, *cases: Case) -> Rounds:
    """Run all cases in turns on a node, after one round that does not count."""
    asked = {"rounds": rounds + 1, "cases": [vars(case) for case in cases]}
    script = (HERE / "inside.py").read_text()
    done = node.run(["python3", "-I", "-c", script], stdin=json.dumps(asked).encode(), timeout=600)
    return [
        {name: Sample(seconds, cpu, rss << 10) for name, (seconds, cpu, rss) in entry.items()}
        for entry in json.loads(done.stdout)[1:]
    ]


@contextlib.contextmanager
def held(files: Mapping[str, Path] = MappingProxyType({})) -> Iterator[Node]:
    """A node in the middle of its first boot: userData runs, containerd has not started.

    Args:
        files: of this machine, by where they stand on the node.
    """
    with eks_node(AMI, scripts=[_HOLD]) as node:
        place(node)
        for target, found in files.items():
            os.link(found, node.disk.path(target))
        node.boot(wait=False)
        node.run(f"while [ ! -e {_HELD} ]; do sleep 0.01; done")
        yield node


def let_go(node: Node) -> None:
    """Let the boot of a held node go on to its end."""
    node.run(f": >{_GO}")
    node.wait_booted()


def versions() -> str:
    """What the nodes are made of."""
    with held() as node:
        programs = ("python3", "systemctl", "containerd", "curl", "tar", "gzip", "unpigz")
        lines = node.run("".join(f"{program} --version 2>&1 | head -n 1\n" for program in programs)).stdout
    found = [(line.split()[0], re.search(r"[0-9.]+[0-9]", line)) for line in lines.splitlines()]
    return f"Debian {AMI.root}: " + ", ".join(f"{name} {number[0]}" for name, number in found if number)


def place(node: Node) -> None:
    """Put what is compared on a node that is off."""
    node.write(ON_NODE, ZIPAPP.read_bytes(), 0o755)
    node.write(BASELINE, (HERE / "baseline.sh").read_bytes(), 0o755)


def source(mirror: Mirror, data: build.Release) -> str:
    """The options that make install fetch a release from a mirror, as shell words."""
    return shlex.join(["--mirror", mirror.url, "--sha256", data.sha256])


@functools.cache
def release() -> build.Release:
    """Like a real one: 60 MB of Go program in 30 MB, packed by gzip at its usual level.

    The daemon's head is the lab's, so that it runs; behind it lie the bytes of SOCI's own programs, since
    how fast something unpacks depends on what it is.
    """
    programs = rootfs.get("soci-daemon").layers[0] / "opt/lab/soci"
    head = build.daemon()
    real = (programs / "daemon").read_bytes()
    binary = head + real[: BINARY - len(head)]
    cli = (programs / "cli").read_bytes() + real[BINARY - len(head) :]
    made = build.Release("0.15.0", build.this_arch(), b"", binary)
    key = hashlib.sha256(Path(__file__).read_bytes() + binary + cli).hexdigest()[:16]
    packed = cached(f"release-{key}", lambda: [_pack({"soci-snapshotter-grpc": binary, "soci": cli})])
    return build.Release(made.version, made.arch, packed.read_bytes(), binary)


def cached(name: str, make: Callable[[], Iterable[bytes]]) -> Path:
    """A file that takes long to make, in the cache; one is kept of each kind, the name up to its last -."""
    place = rootfs.cache_dir() / "bench" / name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        for old in place.parent.glob(f"{name.rpartition('-')[0]}-*"):
            old.unlink()
        staged = place.with_name(f"{name}.tmp")
        with open(staged, "wb") as file:
            file.writelines(make())
        staged.rename(place)
    return place


def _pack(members: dict[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 6, mtime=0)

"""Installing, and what costs time at a boot: on a booted node with Python 3.9."""

from __future__ import annotations

from scripts.bench_lib import nodes
from scripts.bench_lib.figures import Figure, figure, milliseconds, ratio
from scripts.bench_lib.nodes import AGENT, BARE, BASELINE, ON_NODE, Case
from tests.node.lab.mirror import Mirror
from tests.node.lab.node import Node

COLD, CONVERGED = 0.75, 12.0
"""Allowed, as ratios."""
BOOT_UNIT = 300.0
"""Allowed, in milliseconds."""

_COLD_ROUNDS, _ROUNDS = 11, 21
_TREE = "/opt/bench/tree"
_SEED = f"""
seed=/opt/bench/seed
mkdir -p $seed/etc/eks/nodeadm.d $seed/etc/systemd/system $seed/run/eks/nodeadm
cp /etc/eks/containerd-version.txt $seed/etc/eks
cp /etc/systemd/system/nodeadm-run.service $seed/etc/systemd/system
cp /run/eks/nodeadm/config.json $seed/run/eks/nodeadm
cp -a $seed {_TREE}-converged
"""
# Each run pays for its own bytes: what the one before left in the page cache is on the disk already.
_FRESH_TREE = f"rm -rf {_TREE} && cp -a /opt/bench/seed {_TREE} && sync -f {_TREE}"
_FRESH_NODE = f"""
if [ -e {AGENT} ]; then {AGENT} rollback -q >&2; fi
systemctl stop soci-snapshotter.socket || :
if [ -e /etc/eks/nodeadm.d/50-soci.json ]; then
    systemctl disable --quiet soci-snapshotter.service soci-snapshotter.socket
    rm -rf /usr/local/bin/soci-snapshotter-grpc /etc/soci-snapshotter-grpc /etc/eks/nodeadm.d/50-soci.json \\
        /etc/systemd/system/soci-snapshotter.s* /etc/systemd/system/containerd.service.d/50-soci.conf
    systemctl daemon-reload
fi
sync -f /usr
"""
_UNTOUCHED = "find / -xdev -newer /run/bench-mark -type f ! -path '/proc/*' ! -path '/var/log/*' -print"


def run() -> list[Figure]:
    """Cold and converged installs, and ``doctor`` and the boot-time unit beside them."""
    data = nodes.release()
    with nodes.held() as node, Mirror(node, tls=False, port=8080) as plain, Mirror(node) as secure:
        plain.release(data)
        secure.release(data)
        node.run(_SEED)
        options = nodes.source(plain, data).split()
        figures = _cold(node, plain.url, secure.url, data.path, data.sha256)
        return figures + _again(node, options)


def _cold(node: Node, plain: str, secure: str, path: str, digest: str) -> list[Figure]:
    def ours(name: str, url: str, before: str, *words: str) -> Case:
        return Case(name, (ON_NODE, "install", "--mirror", url, "--sha256", digest, *words), before)

    def script(name: str, root: str, url: str, before: str) -> Case:
        return Case(name, (BASELINE, root, f"{url}/{path}", digest), before)

    tree = nodes.run(
        node,
        _COLD_ROUNDS,
        ours("install", plain, _FRESH_TREE, "--root", _TREE),
        script("script", _TREE, plain, _FRESH_TREE),
        ours("install-tls", secure, _FRESH_TREE, "--root", _TREE),
        script("script-tls", _TREE, secure, _FRESH_TREE),
    )
    live = nodes.run(
        node,
        _COLD_ROUNDS,
        ours("install", plain, _FRESH_NODE),
        script("script", "/", plain, _FRESH_NODE),
    )
    node.run(_FRESH_NODE)
    return [
        ratio("install", "cold, files alone, http: install / script", tree, "install", "script", COLD),
        ratio(
            "install", "cold, files alone, https: install / script", tree, "install-tls", "script-tls", COLD
        ),
        ratio("install", "cold, files alone, http, CPU time", tree, "install", "script", cpu=True),
        ratio(
            "install",
            "cold, on a node, with self-test and preflight: install / script",
            live,
            "install",
            "script",
            COLD,
        ),
        milliseconds("install", "cold, files alone, http: install", tree, "install"),
        milliseconds("install", "cold, files alone, http: script", tree, "script"),
        milliseconds("install", "cold, on a node: install", live, "install"),
    ]


def _again(node: Node, options: list[str]) -> list[Figure]:
    converged = (ON_NODE, "install", *options)
    image = (*converged, "--root", f"{_TREE}-converged")
    node.run([*image])
    node.run([*converged])
    node.run("sync; : >/run/bench-mark; sleep 0.05")
    rounds = nodes.run(
        node,
        _ROUNDS,
        Case("bare", BARE),
        Case("converged", converged),
        Case("image", image),
        Case("boot", (AGENT, "hook", "boot")),
        Case("doctor", (AGENT, "doctor"), statuses=(0, 1, 2)),
    )
    written = [path for path in node.run(_UNTOUCHED).stdout.split() if not path.startswith("/run/")]
    return [
        ratio("install", "converged: install / python3 -I -c pass", rounds, "converged", "bare", CONVERGED),
        ratio("install", "the same, CPU time", rounds, "converged", "bare", CONVERGED, cpu=True),
        ratio(
            "install",
            "converged, with --root: install / python3 -I -c pass",
            rounds,
            "image",
            "bare",
            CONVERGED,
        ),
        figure("install", "converged: files written", "", [float(len(written))], 0.0),
        milliseconds("install", "python3 -I -c pass", rounds, "bare"),
        milliseconds("install", "boot-time unit, nothing changed", rounds, "boot", BOOT_UNIT),
        milliseconds("install", "doctor", rounds, "doctor"),
    ]

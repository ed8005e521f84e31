"""nodeadm's cache and the drop-ins beside ours: first the one, after a NUL the other."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.facts import nodeconfig
from tests.fuzz.files import Files
from tests.support.corpus.inputs import CASES
from tests.support.corpus.node_files import CACHE
from tests.support.nodes import captured

_STATIC = captured("nodeadm-cache-static-soci.json")
SEEDS = [
    captured("nodeadm-cache.json"),
    captured("nodeadm-cache-user-v2.json") + b"\0spec:\n  featureGates:\n    FastImagePull: true\n",
    _STATIC,
    b"{}\0" + _STATIC,
    b'{}\0spec:\n  containerd:\n    config: |\n      [x]\n      snapshotter = "soci"\n',
    *(
        found if isinstance(found, bytes) else str(found).encode()
        for case in CASES
        if (found := case.files.get(CACHE)) and len(found) < 2000
    ),
]


def one(data: bytes) -> None:
    """A node's whole NodeConfig."""
    cache, _, dropin = data.partition(b"\0")
    files = {CACHE: cache, f"{paths.NODEADM_DROPINS}/90-user.yaml": dropin}
    found = nodeconfig.read(Files(files))
    assert nodeconfig.read(Files(files)) == found
    nodeconfig.read(Files(files), cached=False)
    assert not found.static or isinstance(found.static.address, str)

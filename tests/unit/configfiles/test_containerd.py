"""`containerd config dump` as real ones print it, and what is taken from it."""

from __future__ import annotations

import pytest

from soci_bootstrap.configfiles.containerd import Effective, effective
from soci_bootstrap.errors import StateError
from tests.support.nodes import captured

SOCKET = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
PAUSE = "localhost/kubernetes/pause:latest"
V2 = b"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.8"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "soci"
    disable_snapshot_annotations = false
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_unpacks = 4
[proxy_plugins.soci]
  address = "unix:///run/x.sock"
"""


@pytest.mark.parametrize(
    ("dump", "expected"),
    [
        (
            captured("containerd-nodeadm-static-soci.toml"),
            Effective(
                "soci",
                annotations=True,
                plugin=True,
                address=SOCKET,
                root="/var/lib/containerd/io.containerd.snapshotter.v1.soci",
                sandbox=PAUSE,
            ),
        ),
        (captured("containerd-nodeadm-user-v2-migrated.toml"), Effective("overlayfs", sandbox=PAUSE)),
        (captured("containerd-nodeadm-v3.toml"), Effective("overlayfs", sandbox=PAUSE)),
        (
            V2,
            Effective(
                "soci",
                annotations=True,
                plugin=True,
                address="/run/x.sock",
                sandbox="registry.k8s.io/pause:3.8",
                unpacks=4,
            ),
        ),
        (b"", Effective()),
        (b"plugins = 1\nproxy_plugins = []\n", Effective()),
    ],
)
def test_effective(dump: bytes, expected: Effective) -> None:
    assert effective(dump) == expected


def test_effective_refuses_what_is_no_toml() -> None:
    with pytest.raises(StateError, match="config dump"):
        effective(b"containerd: unknown command")

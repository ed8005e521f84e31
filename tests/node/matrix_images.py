"""The fault matrix: what an image holds already, where registries are, and proxies on the way to them."""

from __future__ import annotations

from tests.node.lab import images
from tests.node.lab.eks import NODECONFIG
from tests.node.matrix import (
    OVERLAYFS,
    SOCI,
    Bench,
    Row,
    refused,
)

# --- what the image holds already, and where registries are


def _with_app(unpack: str) -> str:
    return (
        "systemctl start containerd; ctr -n k8s.io images import "
        f"{unpack} /opt/app.tar >/dev/null; systemctl stop containerd"
    )


PRE = "registry.test:5000/pre:latest"


def _bring_app(bench: Bench) -> None:
    bench.node.write("/opt/app.tar", images.app(seed=b"pre").archive(PRE))
    bench.registry.push(images.app(seed=b"pre"), "pre")


def _no_discard(bench: Bench) -> None:
    assert bench.config()["discard_unpacked_layers"] is False
    assert bench.start_reference(PRE)[1] == SOCI


def _discards(bench: Bench) -> None:
    assert bench.config()["discard_unpacked_layers"] is True


def _still_runs(bench: Bench) -> None:
    assert bench.start_reference(PRE, pull=False)[1] == OVERLAYFS
    bench.reboot()


def _runs_anew(bench: Bench) -> None:
    assert bench.start_reference(PRE)[1] == SOCI


def _host(name: str) -> str:
    return (
        f'mkdir -p /etc/containerd/certs.d/{name}; printf \'server = "https://{name}"\\n'
        f'[host."https://cache.test:5001"]\\n\' > /etc/containerd/certs.d/{name}/hosts.toml'
    )


STORES = [
    Row("nothing pre-pulled", act=_discards),
    Row("layers in the content store", prepare=_bring_app, before=_with_app("--no-unpack"), act=_no_discard),
    Row(
        "images pre-pulled on overlayfs",
        OVERLAYFS,
        refused("pre-pulled on overlayfs"),
        prepare=_bring_app,
        before=_with_app(""),
        act=_still_runs,
    ),
    Row(
        "the same with --force",
        options="--tarball /opt/soci.tgz --sha256 {sha256} --force",
        prepare=_bring_app,
        before=_with_app(""),
        act=_runs_anew,
    ),
    Row(
        "certs.d names a mirror, registry unreachable",
        OVERLAYFS,
        refused("docker.io"),
        before=_host("docker.io"),
    ),
    Row("certs.d names a mirror, registry reachable", before=_host("registry.test:5000")),
]

# --- proxies

_PROXY = """\
import socket, threading
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def serve(client):
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += client.recv(65536)
    port = int(head.split()[1].rsplit(b":", 1)[1])
    server = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"HTTP/1.1 200 connected\\r\\n\\r\\n")
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)
listener = socket.create_server(("127.0.0.1", 3128))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def _bring_proxy(bench: Bench) -> None:
    bench.node.write("/opt/proxy.py", _PROXY)


def _pulls_by_proxy(bench: Bench) -> None:
    """proxied.test is no name on this node; only the proxy knows its way."""
    bench.registry.push(images.app(seed=b"proxied"), "proxied")
    assert bench.start_reference("proxied.test:5000/proxied:latest")[1] == SOCI


PROXIES = [
    Row(
        "proxy-only node",
        nodeconfig=f"{NODECONFIG}  instance:\n    environment:\n"
        "      containerd: {HTTPS_PROXY: 'http://127.0.0.1:3128', NO_PROXY: registry.test}\n",
        prepare=_bring_proxy,
        before="systemd-run --quiet --unit lab-proxy python3 /opt/proxy.py",
        act=_pulls_by_proxy,
    )
]

ROWS = [*STORES, *PROXIES]

"""A release mirror and a registry, over https by an authority of our own, in a node's network."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from tests.node.lab import rootfs
from tests.node.lab.images import Image
from tests.node.lab.node import Node
from tests.node.lab.rootfs import LabError
from tests.node.lab.server import Request, Response, Server
from tests.node.lab.soci.build import Release

HOST, REGISTRY = "mirror.test", "registry.test"
_SO_MAX_PACING_RATE = 47
"""Of asm-generic/socket.h; Python has no name for it."""


class Mirror(Server):
    """Serves what ``put`` was given.

    Args:
        node: in whose network it listens; ``introduce`` must have been called for it (``eks_node`` does).
        tls: False for plain http.
        port: of 127.0.0.1 in the node's network.
    """

    def __init__(self, node: Node, *, tls: bool = True, port: int = 8443) -> None:
        self.files: dict[str, bytes] = {}
        super().__init__(_listen(node, port), self._file, _context() if tls else None)
        self.url = f"http{'s' if tls else ''}://{HOST}:{port}"

    def put(self, path: str, data: bytes) -> str:
        """Serve ``data``; its URL."""
        self.files[path] = data
        return f"{self.url}/{path}"

    def release(self, release: Release, data: bytes | None = None) -> None:
        """Serve a release as upstream lays them out, with its .sha256sum; ``data`` in the tarball's stead."""
        self.put(release.path, release.data if data is None else data)
        self.put(f"{release.path}.sha256sum", f"{release.sha256}  {release.name}\n".encode())

    def _file(self, request: Request) -> Response:
        data = self.files.get(request.path.lstrip("/").partition("?")[0])
        return Response(b"no such file\n", 404) if data is None else Response(data)


class Registry(Server):
    """A container registry over https: what ``push`` was given can be pulled.

    Args:
        node: as for ``Mirror``.
        port: the same.
        rate: bytes a second for each connection, 0 for as many as there can be.
    """

    def __init__(self, node: Node, *, port: int = 5000, rate: int = 0) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, Image] = {}
        listener = _listen(node, port)
        if rate:
            listener.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)  # its connections inherit it
        super().__init__(listener, self._answer, _context())

    def push(self, image: Image, name: str = "app", tag: str = "latest") -> str:
        """Offer an image; its reference."""
        self.blobs.update(image.blobs)
        self.manifests[f"{name}/{tag}"] = self.manifests[f"{name}/{image.digest}"] = image
        return f"{REGISTRY}:{self.port}/{name}:{tag}"

    def _answer(self, request: Request) -> Response:
        path = request.path.partition("?")[0]
        name, kind, what = ("", *path[4:].rsplit("/", 2))[-3:] if path.count("/") > 3 else ("", "", "")
        if path == "/v2/":
            return Response(b"{}")
        if kind == "manifests" and (image := self.manifests.get(f"{name}/{what}")):
            return Response(
                image.manifest,
                headers={"Content-Type": image.media_type, "Docker-Content-Digest": image.digest},
            )
        if kind == "blobs" and what in self.blobs:
            headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": what}
            return Response(self.blobs[what], headers=headers)
        return Response(b'{"errors": [{"code": "NOT_FOUND"}]}', 404, {"Content-Type": "application/json"})


def introduce(node: Node) -> None:
    """Have the node resolve our names to its own loopback and trust our authority, by its own CA bundle."""
    hosts = node.read("/etc/hosts") if node.exists("/etc/hosts") else "127.0.0.1 localhost\n"
    node.write("/etc/hosts", f"{hosts}127.0.0.1 {HOST} {REGISTRY}\n")
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    node.write(bundle, node.read(bundle) + (_authority() / "ca.pem").read_text())


def _listen(node: Node, port: int) -> socket.socket:
    if node.net is None:
        raise LabError("servers need a node with a private network")
    return node.net.listen("127.0.0.1", port)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_authority() / "server.pem")
    return context


@functools.cache
def _authority() -> Path:
    """A directory with ca.pem and server.pem (key, certificate), made for this test run."""
    place = rootfs.cache_dir() / "nodes" / f"{os.getpid()}-tls"
    place.mkdir(parents=True, exist_ok=True)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "names").write_text(
        f"subjectAltName=DNS:{HOST},DNS:{REGISTRY},DNS:localhost,DNS:*.test,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"
    )
    script = f"""set -e; cd '{place}'
    new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    $new -x509 -days 30 -subj /CN=lab-authority -keyout ca.key -out ca.pem \\
        -addext basicConstraints=critical,CA:TRUE
    $new -subj /CN={HOST} -keyout server.key -out server.csr
    openssl x509 -req -days 30 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial \\
        -extfile names -out server.crt
    cat server.key server.crt > server.pem"""
    subprocess.run(["sh", "-c", script], check=True, capture_output=True)
    return place

"""Container images, made of nothing but Python and one static program."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.node.lab import rootfs
from tests.node.lab.soci.build import this_arch

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PAUSE = "localhost/kubernetes/pause:latest"
_SLEEPER = """
#include <signal.h>
#include <unistd.h>
static void end(int n) { (void)n; _exit(0); }
int main(int c, char **v) {
    signal(SIGTERM, end); signal(SIGINT, end);
    (void)v; if (c > 1) return 0;                 /* any argument: end at once */
    if (write(1, "running\\n", 8) != 8) return 1;
    for (;;) pause();
}
"""


@dataclasses.dataclass(frozen=True)
class File:
    """One member of a layer; a directory if ``data`` is None and there is no ``link``."""

    path: str
    data: bytes | None = None
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    link: str = ""
    xattrs: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Image:
    """A manifest and its blobs, by digest (``sha256:…``)."""

    manifest: bytes
    blobs: Mapping[str, bytes]
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]
    media_type: str = _MANIFEST

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return _digest(self.manifest)

    def archive(self, name: str) -> bytes:
        """An OCI layout in a tar file, as ``ctr images import`` takes it."""
        descriptor = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.manifest),
            "annotations": {"io.containerd.image.name": name},
        }
        index = {"schemaVersion": 2, "manifests": [descriptor]}
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
        for digest, data in {**self.blobs, self.digest: self.manifest}.items():
            files[f"blobs/sha256/{digest[7:]}"] = data
        return _tar([File(path, data, 0o644) for path, data in files.items()])


def build(layers: Sequence[Sequence[File]], entrypoint: Sequence[str], *, level: int = 1) -> Image:
    """An image of gzip layers for this machine."""
    blobs, diff_ids, descriptors = {}, [], []
    for files in layers:
        tar = _tar(files)
        packed = gzip.compress(tar, level, mtime=0)
        diff_ids.append(_digest(tar))
        blobs[_digest(packed)] = packed
        descriptors.append({"mediaType": _LAYER, "digest": _digest(packed), "size": len(packed)})
    config = json.dumps(
        {
            "architecture": this_arch(),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    ).encode()
    blobs[_digest(config)] = config
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": descriptors,
    }
    return Image(
        json.dumps(manifest).encode(), blobs, tuple(str(d["digest"]) for d in descriptors), tuple(diff_ids)
    )


@functools.cache
def pause() -> Image:
    """The sandbox image."""
    return build([[File("pause", sleeper())]], ["/pause"])


@functools.cache
def app(size: int = 0, seed: bytes = b"") -> Image:
    """Three layers with what an unpacker can get wrong, and a program that says "running" and stays.

    setuid and setgid files, a file capability, another extended attribute, owners, hard and
    symbolic links, a file and a directory removed by a later layer.

    Args:
        size: bytes of filling, half of it incompressible, in a layer of its own.
        seed: gives other layers, and so another image.
    """
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
    base = [
        File("app", sleeper()),
        File("seed", seed, 0o644),
        File("gone", b"whited out", 0o644),
        File("kept"),
        File("kept/hidden", b"below an opaque directory", 0o644),
    ]
    odd = [
        File("setuid", b"#!", 0o4755),
        File("setgid", b"#!", 0o2755, gid=50),
        File("owned", b"x", 0o600, uid=1000, gid=1001),
        File("capable", b"#!", 0o755, xattrs={"security.capability": capability}),
        File("labelled", b"x", 0o644, xattrs={"user.lab": b"value"}),
        File("symbolic", link="app"),
        File(".wh.gone", b"", 0o644),
        File("kept"),
        File("kept/.wh..wh..opq", b"", 0o644),
        File("kept/new", b"new", 0o644),
    ]
    layers = [base, odd]
    if size:
        noise = b"".join(
            hashlib.sha512(seed + index.to_bytes(4, "big")).digest() for index in range(size // 128)
        )
        layers.append([File("filling", noise + bytes(size - len(noise)), 0o644)])
    return build(layers, ["/app"])


@functools.cache
def sleeper() -> bytes:
    """A static program that prints ``running`` and sleeps until SIGTERM."""
    key = hashlib.sha256(_SLEEPER.encode()).hexdigest()[:16]
    place = rootfs.cache_dir() / "soci" / f"sleeper-{key}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(f"{place}.{id(place)}.tmp")
        command = ["cc", "-Os", "-static", "-s", "-x", "c", "-o", str(staged), "-"]
        subprocess.run(command, input=_SLEEPER.encode(), check=True)
        staged.rename(place)
    return place.read_bytes()


def _tar(files: Sequence[File]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            info = tarfile.TarInfo(file.path)
            info.mode, info.uid, info.gid = file.mode, file.uid, file.gid
            if file.link:
                info.type, info.linkname = tarfile.SYMTYPE, file.link
            elif file.data is None:
                info.type = tarfile.DIRTYPE
            info.size = len(file.data or b"")
            # surrogateescape, as tarfile itself would read such a header
            info.pax_headers = {
                f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
                for name, value in file.xattrs.items()
            }
            archive.addfile(info, io.BytesIO(file.data or b""))
    return packed.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

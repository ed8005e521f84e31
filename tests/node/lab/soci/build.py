"""Compile the daemon and pack release tarballs as upstream does."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

from tests.node.lab import rootfs

_SOURCE = Path(__file__).with_name("daemon.c")
_MACHINES = {"amd64": 62, "arm64": 183}
"""e_machine in an ELF header."""


@dataclasses.dataclass(frozen=True)
class Release:
    """A release tarball and what a client must know of it."""

    version: str
    arch: str
    data: bytes
    binary: bytes

    @property
    def name(self) -> str:
        """As upstream names it."""
        return f"soci-snapshotter-{self.version}-linux-{self.arch}.tar.gz"

    @property
    def path(self) -> str:
        """Below a mirror's base."""
        return f"v{self.version}/{self.name}"

    @property
    def sha256(self) -> str:
        """Of the whole tarball, in hex."""
        return hashlib.sha256(self.data).hexdigest()


def this_arch() -> str:
    """The architecture of this machine, as releases name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


@functools.cache
def daemon(version: str = "0.15.0") -> bytes:
    """The compiled daemon; a static executable that says it is ``version``."""
    return _compiled(_SOURCE, version)


@functools.cache
def front() -> bytes:
    """A static executable that becomes the real daemon, where no test has it fail."""
    return _compiled(_SOURCE.with_name("front.c"), "")


def _compiled(source: Path, version: str) -> bytes:
    key = hashlib.sha256(source.read_bytes() + version.encode()).hexdigest()[:16]
    place = rootfs.cache_dir() / "soci" / f"{source.stem}-{version}-{key}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_name(f"{place.name}.{os.getpid()}.tmp")
        flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", f'-DSOCI_VERSION="{version}"']
        subprocess.run(["cc", *flags, "-o", str(staged), str(source)], check=True)
        staged.rename(place)
    return place.read_bytes()


@functools.cache
def release(
    version: str = "0.15.0",
    arch: str = "",
    *,
    size: int = 0,
    wrong_machine: bool = False,
    member: str = "soci-snapshotter-grpc",
) -> Release:
    """A release tarball.

    Args:
        version: of the daemon and in the names.
        arch: ``amd64`` or ``arm64``, empty for this machine's; another one's doesn't run here.
        size: bytes to pad the daemon to, half of them incompressible as in real ones; 0 as it is.
        wrong_machine: put another architecture's executable under this one's name.
        member: the daemon's name in the archive.
    """
    arch = arch or this_arch()
    binary = bytearray(daemon(version))
    shown = next(other for other in _MACHINES if other != arch) if wrong_machine else arch
    binary[18:20] = _MACHINES[shown].to_bytes(2, "little")
    missing = max(0, size - len(binary))
    noise = random.Random(0).randbytes(missing // 2)
    binary += noise + bytes(missing - len(noise))
    return Release(
        version,
        arch,
        pack(
            {
                "THIRD_PARTY_LICENSES": b"licences\n",
                "NOTICE.md": b"notice\n",
                "soci": b"#!/bin/sh\nexit 0\n",
                member: bytes(binary),
            }
        ),
        bytes(binary),
    )


def pack(members: dict[str, bytes]) -> bytes:
    """A release's tarball of these members."""
    packed = io.BytesIO()
    # No time in the header: whoever packs it again gets the same digest.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.startswith("soci") else 0o644
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()

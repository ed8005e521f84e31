"""Program sets: which programs there are, and the flags that each upstream release is built with."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Collection
from pathlib import Path

from tests.node.lab import rootfs

HERE = Path(__file__).parent
GO_LOCK = HERE / "go.txt"
RECIPE = 1
"""Raise it when the builder changes what a program is made of; every set is then built again."""
_SOCI_VERSION = "github.com/awslabs/soci-snapshotter/version"
_CONTAINERD_VERSION = "github.com/containerd/containerd/v2/version"
_KUBERNETES_VERSION = "k8s.io/component-base/version"


@dataclasses.dataclass(frozen=True)
class ProgramSet:
    """Programs of one upstream release, built together from one lock.

    Attributes:
        name: of the folder here with go.mod and go.sum; the release's version stands behind the last dash.
        variables: Go's string variables to set when linking; ``{version}`` is filled in.
        tags: Go's build tags.
        cgo: C code is compiled and linked statically, with the C library and zlib of the build machine.
        gib: of free disk that a first build takes, Go's caches included.
        minutes: that a first build takes on two cores, to tell people.
    """

    name: str
    variables: tuple[str, ...]
    tags: str = ""
    cgo: bool = False
    gib: float = 2
    minutes: int = 2

    @property
    def version(self) -> str:
        """Of the release."""
        return self.name.rpartition("-")[2]

    @property
    def folder(self) -> Path:
        """Of the lock."""
        return HERE / self.name

    @property
    def programs(self) -> dict[str, str]:
        """Name of each program and the Go package that it is built from, as go.mod's ``tool`` lines say."""
        lock = (self.folder / "go.mod").read_text()
        block = re.search(r"^tool \(\n(.*?)^\)", lock, re.MULTILINE | re.DOTALL)
        packages = block[1].split() if block else re.findall(r"^tool (\S+)$", lock, re.MULTILINE)
        # A package that is a module's own directory has only a number of version for its last part.
        names = [
            re.sub(r"^v\d+$", self.name.rpartition("-")[0], each.rpartition("/")[2]) for each in packages
        ]
        return dict(zip(names, packages))

    @property
    def place(self) -> Path:
        """Where its programs are or will be, named after all that decides what is in them."""
        digest = hashlib.sha256(repr((RECIPE, self.flags, self.cgo)).encode())
        for path in (GO_LOCK, self.folder / "go.mod", self.folder / "go.sum"):
            digest.update(path.read_bytes())
        return rootfs.cache_dir() / f"real-{self.name}-{digest.hexdigest()[:16]}"

    def missing(self, wanted: Collection[str] = ()) -> list[str]:
        """Names of programs that are not in their place, of those wanted or of all."""
        return [
            name
            for name in self.programs
            if (not wanted or name in wanted) and not (self.place / name).exists()
        ]

    @property
    def flags(self) -> list[str]:
        """Arguments of ``go build``."""
        link = "-s -w " + " ".join(f"-X {each.format(version=self.version)}" for each in self.variables)
        if self.cgo:
            link += " -linkmode external -extldflags -static"
        return ["-trimpath", "-buildvcs=false", f"-tags={self.tags}", f"-ldflags={link}"]


def _containerd(version: str) -> ProgramSet:
    return ProgramSet(
        f"containerd-{version}",
        (f"{_CONTAINERD_VERSION}.Version=v{{version}}", f"{_CONTAINERD_VERSION}.Revision=lab"),
        tags="no_btrfs no_devmapper no_zfs",
    )


_ALL = (
    ProgramSet(
        "soci-0.16.1",
        (f"{_SOCI_VERSION}.Version=v{{version}}", f"{_SOCI_VERSION}.Revision=lab"),
        tags="osusergo netgo static_build",
        cgo=True,
    ),
    _containerd("2.2.9"),
    _containerd("2.3.7"),
    _containerd("2.4.2"),
    ProgramSet(
        "kubernetes-1.37.2",
        (
            f"{_KUBERNETES_VERSION}.gitVersion=v{{version}}",
            f"{_KUBERNETES_VERSION}.gitMajor=1",
            f"{_KUBERNETES_VERSION}.gitMinor=37",
        ),
        gib=6,
        minutes=12,
    ),
    ProgramSet("etcd-3.7.3", ()),
    ProgramSet("cri-tools-1.37.0", ("sigs.k8s.io/cri-tools/pkg/version.Version=v{version}",)),
)
SETS = {each.name: each for each in _ALL}

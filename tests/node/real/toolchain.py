"""The Go toolchain: a wheel, pinned by its hash, below the cache; the machine's own Go is never used."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.node.lab import rootfs
from tests.node.real.sets import GO_LOCK

_ALTERS_BUILDS = (
    "CGO_CFLAGS",
    "CGO_LDFLAGS",
    "GO111MODULE",
    "GOARCH",
    "GOBIN",
    "GOEXPERIMENT",
    "GOOS",
    "GOROOT",
    "GOVCS",
)
"""Settings of Go's that a user may have for other builds. Those that say where modules come from are kept."""


class BuildError(RuntimeError):
    """A program could not be built; the message says what to do about it."""


def go() -> Path:
    """Return the go command, installed first where the cache lacks it.

    Raises:
        BuildError: pip could not install it.
    """
    place = _place()
    if not place.exists():
        staged = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
        try:
            _install(staged)
            # Another build may have been faster.
            if not place.exists():
                staged.rename(place)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return place / "go" / "bin" / "go"


def installed() -> bool:
    """Return whether ``go`` would answer at once."""
    return _place().exists()


def _place() -> Path:
    return rootfs.cache_dir() / f"go-{hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()[:16]}"


def _install(target: Path) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--root-user-action", "ignore", "--no-compile"]
    options += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command = [sys.executable, "-I", "-m", "pip", "install", *options, "--target", str(target)]
    done = subprocess.run([*command, "-r", str(GO_LOCK)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "nothing said").splitlines()[-1]
        raise BuildError(
            f"pip can't install Go as {GO_LOCK.name} pins it: {said}\n"
            "It is a wheel of some 75 MB: a first build needs the network that pip is set up for here."
        )


def environment(*, cgo: bool) -> Mapping[str, str]:
    """Return the environment of a build: this machine's, less what would make the result another one."""
    kept = {name: value for name, value in os.environ.items() if name not in _ALTERS_BUILDS}
    caches = rootfs.cache_dir() / "real-go"
    return {
        **kept,
        "CGO_ENABLED": "1" if cgo else "0",
        "GOCACHE": str(caches / "build"),
        # Directories that anyone may delete, as those of a cache should be.
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": str(caches / "modules"),
        "GOPATH": str(caches / "path"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }

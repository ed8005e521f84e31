"""Cached Debian roots, built once per recipe by debootstrap."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

RECIPE = 4
"""Raise it when the code below changes what a root holds; cached roots are then rebuilt."""

PACKAGES = [
    "systemd",
    "systemd-sysv",
    "python3",
    "python3-yaml",
    "containerd",
    "crun",
    "ca-certificates",
    "iproute2",
    "iptables",
    "cloud-init",
    "curl",
    "docker-registry",
    "isal",
    "pigz",
    "procps",
    "coreutils",
    "debian-archive-keyring",
    "libcap2-bin",
    "attr",
]
HIDDEN = Path("opt/lab/bin")
"""Below a root: programs a stock node lacks (igzip), for ``Node.offer``."""


class LabError(RuntimeError):
    """The lab itself, not the program under test, could not do something."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a root is made.

    Attributes:
        suite: Debian suite; empty for one that is made upon another.
        base: the root it lies upon, as an overlay.
        script: shell run inside, after the packages.
        keep: the one top-level directory of interest, everything else that the script left is dropped.
    """

    suite: str = ""
    base: str = ""
    script: str = ""
    keep: str = ""


# As on the real AMI, nothing starts containerd at boot but nodeadm. Timers and gettys only cost time.
_PREPARE = f"""
mkdir -p /{HIDDEN} && mv /usr/bin/igzip /{HIDDEN}/igzip
systemctl disable containerd.service docker-registry.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \\
    getty.target console-getty.service getty@tty1.service systemd-update-utmp.service logrotate.timer dpkg-db-backup.timer
systemctl set-default multi-user.target
touch /etc/cloud/cloud-init.disabled
rm -f /etc/machine-id /var/lib/dbus/machine-id; touch /etc/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
"""  # noqa: E501
_FORKY = """
sed 's/ trixie / forky /' /etc/apt/sources.list > /etc/apt/sources.list.d/forky.list
printf 'Package: *\\nPin: release n=forky\\nPin-Priority: 100\\n' > /etc/apt/preferences.d/forky
apt-get -q update
apt-get -q -y --no-install-recommends -t forky install containerd
"""
_SOCI = """
apt-get -q update
cd /tmp && apt-get -q download soci-snapshotter && dpkg -x soci-snapshotter_*.deb x
mkdir -p /opt/lab/soci/lib
cp x/usr/bin/soci-snapshotter-grpc /opt/lab/soci/daemon
cp x/usr/bin/soci /opt/lab/soci/cli
for f in $(ldd /opt/lab/soci/daemon | grep -o '/[^ ]*'); do cp -L "$f" /opt/lab/soci/lib/; done
mv /opt/lab/soci/lib/ld-linux* /opt/lab/soci/lib/ld.so
"""
RECIPES = {
    "bullseye": Recipe(suite="bullseye", script=_PREPARE),
    "bookworm": Recipe(suite="bookworm", script=_PREPARE),
    "trixie": Recipe(suite="trixie", script=_PREPARE),
    "trixie-containerd2": Recipe(base="trixie", script=_FORKY),
    "soci-daemon": Recipe(base="trixie", script=_SOCI, keep="opt"),
}
NODE_ROOTS = ("bullseye", "bookworm", "trixie", "trixie-containerd2")


@dataclasses.dataclass(frozen=True)
class Root:
    """A built root: overlay layers, uppermost first; never written to."""

    name: str
    layers: tuple[Path, ...]


def cache_dir() -> Path:
    """Where roots and other costly things are kept, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "soci-bootstrap"


def mirror() -> str:
    """The Debian mirror this machine's apt uses; ``SOCI_LAB_DEBIAN_MIRROR`` overrides it."""
    named = os.environ.get("SOCI_LAB_DEBIAN_MIRROR")
    if named:
        return named
    # apt's own answer, whatever the format of its sources.
    listing = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"])
    for line in listing.splitlines():
        uri, _, release = line.partition(" ")
        if re.fullmatch(r"[a-z]+", release) and "debian" in uri and "security" not in uri:
            return uri
    raise LabError("apt on this machine names no Debian mirror; set SOCI_LAB_DEBIAN_MIRROR")


def get(name: str) -> Root:
    """The named root, built first if it is missing or its recipe has changed.

    Raises:
        LabError: it cannot be built; the message names the log.
    """
    recipe = RECIPES[name]
    below = get(recipe.base).layers if recipe.base else ()
    place = cache_dir() / "roots" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.with_suffix(".lock")):
        stamp = place / "stamp"
        if not (stamp.exists() and stamp.read_text() == _stamp(recipe)):
            shutil.rmtree(place, ignore_errors=True)
            (place / "root").mkdir(parents=True)
            try:
                _build(recipe, place, below)
            except subprocess.CalledProcessError as error:
                raise LabError(f"building root {name} failed, see {place}/log: {error}") from error
            stamp.write_text(_stamp(recipe))
    return Root(name, (place / "root", *below))


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree with owners, extended attributes and devices; into ``target`` if that exists."""
    target.mkdir(parents=True, exist_ok=True)
    _run(["cp", "-a", f"{source}/.", str(target)])


def white_out(path: Path) -> None:
    """Hide what an overlay's lower layers have at this place of its upper one."""
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(0, 0))


def _stamp(recipe: Recipe) -> str:
    text = repr((RECIPE, PACKAGES, recipe, RECIPES.get(recipe.base)))
    return hashlib.sha256(text.encode()).hexdigest()


def _build(recipe: Recipe, place: Path, below: Sequence[Path]) -> None:
    with open(place / "log", "ab", buffering=0) as log:
        if recipe.suite:
            _bootstrap(recipe, place / "root", log.fileno())
            _inside(place / "root", recipe.script, log.fileno())
            return
        # The mount lives in this one command's namespace, so nothing can be left mounted.
        merged = place / "merged"
        for part in (merged, place / "work"):
            part.mkdir()
        options = f"lowerdir={':'.join(map(str, below))},upperdir={place}/root,workdir={place}/work"
        mount = f"mount -t overlay overlay -o '{options}' '{merged}'"
        _inside(merged, recipe.script, log.fileno(), before=mount)
        shutil.rmtree(place / "work")
        merged.rmdir()
        for entry in (place / "root").iterdir():
            if recipe.keep and entry.name != recipe.keep:
                shutil.rmtree(entry)


def _bootstrap(recipe: Recipe, root: Path, log: int) -> None:
    source = mirror()
    # `[trusted]` is not needed: debootstrap and apt both check Debian's own signatures.
    subprocess.run(
        ["debootstrap", "--variant=minbase", recipe.suite, str(root), source],
        stdout=log,
        stderr=log,
        check=True,
    )
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text(
        "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n"
    )
    (root / "etc/apt/apt.conf.d/90lab").write_text(
        'Acquire::Check-Valid-Until "false";\nAcquire::Languages "none";\n'
    )
    (root / "etc/apt/sources.list").write_text(f"deb {source} {recipe.suite} main\n")
    _inside(
        root,
        "apt-get -q update\n"
        f"apt-get -q -y --no-install-recommends install {' '.join(PACKAGES)}\n"
        "apt-get clean",
        log,
    )


def _inside(root: Path, script: str, log: int, before: str = ":") -> None:
    outer = f"""set -e
{before}
mount --bind /proc '{root}/proc'; mount --rbind /dev '{root}/dev'
cp -L /etc/resolv.conf '{root}/etc/resolv.conf'
exec chroot '{root}' /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -exc "$SCRIPT"
"""
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", outer],
        env={**os.environ, "SCRIPT": script},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        check=True,
    )


def _run(argv: Sequence[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    import sys

    for wanted in sys.argv[1:] or (*NODE_ROOTS, "soci-daemon"):
        print(get(wanted), flush=True)  # noqa: T201

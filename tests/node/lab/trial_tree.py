"""`scripts/try` without root: `install --root` on a scratch tree, and what that leaves out."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from tests.node.lab.eks import RUN_WITH_DROPINS
from tests.node.lab.report import Report, size

_INSIDE = Path(__file__).with_name("inside")
_DAEMON = b"not a program"
_LEFT_OUT = {
    "a node": "no systemd, containerd, cloud-init or kubelet ran",
    "the daemon": "no preflight, no self-test of the decompressor",
    "a pull": "no image was pulled or run",
}


def install(report: Report, zipapp: Path) -> None:
    """Install into a tree that looks like an AMI's, twice, and show what was put where."""
    with tempfile.TemporaryDirectory(prefix="soci-bootstrap-try.") as directory:
        tree, archive = Path(directory, "tree"), Path(directory, "soci.tar.gz")
        _ami(tree)
        archive.write_bytes(_archive())
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        words = ["install", "--root", str(tree), "--tarball", str(archive), "--sha256", digest, "--json"]
        report.section("Installing into a scratch tree, without root")
        before = _files(tree)
        for name, wanted in (("install", "installed"), ("install again", "unchanged")):
            started = time.monotonic()
            command = [sys.executable, "-I", zipapp, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.monotonic() - started
            result = json.loads(done.stdout)
            found = result["outcome"] + (f": {result['reason']}" if result["reason"] else "")
            report.check(name, found, ok=(result["outcome"], done.returncode) == (wanted, 0), seconds=seconds)
        report.section("What is there now")
        for path in sorted(_files(tree) - before):
            report.line("", _shown(tree / path, f"/{path}"))
    report.section("Left out, since this is not root")
    for what, why in _LEFT_OUT.items():
        report.line(what, why)


def _shown(place: Path, path: str) -> str:
    return f"{path} -> {place.readlink()}" if place.is_symlink() else f"{path}, {size(place.stat().st_size)}"


def _ami(tree: Path) -> None:
    """What install looks at of an AMI of containerd 2."""
    run = (_INSIDE / "units/nodeadm-run.service").read_text()
    files = {
        "etc/eks/containerd-version.txt": "containerd github.com/containerd/containerd 2.1.5 fcd43222\n",
        "etc/eks/nodeadm.d/.keep": "",
        "etc/systemd/system/nodeadm-run.service": run.replace("@NODEADM_RUN@", RUN_WITH_DROPINS),
        "usr/lib/systemd/system/containerd.service": "[Service]\nExecStart=/usr/bin/containerd\n",
        "run/eks/nodeadm/config.json": json.dumps({"spec": {"cluster": {"name": "my-cluster"}}}),
    }
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "var/lib").mkdir(parents=True)


def _archive() -> bytes:
    """A release as upstream lays it out, of a daemon that nothing here runs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("soci-snapshotter-grpc")
        info.size, info.mode = len(_DAEMON), 0o755
        archive.addfile(info, io.BytesIO(_DAEMON))
    return packed.getvalue()


def _files(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or path.is_file()}

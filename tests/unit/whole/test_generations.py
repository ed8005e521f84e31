"""Images of every generation of AMI: what is put there, what is said of it then, and the way back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from soci_bootstrap.paths import NODEADM_DROPIN, NODECONFIG_CACHE
from tests.support import trees
from tests.support.nodes import captured
from tests.support.results import doctor, install, plan, rollback

V1 = "containerd github.com/containerd/containerd 1.7.27 05044ec\n"
VERSION = "/etc/eks/containerd-version.txt"
CONFIG = "/etc/containerd/config.toml"
UNITS = "/etc/systemd/system"
DAEMON = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + (62).to_bytes(2, "little") + b"for amd64"
GATE = {"spec": {"featureGates": {"FastImagePull": True}}}
RAID = {"spec": {"instance": {"localStorage": {"strategy": "RAID0"}}}}


def with_soci(root: Path) -> None:
    trees.put(root, "/usr/bin/soci-snapshotter-grpc", b"\x7fELF", 0o755)
    trees.put(
        root, f"{UNITS}/soci-snapshotter.service", "[Service]\nExecStart=/usr/bin/soci-snapshotter-grpc\n"
    )
    address = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
    trees.put(root, f"{UNITS}/soci-snapshotter.socket", f"[Socket]\nListenStream={address}\n")


def without_containerd(root: Path) -> None:
    for path in (
        VERSION,
        CONFIG,
        "/usr/bin/containerd",
        "/usr/lib/systemd/system/containerd.service",
        NODECONFIG_CACHE,
    ):
        (root / path[1:]).unlink()


def gated(root: Path) -> None:
    with_soci(root)
    trees.put(root, NODECONFIG_CACHE, json.dumps(GATE))
    trees.put(root, f"{UNITS}/containerd.service.d/10-soci-snapshotter.conf", "[Unit]\nRequires=x\n")


def user_v2(root: Path) -> None:
    trees.put(root, NODECONFIG_CACHE, captured("nodeadm-cache-user-v2.json"))
    trees.put(root, CONFIG, captured("containerd-nodeadm-user-v2-migrated.toml"))


def static(root: Path) -> None:
    trees.put(root, NODECONFIG_CACHE, captured("nodeadm-cache-static-soci.json"))
    trees.put(root, CONFIG, captured("containerd-nodeadm-static-soci.toml"))


def plain(_: Path) -> None:
    """As ``trees.eks`` makes it."""


V2_PLUGIN, V3_PLUGIN = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"


@pytest.mark.parametrize(
    ("dropins", "change", "wiring", "plugin"),
    [
        (True, plain, "nodeadm", V3_PLUGIN),
        (True, lambda root: trees.put(root, VERSION, V1), "nodeadm", V2_PLUGIN),
        (True, user_v2, "nodeadm", V2_PLUGIN),
        # The user's own wiring says it all.
        (True, static, "nodeadm", ""),
        (True, with_soci, "nodeadm", V3_PLUGIN),
        (True, gated, "nodeadm", V3_PLUGIN),
        (True, lambda root: trees.put(root, NODECONFIG_CACHE, json.dumps(RAID)), "nodeadm", V3_PLUGIN),
        (False, plain, "direct", ""),
        (False, with_soci, "direct", ""),
        (False, gated, "direct", ""),
        (False, without_containerd, "direct", ""),
    ],
)
def test_there_and_back(
    dropins: bool,
    change: Callable[[Path], None],
    wiring: str,
    plugin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(install.module.resources, "agent_bytes", lambda: trees.AGENT)
    tarball, digest = trees.archive(tmp_path / "soci.tgz", DAEMON)
    root = trees.eks(tmp_path / "node", dropins=dropins)
    change(root)
    before = trees.content(root)
    words = ("--root", str(root), "--tarball", tarball, "--sha256", digest, "--arch", "amd64")

    done = install.run(trees.settings("install", *words), trees.QUIET)
    assert (done.outcome, done.wiring) == ("installed", wiring)
    dropin = root / NODEADM_DROPIN[1:]
    assert dropin.exists() is bool(plugin)
    assert not plugin or plugin in json.loads(dropin.read_bytes())["spec"]["containerd"]["config"]

    installed = stats(root)
    assert install.run(trees.settings("install", *words), trees.QUIET).outcome == "unchanged"
    assert plan.run(trees.settings("plan", *words), trees.QUIET).exit_status == 0
    seen = doctor.run(trees.settings("doctor", "--root", str(root)), trees.QUIET)
    failed = [check["found"] for check in seen.checks if check["status"] == "fail"]
    assert (seen.verdict, failed) == ("pending", [])
    assert stats(root) == installed

    rolled = rollback.run(trees.settings("rollback", "--root", str(root)), trees.QUIET)
    assert rolled.document["outcome"] == "rolled-back"
    assert trees.differences(before, trees.content(root)) == []


def stats(root: Path) -> dict[str, tuple[int, ...]]:
    """What shows a write, or a replacement by the same bytes."""
    found = {path: os.lstat(path) for path in (root, *root.rglob("*"))}
    return {str(path): (s.st_ino, s.st_mode, s.st_mtime_ns, s.st_ctime_ns) for path, s in found.items()}

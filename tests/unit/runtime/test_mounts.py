from __future__ import annotations

import pytest

from soci_bootstrap.runtime import mounts
from soci_bootstrap.system import System
from tests.support.nodes import write

ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
OVERLAYFS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
TASK = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/rootfs"


def mount(options: str, point: str = TASK, kind: str = "overlay") -> str:
    return f"500 30 0:60 / {point} rw,relatime shared:200 - {kind} {kind} {options}\n"


ON_SOCI = mount(
    f"rw,lowerdir={ROOT}/snapshots/1/fs,upperdir={ROOT}/snapshots/9/fs,workdir={ROOT}/snapshots/9/work"
)
ON_OVERLAYFS = mount(f"rw,lowerdir={OVERLAYFS}/snapshots/1/fs,upperdir={OVERLAYFS}/snapshots/9/fs")


@pytest.mark.parametrize(
    ("mountinfo", "root", "expected"),
    [
        ("", ROOT, False),
        (ON_OVERLAYFS, ROOT, False),
        (ON_OVERLAYFS + ON_SOCI, ROOT, True),
        (mount(f"ro,lowerdir={ROOT}/snapshots/2/fs:{ROOT}/snapshots/1/fs"), ROOT, True),
        # Layers named by letters, as containerd does where the options grow too long.
        (mount(f"rw,lowerdir=b:a,upperdir={ROOT}/snapshots/9/fs"), ROOT, True),
        # Not a container's root: an unpacking, a scratch mount of someone's.
        (mount(f"rw,upperdir={ROOT}/snapshots/9/fs", "/tmp/containerd-mount1"), ROOT, False),
        (mount(f"rw,upperdir={ROOT}/snapshots/9/fs", kind="ext4"), ROOT, False),
        (mount(f"rw,upperdir={ROOT}-other/snapshots/9/fs"), ROOT, False),
        (mount("rw,upperdir=/mnt/a\\040b/snapshots/9/fs"), "/mnt/a b", True),
        (ON_SOCI, "/var/lib/soci-snapshotter-grpc", False),
    ],
)
def test_on_snapshotter(tmp_path, mountinfo, root, expected) -> None:
    system = System(str(write(tmp_path, {"/proc/self/mountinfo": mountinfo})))
    assert mounts.on_snapshotter(system, root) is expected


def test_no_proc(tmp_path) -> None:
    assert not mounts.on_snapshotter(System(str(tmp_path)), ROOT)
    assert mounts.mount_points(System(str(tmp_path))) == ()


def test_mount_points(tmp_path) -> None:
    system = System(str(write(tmp_path, {"/proc/self/mountinfo": ON_SOCI + "\nshort line\n"})))
    assert mounts.mount_points(system) == (TASK,)

"""Whole trees: a node to install on, what is in one, and a run that is killed between two changes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soci_bootstrap.settings import load
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console

AGENT = b"#!/usr/bin/python3 -I\nthe zipapp\n"
DAEMON = b"\x7fELF a daemon " + bytes(range(256)) * 40
KILLED = 9

CONTAINERD_TOML = """\
version = 3
# the user's own comment
[plugins.'io.containerd.cri.v1.images']
  discard_unpacked_layers = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
  runtime_type = 'io.containerd.runc.v2'
"""
NODE_CONFIG = {
    "apiVersion": "node.eks.aws/v1alpha1",
    "kind": "NodeConfig",
    "spec": {"cluster": {"name": "one"}, "kubelet": {"config": {"maxPods": 20}}},
}


def archive(path: Path, daemon: bytes = DAEMON) -> tuple[str, str]:
    """A release's archive; its path and its digest."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in (
            ("soci-snapshotter-grpc", daemon),
            ("soci", b"not ours"),
            ("NOTICE.md", b"notice"),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    data = gzip.compress(raw.getvalue(), mtime=0)
    path.write_bytes(data)
    return str(path), hashlib.sha256(data).hexdigest()


def put(root: Path, path: str, data: str | bytes = "", mode: int = 0o644) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    file.chmod(mode)


def eks(root: Path, *, dropins: bool = True) -> Path:
    """An EKS node, as far as files go, with things of the user's in our way."""
    source = " --config-source file:///etc/eks/nodeadm.d" if dropins else ""
    put(root, "/usr/lib/systemd/system/containerd.service", "[Service]\nExecStart=/usr/bin/containerd\n")
    put(
        root,
        "/usr/lib/systemd/system/kubelet.service",
        "[Service]\nExecStart=/usr/bin/kubelet --config /etc/kubernetes/kubelet/config.json\n",
    )
    put(
        root,
        "/usr/lib/systemd/system/nodeadm-run.service",
        f"[Service]\nExecStart=/usr/bin/nodeadm init --skip config{source}\n",
    )
    for program in ("containerd", "ctr", "systemctl", "unpigz", "python3.9"):
        put(root, f"/usr/bin/{program}", "#!/bin/false\n", 0o755)
    (root / "usr/bin/python3").symlink_to("python3.9")
    put(
        root,
        "/etc/eks/containerd-version.txt",
        "containerd github.com/containerd/containerd/v2 v2.1.4 deadbee\n",
    )
    put(root, "/etc/containerd/config.toml", CONTAINERD_TOML, 0o600)
    put(
        root,
        "/etc/kubernetes/kubelet/config.json",
        json.dumps({"kind": "KubeletConfiguration", "maxPods": 20}),
    )
    put(root, "/run/eks/nodeadm/config.json", json.dumps(NODE_CONFIG))
    (root / "etc/eks/nodeadm.d").mkdir()
    (root / "var/lib/containerd").mkdir(parents=True)
    # What was there before us and has to come back: another's config, with its own mode, and a link.
    put(root, "/etc/soci-snapshotter-grpc/config.toml", "# someone's own\n", 0o640)
    (root / "etc/systemd/system/sockets.target.wants").mkdir(parents=True)
    (root / "etc/systemd/system/sockets.target.wants/soci-snapshotter.socket").symlink_to("/dev/null")
    (root / "etc/systemd/system/multi-user.target.wants").mkdir()
    return root


Content = Mapping[str, tuple[object, ...]]


def content(root: Path, *, apart: Sequence[str] = ()) -> Content:
    """Everything in a tree: kind, mode, owner, and bytes or target, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            node_path = f"/{path.relative_to(root)}"
            if node_path in apart:
                continue
            status = path.lstat()
            owner = (status.st_mode, status.st_uid, status.st_gid)
            if path.is_symlink():
                found[node_path] = (*owner, os.readlink(path))
            elif path.is_dir():
                found[node_path] = owner
            elif node_path == "/var/lib/soci-bootstrap/record.json":
                found[node_path] = (*owner, comparable(json.loads(path.read_bytes())))
            else:
                found[node_path] = (*owner, path.read_bytes())
    return found


def comparable(record: dict[str, object]) -> str:
    """A record without what differs between two files of the same bytes."""
    record = json.loads(json.dumps(record))
    for entry in [record.get("binary") or {}, *(one["entry"] for one in record["before"].values())]:  # type: ignore[attr-defined]
        for name in ("inode", "mtime_ns", "ctime_ns"):
            entry.pop(name, None)
    return json.dumps(record, sort_keys=True)


def differences(one: Content, other: Content) -> list[str]:
    """What differs, a line each; empty for the same."""
    return [
        f"{path}: {str(one.get(path))[:300]} != {str(other.get(path))[:300]}"
        for path in sorted({*one, *other})
        if one.get(path) != other.get(path)
    ]


def copied(root: Path, to: Path) -> Path:
    """A copy of a tree, links, modes and times included."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(root, to, symlinks=True)
    return to


@dataclass
class Watched:
    """Counts changes; at the ``kill_at``-th, from 0, it does what ``at`` says instead of going on."""

    kill_at: int = -1
    at: Callable[[str], None] = lambda _: os._exit(KILLED)
    seen: list[str] = field(default_factory=list)

    def before_change(self, what: str) -> None:
        self.seen.append(what)
        if len(self.seen) - 1 == self.kill_at:
            self.at(what)


class WatchedSystem(System):
    """The tree below a root, its changes watched."""

    watch = Watched()

    def before_change(self, what: str) -> None:
        self.watch.before_change(what)


_CHANGING = (
    "rename",
    "link",
    "symlink",
    "unlink",
    "mkdir",
    "rmdir",
    "fsync",
    "fchmod",
    "chmod",
    "posix_fallocate",
)


class Calls:
    """The operating system's own calls that change files, failing as told from the outside.

    Args:
        at: the number of the call, from 0, before which ``do`` is called; -1 only counts.
        do: what happens there.
        persists: also before every later one.
    """

    def __init__(
        self, at: int = -1, do: Callable[[], None] = lambda: None, *, persists: bool = False
    ) -> None:
        self.at = at
        self.do = do
        self.persists = persists
        self.count = 0

    def __enter__(self) -> Calls:  # noqa: PYI034 - Self is not in typing before 3.11
        self._real = {name: getattr(os, name) for name in _CHANGING}
        for name, real in self._real.items():
            setattr(os, name, self._watched(real))
        return self

    def __exit__(self, *exception: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def _watched(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **keywords: object) -> object:
            number = self.count
            self.count += 1
            if number == self.at or (self.persists and 0 <= self.at < number):
                self.do()
            return real(*args, **keywords)

        return call


def in_child(run: Callable[[], object]) -> int:
    """Run in a forked child; its exit status, 9 where it was killed on the way."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            run()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def settings(command: str, *words: str) -> object:
    return load([command, *words], {}, _no_file)


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)


QUIET = Console(-1, io.StringIO())

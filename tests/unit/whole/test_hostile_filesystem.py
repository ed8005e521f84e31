"""A file system that is against us: links, planted files, no space, no inodes, no writing at all.

Whatever it does, install ends well or refuses with a clear message, touches nothing outside of its
root, and leaves the node as it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from soci_bootstrap.system import System
from tests.support import mounts
from tests.support.corpus.node_files import CONTAINERD, DIRECT, KUBELET, NODE, RECORD
from tests.support.hostile import AGENT, Commands, lay, no_hang, shape

AGENT_PATH = "/usr/local/sbin/soci-bootstrap"
DAEMON = "/usr/local/bin/soci-snapshotter-grpc"
CONFIG = "/etc/soci-snapshotter-grpc/config.toml"
SERVICE = "/etc/systemd/system/soci-snapshotter.service"
ENABLED = "/etc/systemd/system/sockets.target.wants/soci-snapshotter.socket"
HOOKS_DROPIN = "/etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf"
DROPIN = "/etc/eks/nodeadm.d/50-soci-bootstrap.json"
WRITTEN = (AGENT_PATH, DAEMON, CONFIG, SERVICE, ENABLED, DROPIN, RECORD)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def commands(tmp_path, capsys, monkeypatch) -> Iterator[Commands]:
    with no_hang():
        made = Commands(tmp_path, capsys, monkeypatch)
        lay(made.root, NODE)
        yield made


@pytest.fixture
def outside(tmp_path) -> Iterator[Path]:
    """What no link of the node's may lead a write to."""
    victim = tmp_path / "outside"
    lay(victim, {"/file": "precious", "/directory/file": "precious"})
    before = shape(victim)
    yield victim
    assert shape(victim) == before, "install wrote outside of its root"


@pytest.fixture(scope="module")
def own_mounts() -> None:
    mounts.own_namespace()


def _staged(path: str) -> str:
    directory, name = os.path.split(path)
    return f"{directory}/.{name}.soci-bootstrap.tmp"


def _installs_or_refuses(commands: Commands, *, ignored: str = "") -> bool:
    """Whether it installed; if not, that nothing changed."""
    before = shape(commands.root)
    done = commands.run("install")
    assert not done.reason.startswith("unexpected"), done.reason
    if done.document["outcome"] == "installed":
        assert System(str(commands.root)).read(AGENT_PATH) == AGENT
        assert commands.run("plan").status == 0
        return True
    assert (done.document["outcome"], done.status) == ("failed", 1)
    assert "; " in done.reason, "no remedy"
    before.pop(ignored, None)
    after = shape(commands.root)
    after.pop(ignored, None)
    assert after == before
    return False


@pytest.mark.parametrize("path", WRITTEN)
@pytest.mark.parametrize("planted", ["link", "dangling", "hardlink", "fifo", "file", "directory", "full"])
def test_a_planted_temporary_file_is_never_written_through(commands, outside, path, planted) -> None:
    staged = Path(f"{commands.root}{_staged(path)}")
    staged.parent.mkdir(parents=True, exist_ok=True)
    if planted in {"link", "dangling"}:
        staged.symlink_to(outside / ("file" if planted == "link" else "absent"))
    elif planted == "hardlink":
        os.link(outside / "file", staged)
    elif planted == "fifo":
        os.mkfifo(staged)
    elif planted == "file":
        staged.write_bytes(b"half of what a killed run wrote")
        staged.chmod(0o777)
    else:
        staged.mkdir()
        if planted == "full":
            (staged / "x").write_text("x")
    done = _installs_or_refuses(commands)
    assert done is (planted not in {"directory", "full"})
    assert not (outside / "absent").exists()
    if done:
        assert not os.path.lexists(staged)


@pytest.mark.parametrize("path", [path for path in WRITTEN if path not in {RECORD, SERVICE}])
@pytest.mark.parametrize("kind", ["outside", "inside", "nowhere", "loop", "directory"])
def test_a_link_at_a_target_is_replaced_not_followed(commands, outside, path, kind) -> None:
    target = Path(f"{commands.root}{path}")
    target.parent.mkdir(parents=True, exist_ok=True)
    inside = lay(commands.root, {"/opt/theirs": "precious"}) / "opt/theirs"
    leads_to = {
        "outside": str(outside / "file"),
        "inside": "/opt/theirs",
        "nowhere": "/absent",
        "loop": target.name,
        "directory": "/etc",
    }
    target.symlink_to(leads_to[kind])
    assert _installs_or_refuses(commands)
    assert inside.read_text() == "precious"
    assert target.is_symlink() is (path == ENABLED)
    assert commands.run("rollback").status == 0
    assert os.readlink(target) == leads_to[kind], "rollback brings the link back"


@pytest.mark.parametrize(
    "leads_to", ["/opt/theirs", "/dev/null", "/absent", "/etc", "soci-snapshotter.service"]
)
def test_a_linked_service_is_the_images_own(commands, leads_to) -> None:
    link = lay(commands.root, {SERVICE: f"-> {leads_to}", "/opt/theirs": "[Service]\nExecStart=/x\n"})
    done = _installs_or_refuses(commands)
    # One that is masked is nobody's to start.
    assert done is (leads_to not in {"/dev/null", "/etc", "soci-snapshotter.service"})
    # A unit that leads to nothing is as good as none, and ours takes its place.
    assert os.path.islink(f"{link}{SERVICE}") is (leads_to != "/absent")


@pytest.mark.parametrize("path", [CONTAINERD, KUBELET])
def test_a_merged_files_link_is_followed_below_the_root_alone(commands, outside, path) -> None:
    lay(commands.root, {**DIRECT, "/opt/real": str(DIRECT[path])})
    for only in set(NODE) - set(DIRECT):
        file = Path(f"{commands.root}{only}")
        file.rmdir() if file.is_dir() else file.unlink()
    link = Path(f"{commands.root}{path}")
    link.unlink()
    # Seen from outside, this climbs to a file of the same name there.
    lay(outside.parent, {"/opt/real": "not theirs"})
    link.symlink_to("../../../../../../../opt/real")
    assert _installs_or_refuses(commands)
    assert link.is_symlink()
    assert "soci" in (commands.root / "opt/real").read_text()
    assert (outside.parent / "opt/real").read_text() == "not theirs"


@pytest.mark.parametrize(
    "parent", ["/usr/local", "/etc/systemd", "/etc/systemd/system", "/var/lib", "/etc/eks/nodeadm.d"]
)
@pytest.mark.parametrize("kind", ["climbs", "absolute", "nowhere", "loop", "file", "fifo"])
def test_parents_that_are_no_directories(commands, outside, parent, kind) -> None:
    host = Path(f"{commands.root}{parent}")
    host.parent.mkdir(parents=True, exist_ok=True)
    if host.is_dir():
        host.rmdir()
    lay(commands.root, {"/opt/moved": "(directory)"})
    if kind == "climbs":
        host.symlink_to("../../../../../../../../opt/moved")
    elif kind == "absolute":
        host.symlink_to("/opt/moved")
    elif kind == "nowhere":
        host.symlink_to("/absent/at/all")
    elif kind == "loop":
        host.symlink_to(host.name)
    elif kind == "file":
        host.write_text("in the way")
    else:
        os.mkfifo(host)
    done = _installs_or_refuses(commands)
    assert done or kind not in {"climbs", "absolute"}


@pytest.mark.parametrize("path", WRITTEN)
def test_a_directory_at_a_target(commands, path) -> None:
    lay(commands.root, {f"{path}/theirs": "precious"})
    assert not _installs_or_refuses(commands)


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o177, 0o777])
def test_the_umask_plays_no_part(commands, mask, tmp_path) -> None:
    before = os.umask(0o022)
    try:
        commands.run("install")
        usual = {path: found[0] for path, found in shape(commands.root).items()}
        assert commands.run("rollback").status == 0
        os.umask(mask)
        commands.run("install")
    finally:
        os.umask(before)
    found = {path: found[0] for path, found in shape(commands.root).items()}
    assert found == usual
    assert stat.S_IMODE(found[AGENT_PATH]) == 0o755
    assert stat.S_IMODE(found["/var/lib/soci-bootstrap"]) == 0o700
    assert stat.S_IMODE(found[RECORD]) == 0o600


@as_root
@pytest.mark.parametrize(
    "directory", ["/usr/local", "/etc", "/etc/systemd/system", "/etc/eks/nodeadm.d", "/var/lib", "/"]
)
def test_a_directory_that_is_read_only(commands, own_mounts, directory) -> None:
    host = lay(commands.root, {f"{directory.rstrip('/')}/theirs": "x"}) / directory.lstrip("/")
    with mounts.read_only(host):
        assert not _installs_or_refuses(commands)
        assert commands.run("plan").status == 3
    assert _installs_or_refuses(commands)


@as_root
@pytest.mark.parametrize("path", [AGENT_PATH, DAEMON, CONFIG, HOOKS_DROPIN, DROPIN])
def test_a_file_that_is_immutable(commands, own_mounts, path) -> None:
    host = lay(commands.root, {path: "{}"}) / path.lstrip("/")
    with mounts.immutable(host):
        assert not _installs_or_refuses(commands)
        assert host.read_text() == "{}"
    assert _installs_or_refuses(commands)


@as_root
def test_immutable_once_installed(commands, own_mounts) -> None:
    assert _installs_or_refuses(commands)
    host = Path(f"{commands.root}{SERVICE}")
    with mounts.immutable(host):
        # Nothing to write is nothing to fail at; what has to be written says so.
        assert commands.run("install").document["outcome"] == "unchanged"
        done = commands.run("rollback")
        assert done.status == 1
        assert SERVICE in done.reason
    assert commands.run("rollback").status == 0


@as_root
def test_every_number_of_free_inodes(commands, own_mounts, tmp_path) -> None:
    outcomes = [_on_tmpfs(commands, tmp_path, f"nr_inodes={count}") for count in range(40, 110, 3)]
    assert not outcomes[0]
    assert outcomes[-1]
    assert outcomes == sorted(outcomes), "more room, and it fails"


@as_root
def test_every_size_of_a_disk(commands, own_mounts, tmp_path) -> None:
    outcomes = [_on_tmpfs(commands, tmp_path, f"size={pages * 4096}") for pages in range(8, 80, 3)]
    assert not outcomes[0]
    assert outcomes[-1]


def _on_tmpfs(commands: Commands, tmp_path: Path, options: str) -> bool:
    with mounts.tmpfs(tmp_path / "small", f"{options},mode=755") as root:
        commands.root = lay(root, NODE)
        return _installs_or_refuses(commands)

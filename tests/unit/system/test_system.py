from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest

from soci_bootstrap.errors import CommandError, StateError
from soci_bootstrap.system import System
from soci_bootstrap.system.programs import Completed, checked
from soci_bootstrap.system.tree import ABSENT, SELINUX
from tests.support.nodes import write

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to set")


@pytest.fixture
def image(tmp_path):
    return System(str(tmp_path))


# -- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        ({}, "/etc/x", "etc/x"),
        ({}, "/etc/../x", "x"),
        ({}, "/../../x", "x"),
        ({}, "/./etc//x", "etc/x"),
        ({"/link": "-> /etc"}, "/link/x", "etc/x"),
        ({"/a/link": "-> ../etc"}, "/a/link/x", "etc/x"),
        ({"/link": "-> ../../../../etc"}, "/link/x", "etc/x"),
        ({"/one": "-> /two", "/two": "-> three"}, "/one/x", "three/x"),
        # The last component is not followed.
        ({"/etc/link": "-> /elsewhere"}, "/etc/link", "etc/link"),
    ],
)
def test_below_a_root(tmp_path, image, files, path, expected) -> None:
    write(tmp_path, files)
    assert image.path(path) == str(tmp_path / expected)


def test_a_nodes_own(tmp_path) -> None:
    assert System("/").path("/etc/../x") == "/etc/../x"
    assert System("/").live
    assert not System(str(tmp_path)).live


def test_a_loop_of_links(tmp_path, image) -> None:
    write(tmp_path, {"/a": "-> /b", "/b": "-> /a"})
    for look, path in ((image.path, "/a/x"), (image.followed, "/a"), (image.read, "/a")):
        with pytest.raises(StateError, match="leads through too many links"):
            look(path)


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        ({"/x": ""}, "/x", "/x"),
        ({"/x": "-> y"}, "/x", "/y"),
        ({"/x": "-> y", "/y": "-> /a/z"}, "/x", "/a/z"),
        ({"/a/x": "-> ../y"}, "/a/x", "/y"),
    ],
)
def test_followed(tmp_path, image, files, path, expected) -> None:
    write(tmp_path, files)
    assert image.followed(path) == expected


# -- reading ------------------------------------------------------------------------------------


def test_entries(tmp_path, image) -> None:
    write(tmp_path, {"/file": "abc", "/link": "-> file", "/dir": None, "/bin/x": ""})
    os.mkfifo(tmp_path / "fifo")
    assert image.entry("/none") is ABSENT
    assert image.entry("/file/below") is ABSENT
    found = image.entry("/file")
    assert (found.kind, found.mode, found.size, found.uid) == ("file", 0o644, 3, os.geteuid())
    assert (image.entry("/link").kind, image.entry("/link").target) == ("link", "file")
    assert (image.entry("/dir").kind, image.entry("/fifo").kind) == ("dir", "other")
    assert image.is_executable("/bin/x")
    assert not image.is_executable("/file")
    assert not image.is_executable("/dir")
    assert not image.is_executable("/none")


def test_bytes(tmp_path, image) -> None:
    write(tmp_path, {"/file": "abc", "/link": "-> file", "/dangling": "-> none"})
    assert (image.read("/file"), image.read("/link")) == (b"abc", b"abc")
    assert image.read("/none") is image.read("/dangling") is image.read("/file/below") is None
    assert image.sha256("/file") == hashlib.sha256(b"abc").hexdigest()


def test_names(tmp_path, image) -> None:
    write(tmp_path, {"/d/b": "", "/d/a": "", "/link": "-> d"})
    assert image.listdir("/d") == image.listdir("/link") == ("a", "b")
    assert image.listdir("/none") == image.listdir("/d/a") == ()


def test_what_was_touched(tmp_path, image) -> None:
    write(tmp_path, {"/d/a": ""})
    image.read("/d/a")
    image.listdir("/d")
    image.entry("/none")
    assert image.touched == {"/d/a": False, "/d": True, "/none": False}


@pytest.mark.parametrize("name", ["entry", "read", "listdir", "sha256"])
def test_what_can_not_be_read(tmp_path, image, monkeypatch, name) -> None:
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    for call in ("lstat", "listdir", "open"):
        monkeypatch.setattr(os, call, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StateError, match="/x can't be read: found Permission denied"):
        getattr(image, name)("/x")


# -- changing -----------------------------------------------------------------------------------


def test_write(tmp_path, image) -> None:
    write(tmp_path, {"/etc/x.conf": "old"})
    old = os.umask(0o077)
    try:
        image.write("/etc/x.conf", b"new", 0o644)
    finally:
        os.umask(old)
    assert (tmp_path / "etc/x.conf").read_bytes() == b"new"
    assert image.entry("/etc/x.conf").mode == 0o644
    assert os.listdir(tmp_path / "etc") == ["x.conf"]


def test_a_staged_name_is_taken_by_no_reader(image) -> None:
    staged = image.staged_name("/etc/eks/nodeadm.d/50-x.json")
    assert os.path.dirname(staged) == "/etc/eks/nodeadm.d"
    assert staged.endswith(".tmp")
    assert System(image.root, "hook").staged_name("/etc/x") != image.staged_name("/etc/x")


def test_what_stands_at_the_staged_name_is_replaced_not_followed(tmp_path, image) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    write(tmp_path, {"/etc": None})
    os.symlink(victim, tmp_path / image.staged_name("/etc/x").lstrip("/"))
    image.write("/etc/x", b"new")
    assert (victim.read_bytes(), image.read("/etc/x")) == (b"untouched", b"new")


@ROOT_ONLY
def test_owners(tmp_path, image) -> None:
    image.write("/x", b"", 0o640, 12, 34)
    entry = image.entry("/x")
    assert (entry.mode, entry.uid, entry.gid) == (0o640, 12, 34)
    image.write("/x", b"")
    assert image.entry("/x").uid == 0
    image.link("/l", "/x", 12, 34)
    assert (image.entry("/l").uid, image.entry("/l").gid) == (12, 34)


def test_adopt(tmp_path, image) -> None:
    staged = image.staged_name("/bin/daemon")
    write(tmp_path, {staged: "daemon", "/bin/daemon": "older"})
    image.adopt(staged, "/bin/daemon")
    assert (image.read("/bin/daemon"), image.entry("/bin/daemon").mode) == (b"daemon", 0o755)
    assert image.entry(staged) is ABSENT


def test_copy_hardlink_and_rename(tmp_path, image) -> None:
    write(tmp_path, {"/a": b"x" * 100_000})
    image.copy("/a", "/b", 0o600)
    assert (image.read("/b"), image.entry("/b").mode) == (b"x" * 100_000, 0o600)
    image.hardlink("/a", "/c")
    assert image.entry("/c").inode == image.entry("/a").inode
    image.rename("/c", "/d")
    assert image.entry("/c") is ABSENT
    assert image.entry("/d").inode == image.entry("/a").inode


def test_link(tmp_path, image) -> None:
    write(tmp_path, {"/x": "a file"})
    image.link("/x", "/one")
    image.link("/x", "/two")
    assert image.entry("/x").target == "/two"


def test_mkdir_and_rmdir(tmp_path, image) -> None:
    old = os.umask(0o077)
    try:
        assert image.mkdir("/a/b/c", 0o750) == ["/a", "/a/b", "/a/b/c"]
    finally:
        os.umask(old)
    assert image.entry("/a/b").mode == 0o750
    assert image.mkdir("/a/b/c") == []
    write(tmp_path, {"/l": "-> a"})
    assert image.mkdir("/l/new") == ["/l/new"]
    assert image.entry("/a/new").kind == "dir"
    assert not image.rmdir("/a/b")
    assert image.rmdir("/a/b/c")
    assert image.rmdir("/a/b/c")


def test_rmtree(tmp_path, image, monkeypatch) -> None:
    write(tmp_path, {"/a/b/c": "", "/a/l": "-> /outside", "/outside/x": ""})
    image.rmtree("/a")
    image.rmtree("/a")
    assert image.listdir("/") == ("outside",)
    assert image.listdir("/outside") == ("x",)
    with pytest.raises(StateError, match="can't be written"):
        image.rmtree("/outside/x")


def test_remove(tmp_path, image) -> None:
    write(tmp_path, {"/x": "", "/l": "-> x"})
    image.remove("/l")
    assert image.entry("/x").kind == "file"
    image.remove("/x")
    image.remove("/x")
    image.remove("/none/x")
    assert image.listdir("/") == ()


CHANGES = {
    "write": ("/none/x", b""),
    "adopt": ("/none/x.tmp", "/none/x"),
    "copy": ("/none/y", "/none/x", 0o644),
    "hardlink": ("/none/y", "/none/x"),
    "rename": ("/none/y", "/none/x"),
    "link": ("/none/x", "/y"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_can_not_be_written(image, name) -> None:
    with pytest.raises(StateError, match="/none/x can't be written") as caught:
        getattr(image, name)(*CHANGES[name])
    assert "df -h" in caught.value.remedy


def test_a_directory_that_can_not_be_made_or_removed(tmp_path, image) -> None:
    write(tmp_path, {"/file": "", "/dir": None})
    with pytest.raises(StateError, match="can't be written"):
        image.mkdir("/file/below")
    with pytest.raises(StateError, match="can't be written"):
        image.remove("/dir")
    assert not image.rmdir("/file")


@pytest.mark.parametrize("call", ["fsync", "fchmod", "rename"])
@pytest.mark.parametrize(
    ("name", "arguments"), [("write", ("/etc/x", b"new")), ("copy", ("/etc/source", "/etc/x", 0o644))]
)
def test_a_full_disk_leaves_nothing_behind(tmp_path, image, monkeypatch, call, name, arguments) -> None:
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    write(tmp_path, {"/etc/x": "old", "/etc/source": "new"})
    monkeypatch.setattr(os, call, full)
    with pytest.raises(StateError, match="No space left on device"):
        getattr(image, name)(*arguments)
    assert image.listdir("/etc") == ("source", "x")
    assert image.read("/etc/x") == b"old"


def test_every_change_is_announced_first(tmp_path) -> None:
    seen: list[str] = []

    class Watched(System):
        def before_change(self, what: str) -> None:
            seen.append(what)
            raise KeyboardInterrupt

    watched = Watched(str(write(tmp_path, {"/x": "", "/d": None})))
    before = sorted(os.listdir(tmp_path))
    for name, arguments in {**CHANGES, "mkdir": ("/new",), "remove": ("/x",), "rmdir": ("/d",)}.items():
        with pytest.raises(KeyboardInterrupt):
            getattr(watched, name)(*arguments)
    assert len(seen) == len(CHANGES) + 3
    assert sorted(os.listdir(tmp_path)) == before


# -- programs -----------------------------------------------------------------------------------


def test_which(tmp_path, image) -> None:
    write(tmp_path, {"/usr/bin/x": "", "/usr/local/bin/x": "", "/usr/bin/y": ""})
    (tmp_path / "usr/local/bin/x").chmod(0o644)
    assert (image.which("x"), image.which("y"), image.which("z")) == ("/usr/bin/x", "/usr/bin/y", None)


def test_nothing_below_a_root_is_executed(image) -> None:
    with pytest.raises(CommandError, match="expected nothing below --root to be executed"):
        image.run(["/bin/true"], timeout=1)


@pytest.mark.subprocess
def test_run() -> None:
    done = System().run(
        ["/bin/sh", "-c", 'cat; echo "$A" >&2; exit 3'], timeout=10, input=b"in", env={"A": "x"}
    )
    assert done == Completed(3, b"in", b"x\n")


@pytest.mark.subprocess
def test_one_that_hangs() -> None:
    with pytest.raises(CommandError, match=r"sleep 60 did not end: found no end after 0\.1 s"):
        System().run(["/bin/sleep", "60"], timeout=0.1)


@pytest.mark.subprocess
@pytest.mark.parametrize("program", ["/none", "/etc/passwd"])
def test_one_that_can_not_be_run(program) -> None:
    with pytest.raises(CommandError, match=f"{program} can't be run"):
        System().run([program], timeout=1)


@pytest.mark.parametrize(
    ("done", "found"),
    [
        (Completed(1, b"out", b"first\nlast\n"), "last"),
        (Completed(1, b"only out\n", b""), "only out"),
        (Completed(1, b"", b"  \n"), "no message"),
        (Completed(1, b"", b"\xff" + b"x" * 1000), "\ufffd" + "x" * 299),
    ],
)
def test_checked(done, found) -> None:
    assert checked(["x"], Completed(0, b"out", b"noise")) == b"out"
    with pytest.raises(CommandError, match="x --y failed with status 1") as caught:
        checked(["x", "--y"], done)
    assert caught.value.found == found


def test_labels_where_selinux_is_on(tmp_path, image, monkeypatch) -> None:
    labels: dict[object, bytes] = {}
    monkeypatch.setattr(os, "setxattr", lambda fd, name, value: labels.update({name: value}))
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"system_u:object_r:etc_t:s0\0")
    image.write("/x", b"", label="system_u:object_r:etc_t:s0")
    assert labels == {SELINUX: b"system_u:object_r:etc_t:s0"}
    assert image.entry("/x").label == "system_u:object_r:etc_t:s0"
    assert stat.S_ISREG((tmp_path / "x").stat().st_mode)


# -- what an image can't lead out of ------------------------------------------------------------


@pytest.fixture
def secret(tmp_path_factory):
    file = tmp_path_factory.mktemp("host") / "secret"
    file.write_text("the host's")
    return file


@pytest.mark.parametrize("what", ["link", "fifo", "directory"])
def test_what_is_no_file_itself_is_not_copied_nor_read(tmp_path, image, secret, what) -> None:
    if what == "link":
        os.symlink(secret, tmp_path / "backup")
    elif what == "fifo":
        os.mkfifo(tmp_path / "backup")
    else:
        (tmp_path / "backup").mkdir()
    with pytest.raises(StateError):
        image.copy("/backup", "/copy", 0o600)
    with pytest.raises(StateError):
        image.sha256("/backup")
    assert not (tmp_path / "copy").exists()
    assert image.entry(image.staged_name("/copy")).kind == "absent"


@pytest.mark.parametrize(("links", "read"), [(40, b"the image's"), (41, None)])
def test_a_chain_of_links_that_the_kernel_would_not_follow(tmp_path, image, secret, links, read) -> None:
    """Nor is its last link followed on the host."""
    write(tmp_path, {"/end": "the image's"})
    for number in range(links - 1):
        os.symlink(f"l{number + 1}", tmp_path / f"l{number}")
    os.symlink("/end" if read else secret, tmp_path / f"l{links - 1}")
    if read:
        assert image.read("/l0") == read
    else:
        for look in (image.read, image.followed, image.listdir):
            with pytest.raises(StateError, match="too many links"):
                look("/l0")
        assert not image.is_executable("/l0")


@pytest.mark.parametrize("live", [False, True])
def test_dots_in_a_linked_directory_are_the_kernels(tmp_path, live) -> None:
    write(
        tmp_path,
        {
            "/srv/conf/shared/c.toml": "right",
            "/etc/shared/c.toml": "wrong",
            "/srv/conf/containerd/c.toml": "-> ../shared/c.toml",
        },
    )
    target = f"{tmp_path}/srv/conf/containerd" if live else "/srv/conf/containerd"
    os.symlink(target, tmp_path / "etc/containerd")
    system, prefix = (System("/"), str(tmp_path)) if live else (System(str(tmp_path)), "")
    assert system.read(f"{prefix}/etc/containerd/c.toml") == b"right"
    assert system.followed(f"{prefix}/etc/containerd/c.toml") == f"{prefix}/srv/conf/shared/c.toml"

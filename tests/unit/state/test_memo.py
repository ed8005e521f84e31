"""The short way round: never `unchanged` where the long way would find something to do."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from soci_bootstrap.apply import phases
from soci_bootstrap.cli.commands import install
from soci_bootstrap.paths import RECORD
from soci_bootstrap.settings import load
from soci_bootstrap.state import memo
from soci_bootstrap.system import resources
from soci_bootstrap.system.tree import read_regular
from tests.support import trees
from tests.support.nodes import write

BLOBS = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
LAYER, OTHER, MANIFEST = b"\x1f\x8bone layer", b"\x1f\x8banother", b'{"layers": []}'
CERTS_D = "\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n"
IMPORTS = "imports = ['/etc/containerd/conf.d/*.toml']\n"


def blob(data: bytes) -> str:
    return f"{BLOBS}/{hashlib.sha256(data).hexdigest()}"


class Tree:
    """A tree, the zipapp that installs into it, and what is then said by stat() alone."""

    def __init__(self, tmp_path: Path, monkeypatch, *, dropins: bool = True) -> None:
        self.root = trees.eks(tmp_path / "node", dropins=dropins)
        self.zipapp = tmp_path / "soci-bootstrap.pyz"
        self.zipapp.write_bytes(trees.AGENT)
        tarball, sha256 = trees.archive(tmp_path / "soci.tgz")
        self.argv = ["install", "--root", str(self.root), "--tarball", tarball, "--sha256", sha256]
        self.environ: dict[str, str] = {}
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(resources, "agent_bytes", self.zipapp.read_bytes)
        monkeypatch.setattr(memo, "_archive", lambda: str(self.zipapp))

    def put(self, path: str, data: str | bytes) -> None:
        trees.put(self.root, path, data)

    def install(self, *words: str) -> str:
        argv = [*self.argv, *words]
        self._monkeypatch.setattr(sys, "argv", ["soci-bootstrap", *argv])
        return install.run(load(argv, self.environ, read_regular), trees.QUIET).outcome

    def told(self, *words: str) -> bool:
        return memo.unchanged([*self.argv, *words], self.environ) is not None


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Tree:
    return Tree(tmp_path, monkeypatch)


@pytest.fixture
def installed(tree) -> Tree:
    assert not tree.told()
    assert tree.install() == "installed"
    assert tree.told()
    return tree


def test_what_it_reports(installed) -> None:
    found = memo.unchanged([*installed.argv, "--json"], {})
    assert found is not None
    document, text = found
    assert document["outcome"] == "unchanged"
    assert not any(step["changed"] for step in document["steps"])
    assert isinstance(document["seconds"], float)
    assert document["seconds"] < 1
    assert text.startswith("unchanged: SOCI")
    # Not how long the install took.
    assert text.endswith(" 0.0 s")
    assert installed.install() == "unchanged"


EDITS = {
    "the record is gone": lambda tree: (tree.root / RECORD.lstrip("/")).unlink(),
    "a managed file edited": lambda tree: tree.put("/etc/soci-snapshotter-grpc/config.toml", "# mine\n"),
    "its mode": lambda tree: (tree.root / "etc/soci-snapshotter-grpc/config.toml").chmod(0o600),
    "the daemon": lambda tree: tree.put("/usr/local/bin/soci-snapshotter-grpc", trees.DAEMON),
    "the agent": lambda tree: tree.put("/usr/local/sbin/soci-bootstrap", trees.AGENT),
    "the wiring": lambda tree: (tree.root / "etc/eks/nodeadm.d/50-soci-bootstrap.json").unlink(),
    "a unit masked": lambda tree: _link(tree, "/etc/systemd/system/soci-snapshotter.service", "/dev/null"),
    "a unit disabled": lambda tree: (
        tree.root / "etc/systemd/system/containerd.service.wants/soci-snapshotter.service"
    ).unlink(),
    "a drop-in of containerd's": lambda tree: tree.put(
        "/etc/systemd/system/containerd.service.d/proxy.conf", "[Service]\nEnvironment=HTTPS_PROXY=http://p\n"
    ),
    "a drop-in of SOCI's": lambda tree: tree.put(
        "/etc/systemd/system/soci-snapshotter.service.d/90.conf", "[Service]\nNice=5\n"
    ),
    "a drop-in of nodeadm's": lambda tree: tree.put("/etc/eks/nodeadm.d/90-mine.yaml", "spec: {}\n"),
    "nodeadm-run no longer reads them": lambda tree: tree.put(
        "/usr/lib/systemd/system/nodeadm-run.service", "[Service]\nExecStart=/usr/bin/nodeadm init\n"
    ),
    "containerd's root": lambda tree: tree.put("/etc/containerd/config.toml", 'root = "/mnt/containerd"\n'),
    "containerd's version": lambda tree: tree.put("/etc/eks/containerd-version.txt", "containerd x 1.7.27 y"),
    "the NodeConfig": lambda tree: tree.put("/run/eks/nodeadm/config.json", '{"spec": {}}'),
    "settings": lambda tree: tree.put("/etc/soci-bootstrap/config.toml", "force = true\n"),
    "a better decompressor": lambda tree: trees.put(tree.root, "/usr/bin/igzip", "", 0o755),
    "the decompressor gone": lambda tree: (tree.root / "usr/bin/unpigz").unlink(),
    "another Python": lambda tree: _link(tree, "/usr/bin/python3", "python3.12"),
    "a layer": lambda tree: tree.put(blob(LAYER), LAYER),
    "degraded": lambda tree: tree.put("/var/lib/soci-bootstrap/state.json", '{"degraded": "since"}'),
    "another zipapp": lambda tree: tree.zipapp.write_bytes(trees.AGENT + b"of another version"),
    "no zipapp": lambda tree: tree.zipapp.unlink(),
    "a spoilt memo": lambda tree: tree.put(memo.PATH, "{"),
    "the memo of another version": lambda tree: tree.put(
        memo.PATH, json.dumps({"settings": "", "signatures": {}})
    ),
    "JSON asked for in a file": lambda tree: tree.put("/etc/soci-bootstrap/config.toml", "json = true\n"),
}


def _link(tree: Tree, path: str, target: str) -> None:
    host = tree.root / path.lstrip("/")
    host.unlink()
    host.symlink_to(target)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_closer_look_after(installed, edit) -> None:
    edit(installed)
    assert not installed.told()


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "max_concurrent_downloads=7"),
        ("--mirror=/elsewhere",),
        ("--force",),
        ("--help",),
        ("--deadline", "soon"),
        ("--deadline", "0"),
        ("--deadline=-1",),
        ("--deadline=100000",),
        ("--deadline",),
        ("--bogus",),
        ("--config", "/etc/mine.toml"),
    ],
)
def test_a_closer_look_with_other_options(installed, words) -> None:
    assert not installed.told(*words)


@pytest.mark.parametrize("words", [("--json",), ("-v",), ("-q",), ("--deadline", "7"), ("--deadline=0.5",)])
def test_options_that_make_no_difference(installed, words) -> None:
    assert installed.told(*words)
    (installed.root / memo.PATH.lstrip("/")).unlink()
    os.unlink(installed.root / "etc/soci-snapshotter-grpc/config.toml")
    assert installed.install(*words) == "changed"
    assert installed.told()


def test_options_that_come_to_the_same_take_the_long_way_once(installed) -> None:
    words = ("--decompressor", "unpigz")
    installed.install(*words)
    assert installed.told(*words)
    # Else the memo of one would speak for the other, whose settings the record has.
    assert not installed.told()
    assert installed.install("--wiring", "nodeadm", *words) == "unchanged"
    assert installed.told("--wiring", "nodeadm", *words)
    assert not installed.told(*words)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SOCI_BOOTSTRAP_SET", "max_concurrent_downloads=7", False),
        ("SOCI_BOOTSTRAP_JSON", "true", False),
        ("SOCI_BOOTSTRAP_ROOT", "/elsewhere", False),
        ("SOCI_BOOTSTRAP_ZIPAPP_URL", "https://example.com/x.pyz", True),
        ("HTTPS_PROXY", "http://proxy", True),
    ],
)
def test_the_environment(installed, name, value, told) -> None:
    installed.environ = {name: value}
    assert installed.told() is told


def test_a_file_named_by_the_environment(tree, tmp_path, monkeypatch) -> None:
    """Its bytes are not looked at: whatever they say now, it takes the long way."""
    file = tmp_path / "settings.toml"
    file.write_text("[set]\nmax_concurrent_downloads = 30\n")
    tree.environ = {"SOCI_BOOTSTRAP_CONFIG": str(file)}
    monkeypatch.setenv("SOCI_BOOTSTRAP_CONFIG", str(file))
    assert tree.install() == "installed"
    file.write_text("[set]\nmax_concurrent_downloads = 31\n")
    assert not tree.told()
    assert tree.install() == "changed"


WHAT_COMES_AND_GOES = {
    "nodeadm writes its own anew": lambda tree: [
        tree.put("/etc/containerd/config.toml", "version = 3\n"),
        tree.put("/etc/kubernetes/kubelet/config.json", '{"maxPods": 30}'),
        tree.put("/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf", "{}"),
    ],
    "SOCI makes its directories": lambda tree: [
        tree.put("/var/lib/soci-snapshotter-grpc/content/db", ""),
        tree.put("/var/lib/containerd/io.containerd.snapshotter.v1.soci/metadata.db", ""),
    ],
    "an image was pulled": lambda tree: tree.put(blob(MANIFEST), MANIFEST),
    "units of others": lambda tree: tree.put("/etc/systemd/system/other.service", ""),
    "programs of others": lambda tree: trees.put(tree.root, "/usr/local/bin/other", "", 0o755),
    "the same zipapp elsewhere": lambda tree: (
        tree.zipapp.rename(tree.zipapp.with_suffix(".moved")) and tree.zipapp.write_bytes(trees.AGENT)
    ),
}


@pytest.mark.parametrize("change", WHAT_COMES_AND_GOES.values(), ids=WHAT_COMES_AND_GOES)
def test_what_comes_and_goes_makes_no_difference(installed, change) -> None:
    change(installed)
    assert installed.told()
    # After a second run too, which looks for traces of a killed one beside every path.
    (installed.root / "etc/soci-snapshotter-grpc/config.toml").unlink()
    assert installed.install() == "changed"
    change(installed)
    assert installed.told()


def test_layers_that_keep_layers(tree) -> None:
    """Where one keeps `discard_unpacked_layers` off, more make no difference; but that it goes does."""
    tree.put(blob(LAYER), LAYER)
    assert tree.install() == "installed"
    assert tree.told()
    tree.put(blob(OTHER), OTHER)
    assert tree.told()
    (tree.root / blob(LAYER).lstrip("/")).unlink()
    assert not tree.told()


def test_layers_below_another_root(tree) -> None:
    tree.put("/etc/containerd/config.toml", 'version = 3\nroot = "/mnt/containerd"\n')
    assert tree.install() == "installed"
    assert tree.told()
    tree.put(f"/mnt/containerd/{BLOBS.partition('/var/lib/containerd/')[2]}/0", LAYER)
    assert not tree.told()


@pytest.mark.parametrize(
    "path", ["/etc/containerd/certs.d/registry.test/hosts.toml", "/etc/containerd/conf.d/99-nvidia.toml"]
)
@pytest.mark.parametrize("linked", [False, True])
def test_what_containerd_is_going_to_read(tmp_path, monkeypatch, path, linked) -> None:
    tree = Tree(tmp_path, monkeypatch, dropins=False)
    tree.put("/etc/containerd/config.toml", IMPORTS + trees.CONTAINERD_TOML + CERTS_D)
    if linked:
        for name in ("certs.d", "conf.d"):
            write(tree.root, {f"/opt/{name}": None, f"/etc/containerd/{name}": f"-> ../../opt/{name}"})
    assert tree.install() == "installed"
    assert tree.told()
    tree.put(path, "skip_verify = true\n")
    assert not tree.told()


def test_a_link_that_leads_out_of_an_image(tree) -> None:
    """stat() would look at this machine's file: such an image always takes the long way."""
    write(tree.root, {"/opt/systemd": None, "/run/systemd": "-> /opt/systemd"})
    assert tree.install() == "installed"
    assert not tree.told()
    assert tree.install() == "unchanged"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/eks/nodeadm.d/90-late.yaml", False),
        ("/etc/systemd/system/containerd.service.d/late.conf", False),
        ("/etc/soci-bootstrap/config.toml", False),
        ("/usr/bin/igzip", False),
        ("/var/lib/other", True),
    ],
)
def test_what_comes_while_it_runs_is_looked_at(tree, monkeypatch, path, told) -> None:
    """The plan was made without it."""
    fetch = phases.fetch

    def fetch_slowly(*arguments) -> None:
        time.sleep(0.05)
        trees.put(tree.root, path, "", 0o755)
        fetch(*arguments)

    monkeypatch.setattr(phases, "fetch", fetch_slowly)
    assert tree.install() == "installed"
    assert tree.told() is told


# -- what a boot leaves -------------------------------------------------------------------------


def test_staged_is_for_the_boot(installed) -> None:
    """What is staged is not `unchanged`, to an install or to the boot that is to put it into effect."""
    memo_, path = json.loads(installed.root.joinpath(memo.PATH.lstrip("/")).read_bytes()), memo.PATH
    memo_["record"]["outcome"] = "staged"
    installed.put(path, json.dumps(memo_))
    assert not installed.told()


def test_renewed(installed) -> None:
    saved = installed.root.joinpath(memo.PATH.lstrip("/")).read_bytes()
    fresh = json.loads(saved)
    fresh.update(settings="a boot's", document={}, text="", machine=["anew"])
    assert json.loads(memo.renewed(saved, json.dumps(fresh).encode())) == {
        **json.loads(saved),
        "machine": ["anew"],
    }
    # An install with other settings was staged since: its memo would speak for the earlier ones.
    fresh["record"]["settings"] = {"wiring": "none"}
    data = json.dumps(fresh).encode()
    for earlier in (saved, b"", b"{", b"[]", b"{}"):
        assert memo.renewed(earlier, data) == data

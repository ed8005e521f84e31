"""Back to what stood there before, and nobody else's changes with it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from soci_bootstrap.apply.nodeadm_files import _without_ours, put_back
from soci_bootstrap.configfiles import toml
from soci_bootstrap.errors import RefusedError
from soci_bootstrap.paths import CONTAINERD_ENDPOINT, NODEADM_DROPIN, NODECONFIG_CACHE, RECORD
from soci_bootstrap.runtime.unwire import unwire
from soci_bootstrap.state.record import load
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.state.wiring import from_json as wired_from_json
from soci_bootstrap.system import System
from tests.support import trees
from tests.support.nodes import Node, captured, write
from tests.support.results import Done, install, rollback
from tests.support.trees import content, differences

SERVICE = "etc/systemd/system/soci-snapshotter.service"
CONFIG = "etc/soci-snapshotter-grpc/config.toml"
CONTAINERD = "etc/containerd/config.toml"
DAEMON = "usr/local/bin/soci-snapshotter-grpc"
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


@pytest.fixture(autouse=True)
def zipapp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.module.resources, "agent_bytes", lambda: trees.AGENT)


@pytest.fixture
def run_install(tmp_path: Path) -> Callable[..., str]:
    tarball, digest = trees.archive(tmp_path / "soci.tar.gz")

    def run(root: Path, *words: str, command: str = "install") -> str:
        line = ("--root", str(root), "--tarball", tarball, "--sha256", digest, "--arch", "amd64")
        found = install.run(trees.settings(command, *line, *words), trees.QUIET)
        assert found.exit_status == 0, found.reason
        return found.outcome

    return run


def attributes(root: Path) -> dict[str, object]:
    """What else belongs to files: when they were changed, and their extended attributes."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            {name: os.getxattr(path, name) for name in os.listxattr(path)},
        )
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def roll_back(root: Path, *words: str) -> Done:
    return rollback.run(trees.settings("rollback", "--root", str(root), *words), trees.QUIET)


@pytest.mark.parametrize("dropins", [True, False], ids=["nodeadm", "direct"])
def test_everything_comes_back_after_installs_upgrades_and_other_settings(
    dropins: bool, tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=dropins)
    os.chown(root / CONFIG, 1000, 1001)
    os.lchown(root / "etc/systemd/system/sockets.target.wants/soci-snapshotter.socket", 1000, 1001)
    trees.put(root, DAEMON, "somebody's own daemon", 0o4711)
    for name, value in ((CONFIG, b"mine"), (DAEMON, b"too")):
        os.setxattr(root / name, "user.whose", value)
        os.utime(root / name, ns=(0, 10**18 + 123456789))
    with contextlib.suppress(PermissionError):
        os.setxattr(root / DAEMON, "security.capability", CAP_NET_RAW)
    before, beside = content(root), attributes(root)
    assert run_install(root) == "installed"
    assert run_install(root, "--set", "max_concurrent_downloads=3") == "changed"
    assert run_install(root, "--wiring", "direct", "--snapshotter-root", "/mnt/soci") == "changed"
    assert run_install(root, command="bake") == "installed"
    assert run_install(root) == "installed"
    done = roll_back(root)
    assert (done.outcome, done.exit_status) == ("rolled-back", 0)
    assert differences(before, content(root)) == []
    assert attributes(root) == beside
    again = roll_back(root)
    assert (again.outcome, again.exit_status) == ("unchanged", 0)


@pytest.mark.parametrize("dropins", [True, False], ids=["nodeadm", "direct"])
def test_everything_comes_back_after_failing_open(
    dropins: bool, tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=dropins)
    before = content(root)
    run_install(root)
    system = System(str(root), tag="hook")
    record = load(system)
    assert record is not None
    wired = wired_from_json(record.wiring)
    assert wired is not None
    assert unwire(system, wired) == []
    assert roll_back(root).outcome == "rolled-back"
    assert differences(before, content(root)) == []


def test_a_drop_in_that_only_failing_open_puts_there_goes(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    # The published recipe: the user's NodeConfig wires SOCI, and ours adds nothing to it.
    root = trees.eks(tmp_path / "node")
    trees.put(root, NODECONFIG_CACHE, captured("nodeadm-cache-static-soci.json"))
    before = content(root)
    run_install(root)
    assert not (root / NODEADM_DROPIN[1:]).exists()
    system = System(str(root), tag="hook")
    record = load(system)
    assert record is not None
    wired = wired_from_json(record.wiring)
    assert wired is not None
    assert unwire(system, wired) == []
    assert (root / NODEADM_DROPIN[1:]).exists()
    assert roll_back(root).outcome == "rolled-back"
    assert differences(before, content(root)) == []


def test_what_was_right_before_us_comes_back_after_others_removed_it(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node")
    # An AMI that has SOCI enables its socket.
    trees.put(root, "/etc/systemd/system/soci-snapshotter.socket", "[Socket]\nListenStream=/run/soci.sock\n")
    link = root / "etc/systemd/system/sockets.target.wants/soci-snapshotter.socket"
    link.unlink()
    link.symlink_to("/etc/systemd/system/soci-snapshotter.socket")
    before = content(root)
    run_install(root)
    link.unlink()
    assert run_install(root) == "changed"
    assert roll_back(root).outcome == "rolled-back"
    assert differences(before, content(root)) == []


def test_files_that_someone_changed_since_are_listed_and_only_force_takes_them(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=False)
    before = content(root)
    run_install(root)
    (root / SERVICE).write_text("[Service]\nExecStart=/bin/true\n")
    with (root / CONTAINERD).open("a") as file:
        file.write("[plugins.'mine']\n")
    changed = content(root)
    with pytest.raises(RefusedError) as caught:
        roll_back(root)
    for path in (SERVICE, CONTAINERD):
        assert f"/{path}" in str(caught.value)
    assert "--force" in str(caught.value)
    assert differences(changed, content(root)) == []
    assert roll_back(root, "--force").outcome == "rolled-back"
    assert differences(before, content(root)) == []


def test_what_others_changed_in_a_merged_file_outlives_the_next_install_and_rollback(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=False)
    before = content(root)
    run_install(root)
    text = (root / CONTAINERD).read_text().replace('"soci"', '"overlayfs"')
    (root / CONTAINERD).write_text(text + '\n[debug]\nlevel = "debug"\n')
    with pytest.raises(RefusedError, match=CONTAINERD):
        roll_back(root)
    assert run_install(root) == "changed"
    done = roll_back(root)
    assert any(CONTAINERD in note and "stays" in note for note in done.notes)
    assert [line.partition(":")[0] for line in differences(before, content(root))] == [f"/{CONTAINERD}"]
    left = toml.loads((root / CONTAINERD).read_bytes(), CONTAINERD)
    assert left == {**toml.loads(trees.CONTAINERD_TOML, "x"), "debug": {"level": "debug"}}


@pytest.mark.parametrize("text", [None, "", "# nothing\n"])
def test_a_file_that_said_nothing_says_nothing_again(
    text: str | None, tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=False)
    (root / CONTAINERD).unlink()
    if text is not None:
        trees.put(root, CONTAINERD, text)
    before = content(root)
    run_install(root)
    assert roll_back(root).notes == []
    assert differences(before, content(root)) == []


def test_a_file_that_its_owner_wrote_anew_without_us_stays(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=False)
    run_install(root)
    (root / CONTAINERD).write_text("version = 3\n# nodeadm's, of another boot\n")
    assert roll_back(root).outcome == "rolled-back"
    assert "another boot" in (root / CONTAINERD).read_text()


def test_what_nodeadm_wrote_at_a_boot_is_what_comes_back(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    root = trees.eks(tmp_path / "node", dropins=False)
    run_install(root)
    (root / CONTAINERD).write_text("version = 3\n# another boot's\n")
    run_install(root)
    assert "soci" in (root / CONTAINERD).read_text()
    assert roll_back(root).outcome == "rolled-back"
    assert (root / CONTAINERD).read_text() == "version = 3\n# another boot's\n"


def test_directories_that_others_use_stay(tmp_path: Path, run_install: Callable[..., str]) -> None:
    root = trees.eks(tmp_path / "node")
    run_install(root)
    (root / "usr/local/bin/theirs").write_text("x")
    roll_back(root)
    assert [file.name for file in (root / "usr/local").rglob("*")] == ["bin", "theirs"]


def test_a_root_with_snapshots_stays_and_is_told(tmp_path: Path, run_install: Callable[..., str]) -> None:
    root = trees.eks(tmp_path / "node")
    run_install(root)
    soci = root / "var/lib/containerd/io.containerd.snapshotter.v1.soci"
    (soci / "snapshotter/snapshots/1/fs").mkdir(parents=True)
    done = roll_back(root)
    assert soci.exists()
    assert str(soci)[len(str(root)) :] in done.text


def test_an_unused_root_goes(tmp_path: Path, run_install: Callable[..., str]) -> None:
    root = trees.eks(tmp_path / "node")
    before = content(root)
    run_install(root)
    soci = root / "var/lib/containerd/io.containerd.snapshotter.v1.soci"
    (soci / "snapshotter/snapshots").mkdir(parents=True)
    (soci / "metadata.db").write_bytes(b"empty")
    roll_back(root)
    assert differences(before, content(root)) == []


def test_a_failure_says_so_and_the_next_rollback_goes_on(
    tmp_path: Path, run_install: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.eks(tmp_path / "node", dropins=False)
    before = content(root)
    run_install(root)
    real = os.rename

    def rename(source: str, target: str) -> None:
        if target.endswith("soci-snapshotter-grpc/config.toml"):
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        done = roll_back(root)
    assert (done.exit_status, done.outcome) == (1, "failed")
    assert "No space left" in str(done.reason)
    assert (root / RECORD[1:]).exists()
    assert (root / CONTAINERD).read_text() == trees.CONTAINERD_TOML
    assert roll_back(root).outcome == "rolled-back"
    assert differences(before, content(root)) == []


WIRED = Wired(WiringMode.NODEADM, "v3", "/run/s.sock", "/var/lib/s", False, "/c.toml", "/k.json", "/k.d", "")
OURS = """\
[plugins."io.containerd.cri.v1.images"]
snapshotter = "soci"
disable_snapshot_annotations = false
{more}
[proxy_plugins.soci]
type = "snapshot"
address = "/run/s.sock"
[proxy_plugins.soci.exports]
root = "/var/lib/s"
"""
KUBELET = '{"imageServiceEndpoint": "unix:///run/s.sock", "maxPods": 3}'


@pytest.mark.parametrize(
    ("path", "found", "before", "after"),
    [
        pytest.param("/c.toml", OURS.format(more=""), "", "", id="all of it was ours"),
        pytest.param(
            "/c.toml",
            OURS.format(more="discard_unpacked_layers = true"),
            "[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers=true # mine\n",
            "[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers=true # mine\n",
            id="what is left means the same as before: the very bytes",
        ),
        pytest.param(
            "/c.toml",
            OURS.format(more="max = 3"),
            "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'stargz'\n",
            '[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "stargz"\nmax = 3\n',
            id="others' keys stay, the old snapshotter comes back",
        ),
        pytest.param(
            "/c.toml",
            OURS.format(more="").replace('"soci"\ndis', '"overlayfs"\ndis'),
            "",
            "",
            id="after failing open",
        ),
        pytest.param("/k.json", KUBELET, "", '{\n    "maxPods": 3\n}\n', id="kubelet"),
    ],
)
def test_our_part_comes_out_of_what_we_merged_into(path: str, found: str, before: str, after: str) -> None:
    assert _without_ours(path, found.encode(), before.encode(), WIRED).decode() == after


CACHE = {
    "spec": {
        "containerd": {"config": OURS.format(more="")},
        "kubelet": {"config": {"imageServiceEndpoint": "unix:///run/s.sock"}},
        "featureGates": {"FastImagePull": False},
        "cluster": {"name": "one"},
    }
}


@pytest.mark.parametrize(
    ("path", "found", "before", "after"),
    [
        pytest.param(
            "/c.toml", OURS.format(more="max = 3"), "# mine\nversion = 3\n", None, id="somebody changed more"
        ),
        pytest.param("/c.toml", OURS.format(more="max = 3"), None, None, id="no saved copy"),
        pytest.param(
            "/c.toml",
            "version = 3\n" + OURS.format(more="max = 3"),
            "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax = 3 # mine\n",
            "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax = 3 # mine\n",
            id="the saved copy",
        ),
        pytest.param("/k.json", KUBELET, '{"maxPods":3}', '{"maxPods":3}', id="kubelet's saved copy"),
        pytest.param("/k.json", KUBELET, "{", None, id="one that can't be compared"),
        pytest.param("/k.json", KUBELET, KUBELET, None, id="a copy that was saved while wired"),
        pytest.param(
            NODECONFIG_CACHE,
            json.dumps(CACHE),
            '{"spec": {"cluster": {"name": "one"}, "featureGates": {"FastImagePull": true}}}',
            '{"spec": {"cluster": {"name": "one"}, "featureGates": {"FastImagePull": true}}}',
            id="nodeadm's cache",
        ),
        pytest.param(
            NODECONFIG_CACHE,
            json.dumps(CACHE),
            '{"spec": {"cluster": {"name": "two"}}}',
            None,
            id="another's",
        ),
    ],
)
def test_nodeadms_files_are_the_saved_copies_or_unwired(
    path: str, found: str, before: str | None, after: str | None, tmp_path: Path
) -> None:
    node = Node(write(tmp_path, {path: found}))
    ((where, data, saved),) = put_back(node, WIRED, {path: before.encode()} if before is not None else {})
    assert (where, saved) == (path, after is not None)
    assert data is not None
    if after is not None:
        assert data.decode() == after
    elif path == NODECONFIG_CACHE:
        assert data.decode() == found
    elif path == "/k.json":
        assert json.loads(data) == {"imageServiceEndpoint": CONTAINERD_ENDPOINT, "maxPods": 3}
    else:
        assert data.decode() == found.replace('"soci"', '"overlayfs"')


ENVIRONMENT = "ARGS='--config=/k.json --v=2'\n"
NAMED = "ARGS='--v=2 --config=/k.json --config-dir=/k.d'\n"
ENDPOINT = '{"kind": "KubeletConfiguration", "imageServiceEndpoint": "unix:///run/s.sock"}'


@pytest.mark.parametrize(
    ("environment", "dropin", "before", "goes"),
    [
        pytest.param(NAMED, ENDPOINT, {"/env": ENVIRONMENT}, True, id="made for our part"),
        pytest.param(
            NAMED, ENDPOINT, {"/env": ENVIRONMENT, "/k.d/40-nodeadm.conf": ENDPOINT}, True, id="saved wired"
        ),
        pytest.param(NAMED, KUBELET, {"/env": ENVIRONMENT}, False, id="the user's part is in it"),
        pytest.param(NAMED, ENDPOINT, {"/env": NAMED}, False, id="kubelet had it before"),
        pytest.param(NAMED + "--x", ENDPOINT, {"/env": ENVIRONMENT}, False, id="other arguments too"),
        pytest.param(NAMED, ENDPOINT, {}, False, id="no saved copy"),
    ],
)
def test_kubelets_directory_goes_where_nodeadm_made_it_for_our_part(
    environment: str, dropin: str, before: dict[str, str], goes: bool, tmp_path: Path
) -> None:
    """Left behind, it would name a socket that is gone, or be named without being there."""
    node = Node(write(tmp_path, {"/env": environment, "/k.d/40-nodeadm.conf": dropin}))
    found = list(put_back(node, WIRED, {path: text.encode() for path, text in before.items()}))
    if goes:
        assert found == [("/env", ENVIRONMENT.encode(), True), ("/k.d/40-nodeadm.conf", None, True)]
    else:
        ((where, data, saved),) = found
        assert (where, saved) == ("/k.d/40-nodeadm.conf", False)
        assert data is not None
        assert json.loads(data)["imageServiceEndpoint"] == CONTAINERD_ENDPOINT


def test_nodeadms_files_without_our_part_are_left_alone(tmp_path: Path) -> None:
    node = Node(write(tmp_path, {"/c.toml": "version = 3\n", "/k.json": "{", NODECONFIG_CACHE: "{}"}))
    assert list(put_back(node, WIRED, {"/c.toml": b""})) == []


def test_what_failing_open_changed_of_others_comes_back(
    tmp_path: Path, run_install: Callable[..., str]
) -> None:
    """--wiring none: containerd's configuration is the user's."""
    root = trees.eks(tmp_path / "node", dropins=False)
    users = trees.CONTAINERD_TOML.replace("= true\n", "= true\n  snapshotter = 'soci'\n", 1)
    trees.put(root, CONTAINERD, users)
    before = content(root)
    run_install(root, "--wiring", "none")
    system = System(str(root), tag="hook")
    record = load(system)
    assert record is not None
    wired = wired_from_json(record.wiring)
    assert wired is not None
    assert unwire(system, wired) == []
    assert (root / CONTAINERD).read_text() != users
    assert roll_back(root).outcome == "rolled-back"
    assert differences(before, content(root)) == []

"""An image holds nothing of the machine that it was baked on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.paths import DAEMON, RECORD
from tests.support import trees
from tests.support.results import Done, install
from tests.support.trees import content, differences

Bake = Callable[..., Done]


@pytest.fixture
def bake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bake:
    monkeypatch.setattr(install.module.resources, "agent_bytes", lambda: trees.AGENT)
    tarball, digest = trees.archive(tmp_path / "soci.tar.gz")

    def run(root: Path, *words: str, command: str = "bake", sha256: str = digest) -> Done:
        line = ("--root", str(root), "--tarball", tarball, "--sha256", sha256)
        return install.run(trees.settings(command, *line, *words), trees.QUIET)

    return run


def test_two_builders_bake_the_same_image(tmp_path: Path, bake: Bake) -> None:
    small, large = trees.eks(tmp_path / "small"), trees.eks(tmp_path / "large")
    # The large builder was booted with userData of its own.
    cache = json.dumps({"spec": {"featureGates": {"FastImagePull": True}}})
    (large / "run/eks/nodeadm/config.json").write_text(cache)
    bake(small, "--vcpus", "2", "--memory-gib", "4", "--arch", "arm64")
    bake(large, "--vcpus", "192", "--memory-gib", "768", "--arch", "arm64")
    apart = ("/run/eks/nodeadm/config.json",)
    assert differences(content(small, apart=apart), content(large, apart=apart)) == []


def test_software_and_units_are_there_but_no_wiring_and_no_tuning(tmp_path: Path, bake: Bake) -> None:
    root = trees.eks(tmp_path / "image")
    before = content(root)
    done = bake(root, "--arch", "amd64")
    assert (done.outcome, done.exit_status) == ("installed", 0)
    changed = {line.split(":")[0] for line in differences(before, content(root))}
    assert "/usr/local/bin/soci-snapshotter-grpc" in changed
    assert "/etc/systemd/system/multi-user.target.wants/soci-bootstrap.service" in changed
    assert "/etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf" in changed
    assert not {
        path for path in changed if path.startswith(("/etc/eks", "/etc/containerd", "/etc/kubernetes"))
    }
    assert (root / "etc/soci-snapshotter-grpc/config.toml").read_text() == "# someone's own\n"
    record = json.loads((root / RECORD[1:]).read_bytes())
    assert (record["outcome"], record["boot_id"], record["node_config"], record["wiring"]) == (
        "baked",
        "",
        {},
        {},
    )
    assert record["units_active"] == {}


def test_baking_again_changes_nothing_but_other_settings_are_kept(tmp_path: Path, bake: Bake) -> None:
    root = trees.eks(tmp_path / "image")
    bake(root)
    before = content(root)
    assert bake(root).outcome == "unchanged"
    assert differences(before, content(root)) == []
    assert bake(root, "--set", "max_concurrent_downloads=7").outcome == "changed"
    record = json.loads((root / RECORD[1:]).read_bytes())
    assert record["settings"]["parallel_pull"] == {"max_concurrent_downloads": 7}


@pytest.mark.parametrize("command", ["bake", "install"])
def test_an_image_that_was_copied_file_by_file_needs_nothing_fetched(
    command: str, tmp_path: Path, bake: Bake
) -> None:
    root = trees.eks(tmp_path / "image")
    bake(root, command=command)
    copy = trees.copied(root, tmp_path / "copy")
    (tmp_path / "soci.tar.gz").unlink()
    assert bake(copy, command=command).outcome == "unchanged"
    with (copy / DAEMON[1:]).open("r+b") as file:
        file.write(b"X")
    assert bake(copy, command=command).outcome == "failed"


def test_a_daemon_that_was_changed_behind_its_times_is_put_back(tmp_path: Path, bake: Bake) -> None:
    root = trees.eks(tmp_path / "image")
    bake(root)
    daemon = root / DAEMON[1:]
    found = daemon.stat()
    with daemon.open("r+b") as file:
        file.write(b"X")
    os.utime(daemon, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert bake(root).outcome == "changed"
    assert daemon.read_bytes() == trees.DAEMON


def test_images_pulled_on_overlayfs_are_not_stranded_without_force(tmp_path: Path, bake: Bake) -> None:
    root = trees.eks(tmp_path / "image")
    for number in range(3):
        trees.put(root, f"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{number}/fs/x")
    before = content(root)
    done = bake(root)
    assert (done.outcome, done.exit_status) == ("failed", 1)
    assert "overlayfs" in str(done.reason)
    assert differences(before, content(root)) == []
    assert bake(root, "--force").exit_status == 0


def test_a_failure_leaves_the_image_as_it_was(tmp_path: Path, bake: Bake) -> None:
    root = trees.eks(tmp_path / "image")
    before = content(root)
    try:
        done = bake(root, sha256="0" * 64)
    except BootstrapError as error:
        reason = str(error)
    else:
        assert (done.exit_status, done.document["sha256"]) == (1, "0" * 64)
        reason = str(done.reason)
    assert "0" * 64 in reason
    assert differences(before, content(root)) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/usr/bin/igzip", "nothing there"),
        ("/usr/bin", "no regular file"),
        ("/etc/eks/containerd-version.txt", "a file of mode 0644"),
    ],
)
def test_a_decompressor_that_would_stop_the_daemon_is_seen_without_running_it(
    path: str, found: str, tmp_path: Path, bake: Bake
) -> None:
    root = trees.eks(tmp_path / "image")
    before = content(root)
    for command in ("bake", "install"):
        done = bake(root, "--decompressor", path, command=command)
        assert done.exit_status == 1
        assert f"{path} can't be used in this image: found {found}, expected" in str(done.reason)
    assert differences(before, content(root)) == []
    assert bake(root, "--decompressor", "/usr/bin/unpigz").outcome == "installed"

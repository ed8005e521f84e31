from __future__ import annotations

import errno
import io
import json
import os
from dataclasses import replace

import pytest

from soci_bootstrap.errors import DecompressorError, StateError
from soci_bootstrap.plan.steps import Step, steps_to_json
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import System, programs, resources
from soci_bootstrap.system.console import Console
from tests.support import trees
from tests.support.results import Done, install
from tests.support.results import plan as plan_

DROPIN = "/etc/eks/nodeadm.d/50-soci-bootstrap.json"
CONFIG = "/etc/soci-snapshotter-grpc/config.toml"
RECORD = "/var/lib/soci-bootstrap/record.json"


@pytest.fixture(autouse=True)
def zipapp(monkeypatch):
    monkeypatch.setattr(resources, "agent_bytes", lambda: trees.AGENT)


@pytest.fixture
def settings(tmp_path):
    root = trees.eks(tmp_path / "node")
    tarball, sha256 = trees.archive(tmp_path / "soci.tgz")
    return Settings(command="plan", root=str(root), tarball=tarball, sha256=sha256, vcpus=2, memory_gib=4.0)


def plan(settings, said=None) -> Done:
    return plan_.run(settings, Console(0, said or io.StringIO()))


def test_a_node_without_soci(settings) -> None:
    before = trees.content(_root(settings))
    result = plan(settings)
    assert trees.content(_root(settings)) == before
    assert (result.exit_status, result.wiring, result.unseen) == (3, "nodeadm", [])
    assert {step.name for step in result.pending} == {step.name for step in result.steps}
    assert result.text.startswith(f"{len(result.steps)} of {len(result.steps)} steps pending (SOCI ")
    # A diff of each kind.
    assert "-# someone's own" in result.diffs[CONFIG]
    assert "mode 0640 -> 0644" in result.diffs[CONFIG]
    assert "--- /dev/null" in result.diffs[DROPIN]
    assert settings.sha256 in result.diffs["/usr/local/bin/soci-snapshotter-grpc"]
    wants = "/etc/systemd/system/sockets.target.wants/soci-snapshotter.socket"
    assert "(now -> /dev/null)" in result.diffs[wants]
    assert "(now" not in result.diffs["/etc/systemd/system/multi-user.target.wants/soci-bootstrap.service"]


def test_what_install_does_then(settings) -> None:
    asked = plan(settings)
    done = install.run(replace(settings, command="install"), Console(-1, io.StringIO()))
    assert done.outcome == "installed"
    assert [step.name for step in done.steps if step.changed] == [step.name for step in asked.pending]
    result = plan(settings)
    assert (result.exit_status, result.pending, dict(result.diffs)) == (0, (), {})
    assert result.text.startswith("nothing to do: SOCI ")


def test_the_contracts_object(settings) -> None:
    document = json.loads(json.dumps(plan(settings).document))
    assert document["pending"] is True
    assert {"steps", "soci_version", "wiring", "unseen"} <= set(document)
    step = next(step for step in document["steps"] if step.get("path") == DROPIN)
    assert (step["name"], step["changed"]) == ("wiring", True)
    assert step["diff"].startswith("---")


def test_steps_without_a_file_have_no_path() -> None:
    steps = (Step("daemon-reload", None, True), Step("agent", "/x", False))
    assert steps_to_json(steps) == [
        {"name": "daemon-reload", "changed": True},
        {"name": "agent", "path": "/x", "changed": False},
    ]


def test_the_gates_drop_in_would_go(settings) -> None:
    gone = "/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf"
    trees.put(_root(settings), gone, "[Unit]\n")
    trees.put(
        _root(settings), "/run/eks/nodeadm/config.json", '{"spec": {"featureGates": {"FastImagePull": true}}}'
    )
    assert plan(settings).diffs[gone] == f"--- {gone}\n+++ /dev/null\n"


def test_another_wiring_takes_the_last_one_back(settings) -> None:
    install.run(replace(settings, command="install"), Console(-1, io.StringIO()))
    result = plan(replace(settings, wiring="direct"))
    assert result.diffs[DROPIN] == f"{DROPIN}: as it was before the first install\n"
    assert result.wiring == "direct"


def test_a_decompressor_that_failed_here_is_not_planned_again(settings) -> None:
    trees.put(_root(settings), "/usr/bin/igzip", "", 0o755)
    asked = replace(settings, command="install")
    install.run(replace(asked, decompressor="unpigz"), Console(-1, io.StringIO()))
    record = json.loads((_root(settings) / RECORD.lstrip("/")).read_bytes())
    trees.put(_root(settings), RECORD, json.dumps({**record, "excluded": ["igzip"]}), 0o600)
    assert plan(settings).exit_status == 0


def test_what_is_no_text(settings, monkeypatch) -> None:
    monkeypatch.setattr(resources, "agent_bytes", lambda: b"PK\0\0")
    agent = "/usr/local/sbin/soci-bootstrap"
    assert plan(settings).diffs[agent] == f"{agent}: 4 bytes, mode 0755 (now nothing)\n"
    trees.put(_root(settings), agent, "older", 0o755)
    assert "(now 5 bytes)" in plan(settings).diffs[agent]


def test_a_last_line_without_its_end(settings) -> None:
    trees.put(_root(settings), CONFIG, "no end", 0o644)
    diff = plan(settings).diffs[CONFIG]
    assert "-no end\n" in diff
    assert diff.endswith("\n")


def test_without_a_zipapp(settings, monkeypatch) -> None:
    monkeypatch.setattr(resources, "agent_bytes", lambda: None)
    assert plan(settings).exit_status == 3


def test_a_record_that_can_not_be_used(settings) -> None:
    trees.put(_root(settings), RECORD, "{}")
    result = plan(settings)
    assert "record.json can't be used" in result.unseen[0]
    assert "not seen: " in result.text


def close(monkeypatch, settings, closed) -> None:
    """Have the system refuse a file, or a directory and all that is below it."""

    def refuses(real, *, itself):
        def call(path, *args, **options):
            if f"{path}/".startswith(f"{settings.root}{closed}/") and (
                itself or not str(path).endswith(closed)
            ):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *args, **options)

        return call

    for name in ("open", "listdir"):
        monkeypatch.setattr(os, name, refuses(getattr(os, name), itself=True))
    monkeypatch.setattr("soci_bootstrap.system.tree.open", refuses(open, itself=True), raising=False)
    monkeypatch.setattr(os, "lstat", refuses(os.lstat, itself=False))


def test_a_file_that_this_user_may_not_read(settings, monkeypatch) -> None:
    close(monkeypatch, settings, CONFIG)
    result = plan(settings)
    assert result.diffs[CONFIG] == f"{CONFIG}: can't be read by this user\n"
    assert "Permission denied" in result.unseen[0]


@pytest.mark.parametrize(
    "closed",
    [
        "/etc/containerd/config.toml",
        "/etc/eks/nodeadm.d",
        "/etc/kubernetes/kubelet/config.json",
        "/run/eks/nodeadm",
        "/var/lib/containerd",
        "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs",
    ],
)
def test_what_is_closed_to_this_user_is_named_and_stops_nothing(settings, monkeypatch, closed) -> None:
    below = "/var/lib/containerd/io.containerd."
    (_root(settings) / f"{below}snapshotter.v1.overlayfs/snapshots".lstrip("/")).mkdir(parents=True)
    (_root(settings) / f"{below}content.v1.content/blobs/sha256".lstrip("/")).mkdir(parents=True)
    seen = plan(settings)
    close(monkeypatch, settings, closed)
    result = plan(settings)
    assert (result.exit_status, result.reason) == (3, None)
    assert result.unseen
    assert all(closed in what for what in result.unseen)
    assert [step.path for step in result.steps] == [step.path for step in seen.steps]


def test_what_is_as_it_should_be_for_all_that_can_be_seen(settings, monkeypatch) -> None:
    install.run(replace(settings, command="install"), Console(-1, io.StringIO()))
    close(monkeypatch, settings, "/var/lib/soci-bootstrap")
    result = plan(settings)
    # Whether the daemon is the verified one only the record can tell.
    assert [step.name for step in result.pending] == ["binary"]
    assert "record.json can't be read" in result.unseen[0]


def test_settings_that_this_user_may_not_read_are_unseen_too(settings) -> None:
    assert plan(replace(settings, unseen=("the file",))).unseen == ["the file"]


def test_what_is_broken_is_not_merely_unseen(settings) -> None:
    trees.put(_root(settings), "/run/eks/nodeadm/config.json", "{")
    with pytest.raises(StateError, match="NodeConfig"):
        plan(settings)


def live(monkeypatch) -> None:
    """Have a tree taken for this node."""
    init = System.__init__

    def on_this_node(self, *args):
        init(self, *args)
        self.live = True
        self.path = self._walk

    monkeypatch.setattr(System, "__init__", on_this_node)


@pytest.mark.parametrize("systemctl", [0o755, 0])
def test_without_a_systemd_that_answers(settings, monkeypatch, systemctl) -> None:
    live(monkeypatch)
    program = _root(settings) / "usr/bin/systemctl"
    program.chmod(systemctl) if systemctl else program.unlink()
    refuses = programs.Completed(1, b"", b"Failed to connect to bus: Host is down\n")
    monkeypatch.setattr(System, "run", lambda *_, **__: refuses)
    result = plan(settings)
    assert (result.exit_status, result.wiring) == (3, "nodeadm")
    assert ("Host is down" if systemctl else "systemd is not on this node") in result.unseen[0]
    assert {"daemon-reload", "socket-started"} <= {step.name for step in result.pending}


def test_where_install_would_fail_open(settings, monkeypatch) -> None:
    live(monkeypatch)
    monkeypatch.setattr(System, "run", lambda *_, **__: programs.Completed(0, b"", b""))
    asked = replace(settings, decompressor="igzip")
    result = plan(asked)
    assert (result.exit_status, result.wiring) == (3, None)
    assert result.reason is not None
    assert "igzip can't be used" in result.reason
    # What it would leave for the next boot, and no more.
    assert [step.name for step in result.pending] == ["agent", "boot-unit", "boot-unit-enabled"]
    assert "would fail open: the decompressor igzip" in result.text
    assert result.document["reason"] == result.reason
    with pytest.raises(DecompressorError):
        plan(replace(asked, strict=True))


def test_where_install_into_an_image_would_fail(settings) -> None:
    with pytest.raises(DecompressorError):
        plan(replace(settings, decompressor="igzip"))


def test_warnings_are_said(settings) -> None:
    trees.put(
        _root(settings), "/etc/eks/nodeadm.d/60-x.yaml", "kubelet: {config: {imageServiceEndpoint: x}}\n"
    )
    said = io.StringIO()
    plan(settings, said)
    assert "WARNING /etc/eks/nodeadm.d/60-x.yaml sorts after ours" in said.getvalue()


def _root(settings):
    from pathlib import Path

    assert os.path.isabs(settings.root)
    return Path(settings.root)

from __future__ import annotations

import io
import json
import os
from dataclasses import replace

import pytest
import trees

from soci_bootstrap import install, preview, resources
from soci_bootstrap.console import Console
from soci_bootstrap.errors import StateError
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import System

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


def plan(settings, said=None) -> preview.PlanResult:
    return preview.run(settings, Console(0, said or io.StringIO()))


def test_a_node_without_soci(settings) -> None:
    before = trees.content(_root(settings))
    result = plan(settings)
    assert trees.content(_root(settings)) == before
    assert (result.exit_status, result.wiring, result.unseen) == (3, "nodeadm", ())
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
    from soci_bootstrap.plan import Step

    steps = (Step("daemon-reload", None, True), Step("preflight", None, False))
    result = preview.PlanResult(steps, {}, "none", "0.15.0", ("x",))
    assert result.document["steps"] == [
        {"name": "daemon-reload", "changed": True},
        {"name": "preflight", "changed": False},
    ]
    assert "  daemon-reload\n  not seen: x" in result.text


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


def test_a_file_that_this_user_may_not_read(settings, monkeypatch) -> None:
    read = System.read

    def refuses(self, path):
        if path == CONFIG:
            raise StateError(f"{path} can't be read", found="Permission denied")
        return read(self, path)

    monkeypatch.setattr(System, "read", refuses)
    result = plan(settings)
    assert result.diffs[CONFIG] == f"{CONFIG}: can't be read by this user\n"
    assert "Permission denied" in result.unseen[0]


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

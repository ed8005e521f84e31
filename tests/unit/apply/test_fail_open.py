"""Failing open where others wire SOCI."""

from __future__ import annotations

import json

import pytest

from soci_bootstrap.errors import PreflightError
from soci_bootstrap.facts import nodeconfig
from soci_bootstrap.paths import NODEADM_DROPIN, NODECONFIG_CACHE
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome, load
from tests.support import trees
from tests.support.machines import Machine
from tests.support.nodes import Node, captured, write


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def static(machine) -> None:
    trees.put(machine.root, NODECONFIG_CACHE, captured("nodeadm-cache-static-soci.json").decode())


def overridden(machine) -> bool:
    spec = json.loads(machine.node.read(NODEADM_DROPIN) or b"{}").get("spec", {})
    config = spec.get("containerd", {}).get("config", "")
    endpoint = spec.get("kubelet", {}).get("config", {}).get("imageServiceEndpoint", "")
    return 'snapshotter = "overlayfs"' in config and endpoint == "unix:///run/containerd/containerd.sock"


def test_the_published_recipe_is_overridden(machine) -> None:
    static(machine)
    machine.refusal = PreflightError("it does not run")
    machine.fail_open()
    assert overridden(machine)


def test_it_is_where_no_plan_came_about(machine) -> None:
    """Images pre-pulled on overlayfs: nothing was planned, and the recipe leads to no SOCI."""
    static(machine)
    write(machine.root, {"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1": None})
    assert "pre-pulled on overlayfs" in machine.fail_open()
    assert overridden(machine)


def test_it_is_where_the_recipe_is_a_drop_in(machine) -> None:
    recipe = json.loads(captured("nodeadm-cache-static-soci.json"))["spec"]["containerd"]
    write(machine.root, {"/etc/eks/nodeadm.d/10-soci.json": json.dumps({"spec": {"containerd": recipe}})})
    machine.refusal = PreflightError("it does not run")
    machine.fail_open()
    assert overridden(machine)


def test_it_is_where_the_run_ended_before_it_looked(machine) -> None:
    """/usr/local is read-only: not even the agent could be put there."""
    static(machine)
    machine.node.refused = ("/usr/local",)
    assert "/usr/local" in machine.fail_open()
    assert overridden(machine)


def test_it_is_where_the_wiring_asked_for_does_not_fit(tmp_path, machine) -> None:
    machine.root = trees.eks(tmp_path / "old", dropins=False)
    machine.node = Node(machine.root, machine.node.programs)
    trees.put(machine.root, "/etc/containerd/config.toml", captured("containerd-nodeadm-static-soci.toml"))
    assert "does not read drop-ins" in machine.fail_open(wiring="nodeadm")
    assert b"snapshotter = 'overlayfs'" in (machine.node.read("/etc/containerd/config.toml") or b"")


def test_it_is_where_kubelets_file_is_none_of_ours(tmp_path, machine) -> None:
    machine.root = trees.eks(tmp_path / "old", dropins=False)
    machine.node = Node(machine.root, machine.node.programs)
    trees.put(machine.root, "/etc/containerd/config.toml", captured("containerd-nodeadm-static-soci.toml"))
    trees.put(machine.root, "/etc/kubernetes/kubelet/config.json", "kind: KubeletConfiguration\n")
    assert "is not a JSON object" in machine.fail_open()
    assert b"snapshotter = 'overlayfs'" in (machine.node.read("/etc/containerd/config.toml") or b"")


def test_the_outcome_is_recorded_although_it_can_not_be_overridden(machine, monkeypatch) -> None:
    static(machine)
    machine.refusal = PreflightError("it does not run")
    machine.node.refused = (NODEADM_DROPIN,)
    report = machine.run()
    assert (report.outcome, report.reason) == (Outcome.DEGRADED, "it does not run")
    assert NODEADM_DROPIN in machine.said.getvalue()
    degraded = health.load(machine.node).degraded
    assert degraded.startswith("it does not run; ")
    assert NODEADM_DROPIN in degraded
    record = load(machine.node)
    assert record is not None
    assert record.outcome is Outcome.FAILED


def test_the_gates_drop_in_goes(machine) -> None:
    cache = {"spec": {"featureGates": {nodeconfig.GATE: True}}}
    trees.put(machine.root, NODECONFIG_CACHE, json.dumps(cache))
    dropin = "/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf"
    write(machine.root, {dropin: "[Unit]\nRequires=soci-snapshotter.service\n"})
    machine.refusal = PreflightError("it does not run")
    machine.fail_open()
    assert machine.node.read(dropin) is None
    assert json.loads(machine.node.read(NODEADM_DROPIN) or b"")["spec"]["featureGates"] == {
        nodeconfig.GATE: False
    }

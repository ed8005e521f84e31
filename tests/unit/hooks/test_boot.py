"""The boot-time unit: a node that was installed or baked converges on what this boot found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soci_bootstrap import paths
from soci_bootstrap.apply.context import Mode
from soci_bootstrap.errors import PreflightError
from soci_bootstrap.hooks import boot
from soci_bootstrap.paths import NODEADM_DROPIN, SOCI_CONFIG, SOCI_SERVICE
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome, load, save
from soci_bootstrap.system import journal, resources
from tests.support import trees
from tests.support.machines import SHOW, Machine
from tests.support.nodes import write


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


# -- what a boot does not do --------------------------------------------------------------------


def test_a_boot_fetches_nothing(machine) -> None:
    machine.refusal = PreflightError("not yet")
    machine.fail_open()
    machine.boots()
    machine.refusal = None
    report = machine.run(Mode.BOOT)
    assert report.outcome is Outcome.DEGRADED
    assert "a boot fetches nothing" in str(report.reason)
    assert "soci-bootstrap install" in str(report.reason)


def test_a_boot_of_a_healthy_node_starts_no_preflight(machine) -> None:
    machine.install()
    machine.boots()
    assert machine.run(Mode.BOOT).outcome is Outcome.CHANGED
    assert machine.preflights == []
    assert machine.wired()


# -- the hook -----------------------------------------------------------------------------------


@pytest.fixture
def at_boot(machine, monkeypatch):
    """`hook boot`, with the agent's bytes."""
    monkeypatch.setattr(resources, "agent_bytes", lambda: trees.AGENT)
    monkeypatch.setattr("soci_bootstrap.paths.LOCK", str(machine.root / "lock"))
    return machine


def test_boot_without_a_record(at_boot) -> None:
    boot.run(at_boot.node)
    assert at_boot.node.calls == []


def test_boot_converges(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(NODEADM_DROPIN)
    boot.run(at_boot.node)
    assert at_boot.wired()
    assert health.load(at_boot.node).degraded == ""


@pytest.mark.parametrize("before", [Outcome.INSTALLED, Outcome.STAGED])
def test_boot_marks_itself_planned_and_settles_what_was_staged(at_boot, before) -> None:
    at_boot.install()
    record = load(at_boot.node)
    assert record is not None
    save(at_boot.node, replace(record, outcome=before))
    at_boot.boots()
    boot.run(at_boot.node)
    assert at_boot.node.read(paths.PLANNED) == b""
    record = load(at_boot.node)
    assert record is not None
    assert record.outcome is Outcome.INSTALLED
    assert at_boot.install() == ("unchanged", None)


def test_boot_tests_the_decompressor_anew(at_boot) -> None:
    """A package may have replaced what it links to since."""
    at_boot.install()
    at_boot.boots()
    at_boot.tested.clear()
    at_boot.broken = {"/usr/bin/unpigz"}
    boot.run(at_boot.node)
    assert at_boot.tested == ["/usr/bin/unpigz"]
    assert b"decompress_streams" not in (at_boot.node.read(SOCI_CONFIG) or b"")
    assert at_boot.wired()


def test_boot_goes_on_with_no_rollback_and_undoes_none(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(NODEADM_DROPIN)
    record = load(at_boot.node)
    assert record is not None
    save(at_boot.node, replace(record, outcome=Outcome.ROLLING_BACK))
    before = trees.content(at_boot.root)
    boot.run(at_boot.node)
    assert trees.differences(before, trees.content(at_boot.root)) == []


def test_boot_fails_open(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove("/usr/local/bin/soci-snapshotter-grpc")
    boot.run(at_boot.node)
    assert not at_boot.wired()
    assert "a boot fetches nothing" in health.load(at_boot.node).degraded
    record = load(at_boot.node)
    assert record is not None
    assert record.outcome is Outcome.FAILED


ON_SOCI = {
    "/proc/self/mountinfo": "5 3 0:6 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs rw - "
    "overlay overlay rw,upperdir=/var/lib/containerd/io.containerd.snapshotter.v1.soci/snapshots/9/fs\n"
}


@pytest.mark.parametrize("containerd", ["active", "inactive"])
def test_boot_unwires_nothing_under_containers(at_boot, containerd) -> None:
    """Started by hand, on a node that is up."""
    at_boot.install()
    at_boot.boots()
    write(at_boot.root, ON_SOCI)
    show = SHOW.format(socket="active").replace(
        "Id=containerd.service\nActiveState=inactive", f"Id=containerd.service\nActiveState={containerd}"
    )
    at_boot.node.programs["systemctl show"] = show.encode()
    at_boot.node.remove("/usr/local/bin/soci-snapshotter-grpc")
    boot.run(at_boot.node)
    assert at_boot.wired()
    assert "a boot fetches nothing" in health.load(at_boot.node).degraded


def test_boot_waits_for_no_unit(at_boot) -> None:
    """The service comes after the boot-time unit, and would never start while that waits for it."""
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(SOCI_CONFIG)
    show = SHOW.format(socket="active").replace("inactive", "active")
    at_boot.node.programs["systemctl show"] = show.encode()
    boot.run(at_boot.node)
    jobs = [call for call in at_boot.node.calls if SOCI_SERVICE in call and " show " not in call]
    assert jobs == [f"systemctl --no-block restart {SOCI_SERVICE}"]


def test_boot_is_told_although_it_can_not_be_recorded(at_boot, monkeypatch) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove("/usr/local/bin/soci-snapshotter-grpc")
    at_boot.node.refused = (paths.HEALTH,)
    said = []
    monkeypatch.setattr(journal, "error", said.append)
    boot.run(at_boot.node)
    assert "a boot fetches nothing" in said[0]

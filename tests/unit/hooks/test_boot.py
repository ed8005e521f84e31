"""The boot-time unit: a node that was installed or baked converges on what this boot found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from soci_bootstrap import paths
from soci_bootstrap.cli.commands import install
from soci_bootstrap.errors import PreflightError, StateError
from soci_bootstrap.hooks import boot
from soci_bootstrap.paths import NODEADM_DROPIN, SOCI_CONFIG, SOCI_SERVICE
from soci_bootstrap.state import health, memo
from soci_bootstrap.state.record import ROLLING_BACK, load, save
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
    with pytest.raises(StateError, match="a boot fetches nothing") as caught:
        machine.run(boots=True).install()
    assert "soci-bootstrap install" in caught.value.remedy


def test_a_boot_of_a_healthy_node_starts_no_preflight(machine) -> None:
    machine.install()
    machine.boots()
    machine.run(boots=True).install()
    assert machine.preflights == []
    assert machine.wired()


# -- the hook -----------------------------------------------------------------------------------


@pytest.fixture
def at_boot(machine, monkeypatch):
    """`hook boot`, with the agent's bytes and without the fast way round."""
    monkeypatch.setattr(memo, "boots_unchanged", lambda: None)
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


@pytest.mark.parametrize("staged", [False, True])
def test_the_next_boot_takes_the_short_way(at_boot, monkeypatch, staged) -> None:
    """After one that wrote something too, on a node that was baked, or whose install failed or was staged."""
    at_boot.install()
    if staged:
        record = load(at_boot.node)
        assert record is not None
        save(at_boot.node, replace(record, outcome="staged"))
    at_boot.boots()
    at_boot.node.remove(NODEADM_DROPIN)
    boot.run(at_boot.node)
    known = json.loads(at_boot.node.read(memo.PATH) or b"{}")
    assert memo._as_it_was(str(at_boot.root), known)
    assert known["inflater"] == ["/usr/bin/unpigz", "-d", "-c"]
    # It has no report for any install.
    assert known["settings"] == memo._settings([], {})
    at_boot.node.remove(NODEADM_DROPIN)
    assert not memo._as_it_was(str(at_boot.root), known)


def test_what_was_staged_is_the_boots_and_then_the_installs(at_boot, monkeypatch) -> None:
    info = json.dumps({"Labels": {"io.kubernetes.pod.name": "web-0"}, "Snapshotter": "overlayfs"}).encode()
    words = {
        "namespaces ls": b"k8s.io\n",
        "tasks ls": b"TASK PID STATUS\na 7 RUNNING\n",
        "containers info": info,
    }
    at_boot.node.programs.update({f"ctr -n k8s.io {word}": said for word, said in words.items()})
    at_boot.node.programs["systemctl show -p LoadState"] = b"LoadState=not-found\n"
    at_boot.node.programs["systemctl show -p Id"] = (
        SHOW.replace("inactive", "active").format(socket="active").encode()
    )
    monkeypatch.setattr(install, "System", lambda root: at_boot.node)
    monkeypatch.setattr("sys.argv", ["soci-bootstrap", "install", "--set", "x=y"])
    assert install.run(at_boot.settings, trees.QUIET).outcome == "staged"
    root = str(at_boot.root)
    known = json.loads(at_boot.node.read(memo.PATH) or b"{}")
    assert not memo._as_it_was(root, known)
    del at_boot.node.programs["systemctl show -p Id"]
    at_boot.boots()
    boot.run(at_boot.node)
    after = json.loads(at_boot.node.read(memo.PATH) or b"{}")
    assert memo._as_it_was(root, after)
    assert after["settings"] == known["settings"] == memo._settings(["install", "--set", "x=y"], {})
    assert after["document"]["outcome"] == "unchanged"
    assert after["document"]["reason"] is None


def test_a_memo_that_cannot_be_made_is_none(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.refused = (memo.PATH,)
    boot.run(at_boot.node)
    assert at_boot.wired()
    assert health.load(at_boot.node).degraded == ""


def test_boot_goes_on_with_no_rollback_and_undoes_none(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(NODEADM_DROPIN)
    record = load(at_boot.node)
    assert record is not None
    save(at_boot.node, replace(record, outcome=ROLLING_BACK))
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
    assert record.outcome == "degraded"


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
    with pytest.raises(StateError):
        boot.run(at_boot.node)
    assert "a boot fetches nothing" in said[0]


@pytest.mark.parametrize(
    ("inflater", "broken", "converges"),
    [([], set(), False), (["/x", "-d"], set(), False), (["/x", "-d"], {"/x"}, True)],
)
def test_the_fast_way_round(at_boot, monkeypatch, inflater, broken, converges) -> None:
    ran = []
    monkeypatch.setattr(memo, "boots_unchanged", lambda: inflater)
    monkeypatch.setattr(boot, "_converge", ran.append)
    at_boot.broken = broken
    boot.run(at_boot.node)
    assert bool(ran) is converges
    assert (at_boot.root / "run/soci-bootstrap/planned").exists() is not converges

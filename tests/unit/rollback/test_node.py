"""Rollback on a node that is running: whom it refuses for, and in which order it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soci_bootstrap.configfiles import containerd
from soci_bootstrap.errors import BootstrapError, WorkloadsError
from soci_bootstrap.paths import NODEADM_DROPIN, SOCI_ADDRESS
from soci_bootstrap.rollback.files import Rollback
from soci_bootstrap.runtime import probe
from soci_bootstrap.runtime.switch import note_kubelet_stopped
from soci_bootstrap.state import health
from soci_bootstrap.state.health import State
from soci_bootstrap.state.record import Outcome, load
from soci_bootstrap.system.deadline import Deadline
from tests.support import trees
from tests.support.machines import Machine

CONTAINERD = "/etc/containerd/config.toml"
MOUNT = (
    "1 2 0:5 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs rw - overlay overlay "
    "rw,lowerdir=/x,upperdir=/var/lib/containerd/io.containerd.snapshotter.v1.soci/snapshots/1/fs\n"
)


class Running(Machine):
    """A node that was installed and booted, so that containerd runs with SOCI."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(tmp_path, monkeypatch)
        self.before = trees.content(self.root, apart=("/run",))
        self.install()
        self.up = {
            "containerd.service",
            "kubelet.service",
            "soci-snapshotter.socket",
            "soci-snapshotter.service",
        }
        self.fails = ""
        record = load(self.node)
        assert record is not None
        dialect, root = record.wiring["dialect"], record.wiring["root"]
        before = trees.CONTAINERD_TOML.encode()
        trees.put(
            self.root, CONTAINERD, containerd.with_soci(before, dialect, SOCI_ADDRESS, root, "x"), 0o600
        )
        health.save(self.node, State(snapshotter="soci"))
        monkeypatch.setattr(probe, "answers", lambda address, seconds: "soci-snapshotter.service" in self.up)
        self.node.programs.update(
            {
                "systemctl show -p ActiveState": self.active,
                **{
                    f"systemctl {verb}": self.control
                    for verb in ("start", "stop", "restart", "daemon-reload")
                },
                "ctr": b"",
                "ctr -n k8s.io namespaces": b"k8s.io\n",
                "ctr -n k8s.io tasks ls": b"TASK PID STATUS\n",
                "ctr -n k8s.io images ls": b"REF TYPE\n",
                "ctr -n k8s.io images check": b"REF TYPE\n",
                "ctr -n k8s.io snapshots": b"KEY PARENT KIND\n",
            }
        )
        self.node.calls.clear()

    def active(self, argv: list[str]) -> bytes:
        return f"ActiveState={'active' if argv[-1] in self.up else 'inactive'}\n".encode()

    def control(self, argv: list[str]) -> int | bytes:
        if self.fails and self.fails in " ".join(argv):
            return 1
        (self.up.discard if argv[1] == "stop" else self.up.add)(argv[-1])
        return b""

    def runs(self, pod: str, namespace: str = "default") -> None:
        labels = {"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": namespace}
        info = {"Labels": {**labels, "io.cri-containerd.kind": "container"}, "Snapshotter": "soci"}
        ended: list[str] = []

        def tasks(_: list[str]) -> bytes:
            return b"TASK PID STATUS\n" + (b"" if ended else b"a 7 RUNNING\n")

        def kill(_: list[str]) -> bytes:
            ended.append("a")
            return b""

        self.node.programs.update(
            {
                "ctr -n k8s.io tasks ls": tasks,
                "ctr -n k8s.io tasks kill": kill,
                "ctr -n k8s.io containers info": json.dumps(info).encode(),
            }
        )

    def roll_back(self, *, force: bool = False) -> Rollback:
        record = load(self.node)
        assert record is not None
        rollback = Rollback(self.node, trees.QUIET, Deadline(60), record, force=force)
        rollback.refuse()
        rollback.carry_out()
        return rollback

    def did(self) -> list[str]:
        verbs = ("systemctl stop", "systemctl start", "systemctl restart", "systemctl daemon-reload")
        return [call for call in self.node.calls if call.startswith(verbs)]

    def left(self) -> list[str]:
        return trees.differences(self.before, trees.content(self.root, apart=("/run",)))


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(tmp_path, monkeypatch)


WHOLE = [
    "systemctl stop kubelet.service",
    "systemctl stop soci-snapshotter.socket",
    "systemctl stop soci-snapshotter.service",
    "systemctl daemon-reload",
    "systemctl restart containerd.service",
    "systemctl start kubelet.service",
]


@pytest.mark.parametrize("agent", [False, True])
def test_a_drained_node(running: Running, agent: bool) -> None:
    if agent:
        running.runs("aws-node-x7k2p", "kube-system")
    running.roll_back()
    assert running.did() == WHOLE
    assert any("containers rm a" in call for call in running.node.calls) is agent
    assert running.left() == []


def test_workloads_on_soci_are_named_and_nothing_changes(running: Running) -> None:
    running.runs("web-0")
    before = trees.content(running.root)
    with pytest.raises(WorkloadsError, match=r"pod default/web-0.*kubectl drain"):
        running.roll_back()
    assert running.did() == []
    assert trees.differences(before, trees.content(running.root)) == []
    running.roll_back(force=True)
    assert running.did() == WHOLE
    assert running.left() == []


def test_workloads_that_a_containerd_that_is_down_does_not_name(running: Running) -> None:
    running.up.discard("containerd.service")
    trees.put(running.root, "/proc/self/mountinfo", MOUNT)
    with pytest.raises(WorkloadsError, match="being down"):
        running.roll_back()


def test_a_node_whose_containerd_is_down_stays_so(running: Running) -> None:
    running.up -= {"containerd.service", "kubelet.service"}
    running.node.programs["ctr -n k8s.io images rm"] = b""
    running.node.programs["ctr -n k8s.io images check"] = b"REF UNPACKED\na:1 false\n"
    running.roll_back()
    assert running.did() == [
        "systemctl start containerd.service",
        *[call for call in WHOLE if "containerd" not in call and "kubelet" not in call],
        "systemctl stop containerd.service",
    ]
    # Else they would be reported as present when it starts, and none of their containers would.
    assert "ctr -n k8s.io images rm a:1" in running.node.calls
    assert not running.up & {"containerd.service", "kubelet.service"}
    assert running.left() == []


def test_a_containerd_that_does_not_start_keeps_nothing_from_being_put_back(running: Running) -> None:
    running.up -= {"containerd.service", "kubelet.service"}
    running.fails = "start containerd.service"
    rollback = running.roll_back()
    assert any("stay on record" in note and "start containerd" in note for note in rollback.notes)
    assert running.left() == []


def test_where_containerd_never_ran_with_soci_it_is_not_started(running: Running) -> None:
    running.up -= {"containerd.service", "kubelet.service"}
    health.save(running.node, State(snapshotter="overlayfs"))
    running.roll_back()
    assert not any("containerd" in call for call in running.did())


def test_one_odd_image_breaks_no_rollback(running: Running) -> None:
    """Nor does a clean-up that fails altogether."""
    running.node.programs["ctr -n k8s.io images check"] = 1
    rollback = running.roll_back()
    assert running.did() == WHOLE
    assert any("may stay on record" in note for note in rollback.notes)
    assert running.left() == []


def test_a_workload_that_came_since_ends_it_with_nothing_changed(running: Running) -> None:
    asked: list[str] = []

    def tasks(_: list[str]) -> bytes:
        asked.append("")
        return b"TASK PID STATUS\n" + (b"a 7 RUNNING\n" if len(asked) > 1 else b"")

    running.runs("web-0")
    running.node.programs["ctr -n k8s.io tasks ls"] = tasks
    before = trees.content(running.root, apart=("/run/soci-bootstrap",))
    with pytest.raises(WorkloadsError, match="pod default/web-0"):
        running.roll_back()
    assert running.did() == ["systemctl stop kubelet.service", "systemctl start kubelet.service"]
    assert trees.differences(before, trees.content(running.root, apart=("/run/soci-bootstrap",))) == []


def test_a_kubelet_that_a_killed_install_stopped_runs_again(running: Running) -> None:
    running.up.discard("kubelet.service")
    note_kubelet_stopped(running.node)
    running.roll_back()
    assert "kubelet.service" in running.up
    assert running.left() == []


def test_where_no_systemd_runs_the_files_go_back_all_the_same(running: Running) -> None:
    (running.root / "run/systemd/system").rmdir()
    running.node.programs.clear()
    running.roll_back()
    (running.root / "run/systemd/system").mkdir()
    assert running.did() == []
    assert running.left() == []


def test_a_node_that_failed_open_keeps_its_pods(running: Running) -> None:
    """Containerd runs on overlayfs already: taking our files away changes nothing for it."""
    running.runs("web-0")
    info = running.node.programs["ctr -n k8s.io containers info"]
    assert isinstance(info, bytes)
    running.node.programs["ctr -n k8s.io containers info"] = info.replace(b'"soci"', b'"overlayfs"')
    trees.put(running.root, CONTAINERD, trees.CONTAINERD_TOML, 0o600)
    health.save(running.node, State(snapshotter="overlayfs", degraded="no answer"))
    running.roll_back()
    assert not [call for call in running.did() if "kubelet" in call or "containerd" in call]
    assert running.left() == []


@pytest.mark.parametrize("fails", ["stop soci-snapshotter.socket", "restart containerd.service"])
def test_one_that_was_cut_short_goes_on(running: Running, fails: str) -> None:
    """kubelet, which the first one stopped, runs again after the second."""
    running.fails = fails
    with pytest.raises(BootstrapError, match=fails):
        running.roll_back()
    record = load(running.node)
    assert record is not None
    assert record.outcome is Outcome.ROLLING_BACK
    assert running.node.read(NODEADM_DROPIN) is None
    assert "kubelet.service" not in running.up
    running.fails = ""
    running.roll_back()
    assert {"kubelet.service", "containerd.service"} <= running.up
    assert running.left() == []


def test_what_ran_before_us_runs_again(running: Running) -> None:
    """An AMI's own SOCI, socket and all."""
    path = running.root / "var/lib/soci-bootstrap/record.json"
    document = json.loads(path.read_text())
    document["units_active"] = {"soci-snapshotter.socket": True}
    path.write_text(json.dumps(document))
    running.roll_back()
    done = running.did()
    assert done.index("systemctl daemon-reload") < done.index("systemctl start soci-snapshotter.socket")
    assert "soci-snapshotter.service" not in running.up

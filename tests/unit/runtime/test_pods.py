"""What runs on a node, when a switch takes effect, and each step of it, by what programs say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from soci_bootstrap.apply import effect as effect_
from soci_bootstrap.apply.effect import Effect
from soci_bootstrap.errors import CommandError, PreflightError, WorkloadsError
from soci_bootstrap.facts import Facts
from soci_bootstrap.paths import NODEADM_DROPIN
from soci_bootstrap.plan.items import Absent, File, digest
from soci_bootstrap.runtime import pods, switch
from soci_bootstrap.runtime.pods import Running
from soci_bootstrap.runtime.switch import Switch
from soci_bootstrap.state import health
from soci_bootstrap.state.health import State
from soci_bootstrap.state.record import Managed, Outcome, Phase, Record
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd, UnitState
from tests.support import nodes, trees

ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
WIRED = Wired(
    WiringMode.DIRECT,
    "v3",
    ADDRESS,
    "/var/lib/soci",
    False,
    "/etc/containerd/config.toml",
    "",
    "",
    fallback="",
)
SOCI = '[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "soci"\n'
NOT_DUE = b"LoadState=not-found\nExecMainStartTimestampMonotonic=0\n"
DUE = b"LoadState=loaded\nExecMainStartTimestampMonotonic=0\n"


def info(
    pod: str = "", namespace: str = "default", *, snapshotter: str = "overlayfs", kind: str = ""
) -> bytes:
    labels = {"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": namespace} if pod else {}
    labels.update({"io.cri-containerd.kind": kind} if kind else {})
    spaces = [{"type": "network", "path": "/run/netns/x"}] if kind == "sandbox" else []
    return json.dumps(
        {"Labels": labels, "Snapshotter": snapshotter, "Spec": {"linux": {"namespaces": spaces}}}
    ).encode()


def ctr(space: str, tasks: dict[str, nodes.Answer]) -> dict[str, nodes.Answer]:
    lines = "".join(f"{name} 7 RUNNING\n" for name in tasks)
    return {
        f"ctr -n {space} tasks ls": f"TASK PID STATUS\n{lines}gone 0 STOPPED\n".encode(),
        **{f"ctr -n {space} containers info {name}": answer for name, answer in tasks.items()},
    }


def node(tmp_path: Path, programs: dict[str, nodes.Answer], config: str = SOCI) -> nodes.Node:
    answers = {
        "ctr -n k8s.io namespaces": b"k8s.io\nmoby\n",
        **ctr("k8s.io", {}),
        **ctr("moby", {}),
        **programs,
    }
    return nodes.Node(nodes.write(tmp_path, {"/etc/containerd/config.toml": config}), answers)


# -- what runs ----------------------------------------------------------------------------------


def test_all_namespaces_count(tmp_path: Path) -> None:
    system = node(
        tmp_path,
        {
            **ctr("k8s.io", {"a": info("web-0", snapshotter="soci", kind="container")}),
            **ctr("moby", {"b": info()}),
        },
    )
    found = pods.running(system)
    assert found == (
        Running("k8s.io", "a", "default", "web-0", "", "soci", "", "container"),
        Running("moby", "b", snapshotter="overlayfs"),
    )
    assert pods.labels(found) == ("pod default/web-0", "container moby/b")
    assert pods.workloads(found) == found
    assert pods.pods(found) == found[:1]


@pytest.mark.parametrize(
    ("namespace", "pod", "agent"),
    [
        ("kube-system", "aws-node-x7k2p", True),
        ("kube-system", "kube-proxy-bcdfg", True),
        ("amazon-cloudwatch", "fluent-bit-zzzzz", True),
        ("default", "aws-node-x7k2p", False),
        ("kube-system", "aws-node-x7k2pq", False),
        ("kube-system", "aws-node", False),
        ("kube-system", "coredns-6d4b75cb6d-x7k2p", False),
        ("kube-system", "aws-node-other-x7k2p", False),
        # No character of a generated name.
        ("kube-system", "aws-node-x7a2p", False),
    ],
)
def test_agents_are_told_by_their_names(namespace: str, pod: str, agent: bool) -> None:
    assert Running("k8s.io", "x", namespace, pod).is_agent is agent


def test_one_that_ends_meanwhile_is_none(tmp_path: Path) -> None:
    asked: list[str] = []

    def ends(argv: list[str]) -> int:
        asked.append(argv[-1])
        return 1

    def tasks(_: list[str]) -> bytes:
        return b"TASK PID STATUS\nstays 1 RUNNING\n" + (b"" if asked else b"ends 2 RUNNING\n")

    system = node(tmp_path, ctr("k8s.io", {"stays": info("web-0"), "ends": ends}))
    system.programs["ctr -n k8s.io tasks ls"] = tasks
    assert [one.id for one in pods.running(system)] == ["stays"]
    assert asked == ["ends"]


@pytest.mark.parametrize("answer", [1, b"{", b"[]", b'{"Labels": 3}', b'{"Labels": {}, "Snapshotter": 3}'])
def test_one_that_is_not_described_is_an_error(tmp_path: Path, answer: nodes.Answer) -> None:
    with pytest.raises(CommandError):
        pods.running(node(tmp_path, ctr("k8s.io", {"a": answer})))


# -- when it takes effect -----------------------------------------------------------------------


def facts(active: str) -> Facts:
    return Facts(*[None] * 11, units={"containerd.service": UnitState(active)})  # type: ignore[arg-type]


INSTALLED = Record(outcome=Outcome.INSTALLED, wiring=WIRED.to_json())
WEB = ctr("k8s.io", {"a": info("web-0")})
AGENT = ctr("k8s.io", {"a": info("aws-node-x7k2p", "kube-system")})


@pytest.mark.parametrize(
    ("active", "due", "mode", "config", "ran", "record", "pending", "tasks", "effect"),
    [
        ("inactive", NOT_DUE, "direct", SOCI, "soci", INSTALLED, True, WEB, Effect.WITH_START),
        ("active", DUE, "direct", SOCI, "soci", INSTALLED, True, WEB, Effect.WITH_START),
        ("active", NOT_DUE, "none", "", "overlayfs", None, True, WEB, Effect.WITH_START),
        ("active", NOT_DUE, "direct", SOCI, "soci", INSTALLED, False, WEB, Effect.DONE),
        # Of a containerd that others wired, only the files tell.
        ("active", NOT_DUE, "direct", SOCI, "overlayfs", None, False, WEB, Effect.DONE),
        ("active", NOT_DUE, "direct", SOCI, "overlayfs", INSTALLED, False, WEB, Effect.NEXT_BOOT),
        ("active", NOT_DUE, "direct", "", "soci", INSTALLED, False, WEB, Effect.NEXT_BOOT),
        ("active", NOT_DUE, "direct", SOCI, "soci", INSTALLED, True, WEB, Effect.NEXT_BOOT),
        ("active", NOT_DUE, "direct", SOCI, "soci", INSTALLED, True, AGENT, Effect.NOW),
        ("reloading", NOT_DUE, "direct", "", "overlayfs", None, True, {}, Effect.NOW),
    ],
)
def test_effect(tmp_path, active, due, mode, config, ran, record, pending, tasks, effect) -> None:
    system = node(tmp_path, {"systemctl show": due, **tasks}, config)
    health.save(system, State(snapshotter=ran))
    found = effect_.effect(
        system, facts(active), replace(WIRED, mode=WiringMode(mode)), record, pending=pending
    )
    assert found is effect


FILE = File("wiring", NODEADM_DROPIN, b"{}", Phase.WIRING)
KEPT = {NODEADM_DROPIN: Managed("file", 0o644, digest(b"{}"), phase=Phase.WIRING)}


@pytest.mark.parametrize(
    ("item", "mode", "record", "rewires"),
    [
        (FILE, "nodeadm", None, True),
        (FILE, "nodeadm", replace(INSTALLED, managed=KEPT), False),
        (replace(FILE, data=b"[]"), "nodeadm", replace(INSTALLED, managed=KEPT), True),
        (FILE, "nodeadm", replace(INSTALLED, outcome=Outcome.DEGRADED, managed=KEPT), True),
        # What was merged is read by containerd's next start: it has to be told.
        (FILE, "direct", replace(INSTALLED, managed=KEPT), True),
        (Absent("wiring", NODEADM_DROPIN, Phase.WIRING), "nodeadm", replace(INSTALLED, managed=KEPT), True),
        (replace(FILE, phase=Phase.CONFIGURATION), "nodeadm", None, False),
    ],
)
def test_rewires(item, mode, record, rewires) -> None:
    assert effect_.rewires([item], replace(WIRED, mode=WiringMode(mode)), record) is rewires


# -- the switch ---------------------------------------------------------------------------------


def switching(tmp_path: Path, programs: dict[str, nodes.Answer], *, kubelet: str = "active") -> nodes.Node:
    answers: dict[str, nodes.Answer] = {
        "systemctl show -p ActiveState kubelet.service": f"ActiveState={kubelet}\n".encode(),
        "systemctl": b"",
        "ctr": b"",
        "umount": b"",
        **programs,
    }
    return node(tmp_path, answers)


def calls(system: nodes.Node) -> list[str]:
    """What changes something, without what is only asked."""
    words = ("stop", "start", "restart", "kill", "rm", "prepare", "umount")
    return [call for call in system.calls if any(word in call.split() for word in words)]


def test_kubelet_stops_first_and_sandboxes_go_last(tmp_path: Path, monkeypatch) -> None:
    system = switching(tmp_path, {})
    ended: set[str] = set()

    def kill(argv: list[str]) -> bytes:
        ended.add(argv[-1])
        return b""

    def tasks(_: list[str]) -> bytes:
        alive = [f"{name} 7 RUNNING\n" for name in ("pod", "web") if name not in ended]
        return ("TASK PID STATUS\n" + "".join(alive)).encode()

    system.programs.update({"ctr -n k8s.io tasks kill": kill, "ctr -n k8s.io tasks ls": tasks})
    nodes.write(
        tmp_path,
        {
            "/proc/self/mountinfo": "1 1 0:1 / /run/x/sandboxes/pod/shm rw - tmpfs shm rw\n",
            "/run/netns/x": "",
        },
    )
    pod = Running("k8s.io", "pod", "default", "web-0", "", "soci", "/run/netns/x", "sandbox")
    web = Running("k8s.io", "web", "default", "web-0", "web", "soci", "", "container")
    docker = Running("moby", "other")
    switch_ = Switch(system, trees.QUIET, Deadline(60))
    monkeypatch.setattr("soci_bootstrap.runtime.pods.running", lambda _: (pod, web, docker))
    switch_.quiesce(force=True)
    switch_.end()
    done = calls(system)
    assert done[0] == "systemctl stop kubelet.service"
    assert done[-1] == "systemctl start kubelet.service"
    removed = [call.split()[-1] for call in done if "containers rm" in call]
    assert removed == ["web", "pod"]
    assert [call for call in done if call.startswith("umount")] == [
        "umount -l /run/x/sandboxes/pod/shm",
        "umount -l /run/netns/x",
    ]
    assert not any("other" in call for call in done)
    assert not (tmp_path / "run/netns/x").exists()


def test_a_kubelet_that_was_down_stays_down(tmp_path: Path, monkeypatch) -> None:
    system = switching(tmp_path, {}, kubelet="inactive")
    switch_ = Switch(system, trees.QUIET, Deadline(60))
    monkeypatch.setattr("soci_bootstrap.runtime.pods.running", lambda _: ())
    switch_.quiesce(force=False)
    switch_.end()
    assert not any("kubelet" in call for call in calls(system))
    # But for one that a run stopped which was killed.
    switch.note_kubelet_stopped(system)
    resumed = Switch(system, trees.QUIET, Deadline(60))
    resumed.end()
    assert calls(system)[-1] == "systemctl start kubelet.service"
    assert not switch.kubelet_is_noted(system)


def test_that_kubelet_ran_is_on_disk_before_it_is_stopped(tmp_path: Path) -> None:
    """A run that is killed there leaves it to whoever comes next."""
    noted: list[bool] = []

    def stop(_: list[str]) -> int:
        noted.append(switch.kubelet_is_noted(system))
        return 1

    system = switching(tmp_path, {"systemctl stop kubelet.service": stop})
    assert not switch.start_kubelet_if_noted(system, Systemd(system))
    with pytest.raises(CommandError):
        Switch(system, trees.QUIET, Deadline(60)).quiesce(force=False)
    assert noted == [True]
    assert system.entry("/run/soci-bootstrap").mode == 0o700
    system.programs["systemctl start kubelet.service"] = 1
    with pytest.raises(CommandError):
        switch.start_kubelet_if_noted(system, Systemd(system))
    assert switch.kubelet_is_noted(system)
    system.programs["systemctl start kubelet.service"] = b""
    assert switch.start_kubelet_if_noted(system, Systemd(system))
    assert not switch.kubelet_is_noted(system)


@pytest.mark.parametrize(
    ("force", "on", "came", "removed"),
    [
        (False, "", info("web-0", kind="container"), False),
        (True, "", info("web-0", kind="container"), True),
        (False, "soci", info("web-0", kind="container"), True),
        (False, "soci", info("web-0", kind="container", snapshotter="soci"), False),
        (False, "", info("aws-node-x7k2p", "kube-system", kind="container"), True),
    ],
)
def test_a_switch_looks_again_with_kubelet_down(tmp_path, monkeypatch, force, on, came, removed) -> None:
    """A workload may have come since somebody looked: then kubelet runs again, and nothing was changed."""
    monkeypatch.setattr(pods, "_TERM_SECONDS", 0.0)
    system = switching(tmp_path, ctr("k8s.io", {"a": came}))
    system.programs.update({"ctr -n k8s.io tasks kill": b"", "ctr -n k8s.io containers ls": b""})
    switch_ = Switch(system, trees.QUIET, Deadline(60))
    if removed:
        switch_.quiesce(force=force, on=on)
        assert calls(system)[-1] == "ctr -n k8s.io containers rm a"
        assert switch.kubelet_is_noted(system)
    else:
        with pytest.raises(WorkloadsError, match="pod default/web-0"):
            switch_.quiesce(force=force, on=on)
        assert calls(system) == ["systemctl stop kubelet.service", "systemctl start kubelet.service"]
        assert not switch.kubelet_is_noted(system)


@pytest.mark.parametrize(
    ("said", "config", "good"),
    [
        (State("soci"), SOCI, True),
        # The hook had no time for the images.
        (State("overlayfs"), SOCI, True),
        (State("soci", degraded="no answer"), SOCI, False),
        (State("soci"), "", False),
    ],
)
def test_a_restart_is_looked_at(tmp_path: Path, said: State, config: str, good: bool) -> None:
    system = switching(tmp_path, {})
    trees.put(tmp_path, "/etc/containerd/config.toml", config)
    health.save(system, said)
    switch_ = Switch(system, trees.QUIET, Deadline(60))
    if good:
        system.programs["ctr -n k8s.io images check"] = b"REF UNPACKED\n"
        switch_.restart(WIRED)
        assert any("prepare" in call for call in calls(system))
        assert health.load(system).snapshotter == "soci"
    else:
        with pytest.raises(PreflightError, match="did not come up with SOCI"):
            switch_.restart(WIRED)


@pytest.mark.parametrize("fails", ["", "restart containerd.service", "start kubelet.service"])
def test_going_back_goes_as_far_as_it_can(tmp_path: Path, monkeypatch, fails: str) -> None:
    fitted: list[str] = []
    monkeypatch.setattr(
        "soci_bootstrap.runtime.switch.fit_images", lambda system, ctr, active: fitted.append(active) or []
    )
    system = switching(tmp_path, {f"systemctl {fails}": 1} if fails else {})
    failures = Switch(system, trees.QUIET, Deadline(60)).back("overlayfs")
    assert [fails in failure for failure in failures] == ([True] if fails else [])
    assert fitted == ([] if "containerd" in fails else ["overlayfs"])
    assert calls(system)[-1] == "systemctl start kubelet.service"

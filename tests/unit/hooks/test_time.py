"""The hooks' time: one deadline each, below the limit of their unit, and failed open when it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from soci_bootstrap import paths
from soci_bootstrap.errors import TimedOutError
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.hooks import boot, guard, verify
from soci_bootstrap.state import health
from soci_bootstrap.state.health import State
from soci_bootstrap.system import System, resources
from soci_bootstrap.system.deadline import Deadline
from tests.support.daemons import SETTINGS
from tests.support.hooks import CTR, KUBELET, STATIC, WORKS, unwired, wired
from tests.support.nodes import CAPTURED, Node, write

DROPIN = f"containerd.service.d/{paths.UNIT_DROPIN}"


class Slow(Node):
    """A node whose programs take time, on a clock of the test's."""

    def __init__(self, node: Node, **takes: float) -> None:
        super().__init__(node.root, node.programs)
        self.takes = {words.replace("_", " "): seconds for words, seconds in takes.items()}
        self.now = 0.0

    def run(self, argv, *, timeout, input=b"", env=None):  # noqa: A002
        takes = max((s for words, s in self.takes.items() if f"{words} " in f"{' '.join(argv)} "), default=0)
        self.now += min(takes, timeout)
        done = super().run(argv, timeout=timeout, input=input, env=env)
        if takes > timeout:
            raise TimedOutError(f"{argv[0]} did not end")
        return done


def verified(node: Slow) -> None:
    verify.verify(node, Deadline(verify.SECONDS, clock=lambda: node.now))
    assert node.now <= verify.SECONDS


@pytest.mark.parametrize("seconds", [1, 2, 2.8])
def test_a_slow_ctr_is_no_broken_soci(hook, seconds) -> None:
    hook.daemon(SETTINGS)
    node = Slow(hook.node(), images_import=seconds)
    verified(node)
    assert wired(node)
    assert health.load(node).degraded == ""


@pytest.mark.parametrize("program", ["images_import", "snapshots"])
@pytest.mark.parametrize("seconds", [4, 6, 20])
def test_no_answer_in_time_fails_open_before_the_hook_ends(hook, capsys, program, seconds) -> None:
    hook.daemon(SETTINGS)
    node = Slow(hook.node(), **{program: seconds})
    verified(node)
    assert unwired(node)
    assert "could not be checked in time" in health.load(node).degraded
    assert "DEGRADED SOCI could not be checked in time" in capsys.readouterr().err
    assert node.calls[-1] == "systemctl --no-block restart containerd.service"


def test_where_every_call_is_slow_images_wait_for_the_next_start(hook, capsys) -> None:
    hook.daemon(SETTINGS)
    node = Slow(hook.node(), images=0.9)
    health.save(node, State(degraded="earlier"))
    verified(node)
    assert wired(node)
    assert health.load(node) == State()
    assert "the next start tries again" in capsys.readouterr().err


def test_a_systemctl_that_hangs_keeps_containerd_from_no_restart(hook) -> None:
    hook.daemon(SETTINGS)
    node = Slow(hook.node({**WORKS, f"{CTR}images import": 1}), **{"try-restart": 9})
    verify.verify(node, Deadline(verify.SECONDS, clock=lambda: node.now))
    assert node.calls[-1] == "systemctl --no-block restart containerd.service"


def test_guard_leaves_time_to_unwire(hook) -> None:
    node = Slow(hook.node())
    guard.guard(node, Deadline(guard.SECONDS, spent=guard.SECONDS - 0.1, clock=lambda: node.now))
    assert unwired(node)


def test_a_guard_that_is_late_unwires_no_healthy_node(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node()
    guard.guard(node, Deadline(guard.SECONDS, spent=guard.SECONDS))
    assert wired(node)
    assert health.load(node).degraded == ""


def test_a_hook_counts_from_the_start_of_its_process(monkeypatch) -> None:
    given: list[Deadline] = []
    monkeypatch.setattr(guard, "guard", lambda system, deadline: given.append(deadline))
    monkeypatch.setattr("soci_bootstrap.system.deadline.process_age", lambda: 2.0)
    from soci_bootstrap import hooks

    assert hooks.main(["guard"]) == 0
    assert given[0].remaining() == pytest.approx(guard.SECONDS - 2.0, abs=0.5)


# -- the units ----------------------------------------------------------------------------------


def containerds(key: str, tmp_path) -> str:
    name = f"/etc/systemd/system/{DROPIN}"
    (line,) = read_unit(
        System(str(write(tmp_path, {name: resources.read(f"systemd/{DROPIN}")}))), "containerd.service"
    ).values(key)
    return line


def test_hooks_end_before_their_units_limits(tmp_path) -> None:
    """No limit stands twice but for this."""
    limits = {
        name: float(
            re.findall(rf"KILL (\d+) {paths.AGENT} hook {name}", containerds(key, tmp_path / name))[0]
        )
        for key, name in (("ExecStartPre", "guard"), ("ExecStartPost", "verify"))
    }
    assert 0.2 <= limits["guard"] - guard.SECONDS <= 0.6
    assert 0.2 <= limits["verify"] - verify.SECONDS <= 0.6
    unit = resources.read(f"systemd/{paths.BOOT_SERVICE}").decode()
    (boots,) = re.findall(r"TimeoutStartSec=(\d+)", unit)
    assert 1 <= float(boots) - boot._SECONDS <= 3


def test_containerds_start_is_held_up_by_5_s_at_most(tmp_path) -> None:
    before, after = (containerds(f"ExecStart{word}", tmp_path / word) for word in ("Pre", "Post"))
    assert re.findall(r"KILL (\d+)", before) == ["5"]
    *hook_, first, second, kubelet, containerd = map(int, re.findall(r"KILL (\d+) ", after))
    (at_once,) = map(int, re.findall(r"-lt (\d+) ", after))
    # The two jobs are queued side by side; imports are only tried where the hook ended at once.
    queued = max(kubelet, containerd)
    assert max(sum(hook_) + queued, at_once + first + second + queued) <= 5
    programs = [paths.AGENT, "$$import", "systemctl"]
    assert sum(after.count(f" {program} ") for program in programs) == after.count("timeout") == 5


# -- the last resort ----------------------------------------------------------------------------

ENDPOINT = '{"imageServiceEndpoint": "unix:///run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"}\n'
DROPPED = '{"config": "snapshotter = \\"soci\\"\\ntype = \\"snapshot\\""}\n'


class Shell:
    """The line of containerd's drop-in, on a tree of the test's."""

    def __init__(self, tmp_path, *, agent: str = "exit 127", ctr: str = "exit 1", mounts: str = "") -> None:
        line = containerds("ExecStartPost", tmp_path / "unit")
        self.root = tmp_path / "node"
        files = {
            paths.AGENT: f"#!/bin/sh\n{agent}\n",
            "/bin/ctr": f'#!/bin/sh\necho "ctr $*" >>{tmp_path}/calls\n{ctr}\n',
            "/bin/systemctl": f'#!/bin/sh\necho "systemctl $*" >>{tmp_path}/calls\n',
            "/etc/containerd/config.toml": STATIC,
            paths.NODEADM_DROPIN: DROPPED,
            KUBELET: ENDPOINT,
            paths.PAUSE_IMAGE: "tar",
            paths.MOUNTINFO: mounts,
            "/proc/uptime": "7.50 1\n",
            "/run/x": "",
        }
        write(self.root, files)
        script = line.partition("'")[2].rstrip("'").replace("$$", "$").replace("\\\\", "\\")
        self.script = re.sub(r"(?<![\w:/])/(?=(etc|run|usr/local|proc)/)", f"{self.root}/", script)
        self.calls_file = tmp_path / "calls"

    def run(self) -> str:
        environ = {"PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh", "-c", self.script],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        return done.stderr

    @property
    def calls(self) -> list[str]:
        return sorted(self.calls_file.read_text().splitlines()) if self.calls_file.exists() else []

    def text(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()


JOBS = [
    "systemctl --no-block restart containerd.service",
    "systemctl --no-block try-restart kubelet.service",
]


@pytest.mark.subprocess
def test_the_shell_has_nothing_to_do_after_the_hook(tmp_path) -> None:
    shell = Shell(tmp_path, agent="exit 0")
    assert shell.run() == ""
    assert shell.calls == []


@pytest.mark.subprocess
@pytest.mark.parametrize("newest", [True, False])
def test_without_an_agent_the_shell_imports_the_pause_image(tmp_path, newest) -> None:
    shell = Shell(tmp_path, ctr="exit 0" if newest else 'case "$*" in *--local*) exit 1;; esac')
    shell.run()
    assert len(shell.calls) == (1 if newest else 2)
    assert "snapshotter = 'soci'" in shell.text("/etc/containerd/config.toml")


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "agent",
    [
        "exit 127",
        'read up rest </proc/self/stat; echo "12.1 1" >$(dirname $0)/../../../proc/uptime; exit 137',
    ],
)
def test_the_shell_fails_open_itself(tmp_path, agent) -> None:
    """Where the import fails too, or the hook was killed."""
    shell = Shell(tmp_path, agent=agent)
    said = shell.run()
    assert "DEGRADED" in said
    assert [call for call in shell.calls if "systemctl" in call] == JOBS
    assert any("ctr" in call for call in shell.calls) is ("137" not in agent)
    assert shell.text("/etc/containerd/config.toml") == STATIC.decode().replace(
        "snapshotter = 'soci'", "snapshotter = 'overlayfs'"
    )
    assert shell.text(paths.NODEADM_DROPIN) == DROPPED.replace("soci", "overlayfs")
    assert shell.text(KUBELET) == f'{{"imageServiceEndpoint": "{paths.CONTAINERD_ENDPOINT}"}}\n'
    assert (shell.root / paths.FAILED_OPEN[1:]).exists()
    assert (shell.root / paths.RUN[1:]).stat().st_mode & 0o777 == 0o700
    # The start that follows does not end here again.
    shell.calls_file.unlink()
    shell.run()
    assert not any("systemctl" in call for call in shell.calls)


@pytest.mark.subprocess
def test_the_shell_unwires_nothing_under_containers(tmp_path) -> None:
    task = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs"
    shell = Shell(tmp_path, mounts=f"5 3 0:6 / {task} rw - overlay overlay rw\n")
    shell.run()
    assert "snapshotter = 'soci'" in shell.text("/etc/containerd/config.toml")
    assert not any("systemctl" in call for call in shell.calls)


def test_what_the_shell_did_is_recorded_at_the_next_start(hook) -> None:
    node = hook.node(config=STATIC.replace(b"snapshotter = 'soci'", b"snapshotter = 'overlayfs'"))
    write(hook.root, {paths.FAILED_OPEN: ""})
    verify.verify(node, Deadline(10))
    assert "did not end in time" in health.load(node).degraded
    assert node.entry(paths.FAILED_OPEN).kind == "absent"


# -- what is imported ---------------------------------------------------------------------------


@pytest.mark.subprocess
def test_a_guard_that_queues_nothing_starts_no_program(hook) -> None:
    hook.daemon(SETTINGS)
    hook.node()
    code = (
        "import sys\nfrom soci_bootstrap.hooks import guard\nfrom soci_bootstrap.system import System\n"
        "from soci_bootstrap.system.deadline import Deadline\n"
        "guard.guard(System(sys.argv[1]), Deadline(5))\n"
        "print(*{'subprocess', 'hashlib', 'soci_bootstrap.system.systemd', 'threading'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(hook.root)],
        capture_output=True,
        cwd=CAPTURED.parents[2],
        check=True,
        text=True,
    )
    assert done.stdout.split() == []

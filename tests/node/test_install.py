"""`install` on nodes that boot: the first time, again, and after anything of it was damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.node.installing import Machine, Run, machine
from tests.node.lab import images
from tests.node.lab.cri import SOCI, Cri
from tests.node.lab.eks import Ami
from tests.node.lab.mirror import Registry
from tests.node.matrix import AGENT

CLOUD_INIT = {"bullseye": False, "bookworm": True, "trixie-containerd2": False}
"""Of each root: whether the real cloud-init runs the userData, or its stand-in."""
REAL_SIZE = 60_000_000
PEAK_KIB = 48 * 1024
ACTIONS = {"daemon-reload", "self-test", "preflight", "service-restarted"}
"""What may follow from a file's repair."""
QUIET = ("containerd.service", "kubelet.service", "soci-snapshotter.socket")
FILE_DAMAGE = {
    # Replaced, as a running program can't be written to.
    "content": "cp -p {0} {0}.x; echo x >> {0}.x; mv {0}.x {0}",
    "mode": "chmod 640 {0}",
    "owner": "chown 1000 {0}",
    "group": "chgrp 1000 {0}",
    "removed": "rm {0}",
    "a link": "mv {0} /opt/moved; ln -s /opt/moved {0}",
}
LINK_DAMAGE = {
    "removed": "rm {0}",
    "retargeted": "ln -sfn /dev/null {0}",
    "a file": "rm {0}; echo x > {0}",
}
LEAST = {"file": 8, "link": 3}
DAMAGE = [("file", name) for name in FILE_DAMAGE] + [("link", name) for name in LINK_DAMAGE]


@pytest.fixture(scope="module", params=CLOUD_INIT)
def installed(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A node whose userData installed at its first boot."""
    root = request.param
    with machine(Ami(root), size=REAL_SIZE, install=True, cloud_init=CLOUD_INIT[root]) as found:
        yield found


def first(installed: Machine) -> Run:
    """The install in userData."""
    return Run(*(installed.node.read(f"/opt/install.{what}") for what in ("rc", "json", "err")))  # type: ignore[arg-type]


def managed(installed: Machine) -> list[str]:
    """Every path that install looks after: those it wrote, and those that it found as wanted."""
    steps = installed.install().document["steps"]
    paths = [step["path"] for step in steps if "path" in step]
    assert set(paths) >= set(installed.record()["managed"])
    return paths


def is_link(installed: Machine, path: str) -> bool:
    return installed.node.run(["test", "-L", path], check=False).returncode == 0


def assert_converged(installed: Machine) -> None:
    again = installed.install()
    assert (again.status, again.outcome, again.changed) == (0, "unchanged", [])


def test_the_first_boot_ends_on_soci(installed: Machine) -> None:
    run, node = first(installed), installed.node
    assert (run.status, run.outcome) == ("0\n", "installed"), run.stderr
    assert run.document["sha256"] == installed.release.sha256
    assert (run.document["soci_version"], run.document["wiring"]) == (installed.release.version, "nodeadm")
    assert not node.run("systemctl --failed --no-legend").stdout
    assert (
        installed.sh("cat /usr/local/bin/soci-snapshotter-grpc | sha256sum").split()[0]
        == (installed.record()["binary"]["sha256"])
    )
    with Registry(node) as registry, Cri(node, SOCI) as cri:
        reference = registry.push(images.app())
        cri.pull(reference)
        container = cri.run(reference)
        assert cri.running(container)
        assert json.loads(node.read("/run/lab/kubelet.json"))["ready"]
        info = json.loads(installed.sh(f"ctr -n k8s.io containers info {container.id}"))
        assert info["Snapshotter"] == "soci"
        cri.stop(container)


def test_peak_memory_with_a_real_size(installed: Machine) -> None:
    assert int(installed.node.read("/opt/install.rss")) <= PEAK_KIB


def test_again_nothing_is_touched(installed: Machine) -> None:
    before = installed.everything(), installed.units(), installed.connections()
    run = installed.install()
    assert (run.status, run.outcome, run.changed) == (0, "unchanged", [])
    assert {step.get("path") for step in run.document["steps"]} >= set(installed.record()["managed"])
    assert installed.everything() == before[0]
    assert installed.units() == before[1]
    assert installed.connections() == before[2]


@pytest.mark.parametrize(("kind", "damage"), DAMAGE, ids=[f"{kind}: {name}" for kind, name in DAMAGE])
def test_damage_to_any_path_is_repaired(installed: Machine, kind: str, damage: str) -> None:
    script = (FILE_DAMAGE if kind == "file" else LINK_DAMAGE)[damage]
    paths = [path for path in managed(installed) if is_link(installed, path) == (kind == "link")]
    assert len(paths) >= LEAST[kind]
    for path in paths:
        _damage_and_repair(installed, path, script)
    assert_converged(installed)


def _damage_and_repair(installed: Machine, path: str, script: str) -> None:
    look = f"stat -c '%F %a %u %g %s' {path}; readlink {path} || sha256sum {path}"
    before, units = installed.sh(look), installed.units()
    installed.sh(script.format(path))
    run = installed.install()
    assert (run.status, run.outcome) == (0, "changed"), (path, run.stdout, run.stderr)
    assert path in run.changed
    assert set(run.changed) - {path} <= ACTIONS, path
    assert installed.sh(look) == before
    after = installed.units()
    for unit in QUIET:
        assert after[unit] == units[unit], path
    assert {unit: shown["NeedDaemonReload"] for unit, shown in after.items()} == dict.fromkeys(after, "no"), (
        path
    )


@pytest.mark.parametrize(
    ("script", "changed"),
    [
        # Not the service alone: containerd's next call starts it again, whoever was quicker.
        ("systemctl stop soci-snapshotter.socket", ["socket-started", "service-restarted"]),
        (
            # One after the other: a call that comes in between would have the socket start the service.
            "systemctl stop soci-snapshotter.socket; systemctl stop soci-snapshotter.service",
            ["socket-started", "service-started"],
        ),
    ],
)
def test_stopped_units_run_again(installed: Machine, script: str, changed: list[str]) -> None:
    before = installed.units()
    installed.sh(script)
    run = installed.install()
    assert (run.status, run.outcome, run.changed) == (0, "changed", changed), run.stderr
    after = installed.units()
    for unit, shown in before.items():
        for key in ("ActiveState", "SubState", "UnitFileState", "NeedDaemonReload"):
            assert after[unit][key] == shown[key], unit
    for unit in ("containerd.service", "kubelet.service"):
        assert after[unit] == before[unit]
    assert_converged(installed)


@pytest.mark.parametrize(
    "unit", ["soci-snapshotter.socket", "soci-snapshotter.service", "soci-bootstrap.service"]
)
def test_disabled_units_are_enabled_again(installed: Machine, unit: str) -> None:
    paths = managed(installed)
    before = installed.units()[unit]
    installed.sh(f"systemctl disable {unit}")
    run = installed.install()
    assert run.outcome == "changed"
    assert (
        set(run.changed) & set(paths) == {path for path in paths if path.endswith(f".wants/{unit}")} != set()
    )
    assert installed.units()[unit]["UnitFileState"] == before["UnitFileState"] == "enabled"
    assert_converged(installed)


def test_the_umask_plays_no_part(installed: Machine) -> None:
    paths = managed(installed)
    directories = "/etc/soci-snapshotter-grpc /usr/local/libexec/soci-bootstrap"
    look = f"stat -c '%n %F %a %u %g' {' '.join(paths)} $(find {directories} 2>/dev/null)"
    before = installed.sh(look)
    for umask in ("000", "077"):
        for path in paths:
            installed.sh(f"rm {path}")
        installed.sh("rm -rf /usr/local/libexec/soci-bootstrap /etc/soci-snapshotter-grpc")
        run = installed.install(before=f"umask {umask};")
        assert run.outcome == "changed", run.stderr
        assert installed.sh(look) == before


def test_the_agent_that_stays_does_the_same(installed: Machine) -> None:
    installed.sh("rm /etc/soci-snapshotter-grpc/config.toml")
    done = installed.node.run(f"{AGENT} install --json {installed.source}", check=False)
    assert Run(done.returncode, done.stdout, done.stderr).outcome == "changed"
    plan = installed.node.run(f"{AGENT} plan {installed.source}", check=False)
    assert plan.returncode == 0, plan.stdout

"""Kill a run before each single change it makes: the node still joins, and the next run gets there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from soci_bootstrap import install, rollback
from soci_bootstrap.record import load
from soci_bootstrap.system import System
from tests.unit import trees
from tests.unit.trees import KILLED, WatchedSystem, Watched, content, copied, differences

MEMO = "/var/lib/soci-bootstrap/converged.json"
DROPIN = "etc/eks/nodeadm.d/50-soci-bootstrap.json"
NEEDED = (
    "usr/local/bin/soci-snapshotter-grpc",
    "etc/soci-snapshotter-grpc/config.toml",
    "etc/systemd/system/soci-snapshotter.service",
    "etc/systemd/system/soci-snapshotter.socket",
    "etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf",
    "usr/local/sbin/soci-bootstrap",
)


@dataclass(frozen=True)
class Case:
    """A command, from a state that other commands led to."""

    name: str
    command: str
    before: tuple[tuple[str, ...], ...] = ()
    words: tuple[str, ...] = ()
    dropins: bool = True


CASES = [
    Case("install", "install"),
    Case("install, direct wiring", "install", dropins=False),
    Case(
        "another install: other version, other settings",
        "install",
        (("install",),),
        ("--set", "max_concurrent_downloads=7"),
    ),
    Case("install after another wiring", "install", (("install", "--wiring", "direct"),)),
    Case("bake", "bake"),
    Case("bake over an install", "bake", (("install",),)),
    Case("install over a bake", "install", (("bake",),)),
    Case("rollback of an install", "rollback", (("install",),)),
    Case("rollback of direct wiring", "rollback", (("install",),), dropins=False),
    Case("rollback of a bake", "rollback", (("bake",),)),
]


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(install, "System", WatchedSystem)
    monkeypatch.setattr(install.resources, "agent_bytes", lambda: trees.AGENT)
    monkeypatch.setattr(rollback, "System", WatchedSystem)
    monkeypatch.setattr(WatchedSystem, "watch", Watched())
    return


class Runner:
    """Runs commands below a root, as the command line would."""

    def __init__(self, scratch: Path) -> None:
        self.releases = [
            trees.archive(scratch / "one.tar.gz"),
            trees.archive(scratch / "other.tar.gz", trees.DAEMON + b"newer"),
        ]

    def run(self, root: Path, command: str, *words: str, newer: bool = False) -> str:
        if command == "rollback":
            result = rollback.run(trees.settings(command, "--root", str(root), *words), trees.QUIET)  # type: ignore[arg-type]
            return result.outcome
        tarball, digest = self.releases[newer]
        version = "0.15.0" if newer else "0.14.1"
        line = ("--root", str(root), "--tarball", tarball, "--sha256", digest, "--soci-version", version)
        machine = ("--vcpus", "4", "--memory-gib", "8", "--arch", "amd64")
        found = install.run(trees.settings(command, *line, *machine, *words), trees.QUIET)  # type: ignore[arg-type]
        assert found.exit_status == 0, found.reason
        return found.outcome


def joins(root: Path) -> None:
    """Whatever a node finds at its next boot, it joins: nothing half wired, nothing that doesn't parse."""
    for file in (root / "etc/eks/nodeadm.d").iterdir():
        if file.name.endswith((".json", ".yaml", ".yml")):
            json.loads(file.read_bytes())
    config = (root / "etc/containerd/config.toml").read_text()
    kubelet = json.loads((root / "etc/kubernetes/kubelet/config.json").read_bytes())
    wired = (root / DROPIN).exists() or '"soci"' in config or "imageServiceEndpoint" in kubelet
    missing = [path for path in NEEDED if not (root / path).exists()]
    assert not (wired and missing), f"wired without {missing}"
    daemon = root / NEEDED[0]
    if daemon.exists():
        assert daemon.read_bytes() in (trees.DAEMON, trees.DAEMON + b"newer")


@pytest.mark.subprocess
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_killed_before_any_change_converges_when_run_again(case: Case, tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    pristine = trees.eks(tmp_path / "pristine", dropins=case.dropins)
    start = copied(pristine, tmp_path / "start")
    for command in case.before:
        runner.run(start, *command)
    newer = case.name.startswith("another")
    original = content(pristine)

    def run(root: Path) -> str:
        return runner.run(root, case.command, *case.words, newer=newer)

    watch = WatchedSystem.watch = Watched()
    wanted = copied(start, tmp_path / "wanted")
    run(wanted)
    changes = tuple(watch.seen)
    assert len(changes) > 10
    reference = content(wanted, apart=(MEMO,))
    if case.command == "rollback":
        assert differences(reference, original) == []

    outcomes: list[tuple[str, str, str]] = []
    for number, change in enumerate(changes):
        root = copied(start, tmp_path / "node")
        WatchedSystem.watch = Watched(number)
        assert trees.in_child(lambda root=root: run(root)) == KILLED
        WatchedSystem.watch = Watched()
        joins(root)

        back = copied(root, tmp_path / "back")
        rolled = runner.run(back, "rollback")
        assert rolled in {"rolled-back", "unchanged"}, (change, rolled)
        assert differences(content(back), original) == [], change

        again = run(root)
        assert differences(content(root, apart=(MEMO,)), reference) == [], change
        outcomes.append((change.replace(str(root), ""), again, rolled))
    print(f"\n{case.name}: killed before each of {len(changes)} changes")
    for number, row in enumerate(outcomes):
        print(f"  {number:3} {row[0]:<90} again: {row[1]:<12} or rollback: {row[2]}")


def test_record_is_there_before_anything_is_changed(tmp_path: Path) -> None:
    watch = WatchedSystem.watch = Watched()
    root = trees.eks(tmp_path / "node")
    Runner(tmp_path).run(root, "install")
    first = next(what for what in watch.seen if "/var/lib/soci-bootstrap" not in what)
    assert watch.seen.index(first) > watch.seen.index("write /var/lib/soci-bootstrap/record.json")
    record = load(System(str(root)))
    assert record is not None
    assert record.outcome == "installed"

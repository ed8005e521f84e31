"""Kill a run before each single change it makes: the node still joins, and the next run gets there."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.state.record import load
from soci_bootstrap.system import System
from tests.support import trees
from tests.support.results import install, rollback
from tests.support.trees import KILLED, Watched, WatchedSystem, content, copied, differences

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
FINE = [CASES[1], CASES[8]]
"""Killed not only before each change, but before each call that is part of one."""


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: thousands of small trees are copied here."""
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(install.module, "System", WatchedSystem)
    monkeypatch.setattr(install.module.resources, "agent_bytes", lambda: trees.AGENT)
    monkeypatch.setattr(rollback.module, "System", WatchedSystem)
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
            assert result.exit_status == 0, result.document
            return str(result.document["outcome"])
        tarball, digest = self.releases[newer]
        version = "0.15.0" if newer else "0.14.1"
        line = ("--root", str(root), "--tarball", tarball, "--sha256", digest, "--soci-version", version)
        machine = ("--vcpus", "4", "--memory-gib", "8", "--arch", "amd64")
        found = install.run(trees.settings(command, *line, *machine, *words), trees.QUIET)  # type: ignore[arg-type]
        assert found.exit_status == 0, found.reason
        return found.outcome


class Stage:
    """A case, set up: the tree it starts from, and what an undisturbed run makes of it."""

    def __init__(self, case: Case, scratch: Path) -> None:
        self.case = case
        self.runner = Runner(scratch)
        pristine = trees.eks(scratch / "pristine", dropins=case.dropins)
        self.start = copied(pristine, scratch / "start")
        for command in case.before:
            self.runner.run(self.start, *command)
        self.original = content(pristine)
        wanted = copied(self.start, scratch / "wanted")
        watch = WatchedSystem.watch = Watched()
        self.run(wanted)
        self.changes = tuple(watch.seen)
        self.reference = content(wanted)
        self._scratch = scratch

    def counted(self) -> int:
        """How many calls to the operating system change a file."""
        root = copied(self.start, self._scratch / "counted")
        with trees.Calls() as calls:
            self.run(root)
        return calls.count

    def run(self, root: Path) -> str:
        newer = self.case.name.startswith("another")
        return self.runner.run(root, self.case.command, *self.case.words, newer=newer)


class States:
    """The states of a tree that were seen; of the same one, a run makes the same.

    Times and inodes play no part, nor what is in a file that is still staged: the next run removes it.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def new(self, root: Path) -> bool:
        """Whether this state was not seen before."""
        found = content(root).items()
        state = hash(
            frozenset((path, entry[:3] if path.endswith(".tmp") else entry) for path, entry in found)
        )
        known = state in self._seen
        self._seen.add(state)
        return not known


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
@pytest.mark.parametrize("case", [case for case in CASES if case not in FINE], ids=lambda case: case.name)
def test_a_run_killed_before_any_change_converges_when_run_again(case: Case, tmp_path: Path) -> None:
    stage = Stage(case, tmp_path)
    runner, start, run = stage.runner, stage.start, stage.run
    original, reference, changes = stage.original, stage.reference, stage.changes
    assert len(changes) > 5
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
        assert differences(content(root), reference) == [], change
        outcomes.append((change.replace(str(root), ""), again, rolled))
    sys.stdout.write(f"\n{case.name}: killed before each of {len(changes)} changes\n")
    for number, row in enumerate(outcomes):
        sys.stdout.write(f"  {number:3} {row[0]:<90} again: {row[1]:<12} or rollback: {row[2]}\n")


@dataclass(frozen=True)
class End:
    """How a run ends at a call to the operating system: killed, or by an error, once or from then on."""

    code: int = 0
    persists: bool = False


def ended(stage: Stage, end: End, number: int, root: Path) -> bool:
    """Run until the call of that number; whether the run failed."""

    def fail() -> None:
        raise OSError(end.code, os.strerror(end.code))

    def killed() -> None:
        with trees.Calls(number, lambda: os._exit(KILLED)):
            stage.run(root)

    if not end.code:
        assert trees.in_child(killed) == KILLED
        return True
    with trees.Calls(number, fail, persists=end.persists):
        try:
            stage.run(root)
        except (BootstrapError, AssertionError):
            return True
    return False


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("case", "ends"),
    [
        pytest.param(FINE[0], (End(), End(errno.ENOSPC), End(errno.EROFS, True)), id="install"),
        pytest.param(FINE[1], (End(), End(errno.ENOSPC, True)), id="rollback"),
        pytest.param(CASES[4], (End(errno.EIO, True),), id="bake"),
    ],
)
def test_a_run_that_ends_inside_any_change_converges_when_run_again(
    case: Case, ends: tuple[End, ...], tmp_path: Path
) -> None:
    stage, states = Stage(case, tmp_path), States()
    if case.command == "rollback":
        assert differences(stage.reference, stage.original) == []
    calls = stage.counted()
    for end in ends:
        failures = 0
        for number in range(calls):
            root = copied(stage.start, tmp_path / "node")
            failed = ended(stage, end, number, root)
            failures += failed
            if failed and end == End(errno.ENOSPC):
                assert differences(content(root), stage.original) == [], number
            if states.new(root):
                joins(root)
                back = copied(root, tmp_path / "back")
                stage.runner.run(back, "rollback")
                assert differences(content(back), stage.original) == [], (end, number)
                stage.run(root)
                assert differences(content(root), stage.reference) == [], (end, number)
        assert failures > calls / 2


@pytest.mark.parametrize("case", [CASES[1], CASES[2], CASES[4]], ids=lambda case: case.name)
def test_a_run_stopped_inside_any_change_takes_everything_back(case: Case, tmp_path: Path) -> None:
    stage = Stage(case, tmp_path)
    before = content(stage.start)
    taken_back = 0
    for number in range(stage.counted()):
        root = copied(stage.start, tmp_path / "node")

        def stop() -> None:
            os.kill(os.getpid(), signal.SIGINT)

        said = ""
        with trees.Calls(number, stop):
            try:
                stage.run(root)
            except AssertionError as error:
                said = str(error)
        # Where it came too late the run has ended as it would have.
        taken_back += bool(said)
        wanted = before if said else stage.reference
        assert differences(content(root), wanted) == [], number
        assert not said or "interrupted before the end" in said
        assert (signal.getsignal(signal.SIGTERM) is signal.SIG_IGN) == bool(said)
        for handled in (signal.SIGTERM, signal.SIGINT):
            signal.signal(handled, signal.default_int_handler)
    assert taken_back > 20


def test_record_is_there_before_anything_is_changed(tmp_path: Path) -> None:
    watch = WatchedSystem.watch = Watched()
    root = trees.eks(tmp_path / "node")
    Runner(tmp_path).run(root, "install")
    first = next(what for what in watch.seen if "/var/lib/soci-bootstrap" not in what)
    assert watch.seen.index(first) > watch.seen.index("write /var/lib/soci-bootstrap/record.json")
    record = load(System(str(root)))
    assert record is not None
    assert record.outcome == "installed"

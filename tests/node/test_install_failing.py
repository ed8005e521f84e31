"""`install` that fails, is stopped or meets another: its message, its status, a node that is as before."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.node.installing import LEFT_BEHIND, NOT_OURS, URL, Before, Machine, Run, machine, rendered
from tests.node.lab import tree
from tests.node.lab.eks import Ami, eks_node
from tests.node.lab.mirror import Mirror
from tests.node.lab.server import Fault
from tests.node.lab.soci import build
from tests.node.zipapp import ZIPAPP, zipapp

OTHER = build.release(member="soci-snapshotter")
"""A release without the one member."""
WRONG = "0" * 64
ANOTHER_MACHINE = """\
import os, runpy, sys
real = os.uname()
os.uname = lambda: os.uname_result((*real[:4], "riscv64"))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Ends a run before its n-th change, as systemd or a Ctrl-C would.
SIGNAL = """\
_changes = 0
def _signalled(self, what):
    import os, signal
    global _changes
    _changes += 1
    if str(_changes) == os.environ.get("SIGNAL_AT"):
        os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
System.before_change = _signalled
"""


@dataclass(frozen=True)
class Case:
    """One way to fail.

    Attributes:
        words: of `install`; ``{url}`` and ``{sha256}`` are the mirror's.
        says: patterns that stderr's last line holds, what was found first, what was expected second.
        status: the contract's.
        arrange: done to the mirror before.
        program: runs the agent in python3's stead.
        asks: whether the mirror is asked at all.
    """

    words: str
    says: tuple[str, ...]
    status: int = 2
    arrange: Callable[[Mirror], object] = lambda _: None
    program: str = ""
    asks: bool = True


def _serve(mirror: Mirror, data: bytes) -> None:
    mirror.release(build.release(), data)


def _break(mirror: Mirror, fault: Fault) -> None:
    mirror.fault = fault


FROM_MIRROR = "--mirror {url} --sha256 {sha256}"
CASES = {
    # Bad usage comes first, on a node that was never touched.
    "a size that SOCI does not read": Case(
        f"{FROM_MIRROR} --set concurrent_download_chunk_size=8MiB",
        ("concurrent_download_chunk_size", "found '8MiB'", "expected a number and b, kb, mb or gb"),
        status=1,
        asks=False,
    ),
    "an unknown key": Case(
        f"{FROM_MIRROR} --set max_concurrent_downlods=8",
        ("max_concurrent_downlods", "did you mean max_concurrent_downloads"),
        status=1,
        asks=False,
    ),
    "an unknown option": Case(
        f"{FROM_MIRROR} --miror x", ("--miror", "did you mean --mirror"), status=1, asks=False
    ),
    "an unknown architecture": Case(
        FROM_MIRROR,
        ("found riscv64", "expected x86_64 or aarch64"),
        status=1,
        program="/opt/another_machine.py",
        asks=False,
    ),
    "a release that is too old": Case("--soci-version 0.10.0", ("0.10.0", r"0\.11\.0"), status=1, asks=False),
    "a wrong digest": Case(
        f"--mirror {{url}} --sha256 {WRONG}",
        ("was deleted", f"found sha256 {build.release().sha256}", f"expected {WRONG}"),
    ),
    "a truncated archive": Case(
        FROM_MIRROR,
        ("found sha256 .*cut short", f"expected {build.release().sha256}"),
        arrange=lambda mirror: _serve(mirror, build.release().data[:100_000]),
    ),
    "a connection that breaks": Case(
        f"{FROM_MIRROR} --deadline 5",
        ("found the connection failed in the middle", "expected"),
        arrange=lambda mirror: _break(mirror, Fault.TRUNCATE),
    ),
    "a 404": Case(
        FROM_MIRROR,
        ("found HTTP status 404", "expected 200"),
        arrange=lambda mirror: _break(mirror, Fault.NOT_FOUND),
    ),
    "an archive without the member": Case(
        f"--mirror {{url}} --sha256 {OTHER.sha256}",
        ("found 'THIRD_PARTY_LICENSES'", "expected the member soci-snapshotter-grpc"),
        arrange=lambda mirror: _serve(mirror, OTHER.data),
    ),
    "the same, --strict": Case(
        f"--mirror {{url}} --sha256 {OTHER.sha256} --strict",
        ("expected the member soci-snapshotter-grpc",),
        status=1,
        arrange=lambda mirror: _serve(mirror, OTHER.data),
    ),
    "a program for another machine": Case(
        f"--mirror {{url}} --sha256 {build.release(wrong_machine=True).sha256}",
        ("found Exec format error", "expected a program for this architecture"),
        arrange=lambda mirror: _serve(mirror, build.release(wrong_machine=True).data),
    ),
    "no archive there": Case(
        f"--tarball /opt/none.tgz --sha256 {WRONG}", ("/opt/none.tgz", "expected"), asks=False
    ),
}


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    """A node that runs on overlayfs; every test leaves it so."""
    with machine(Ami("bullseye")) as found:
        found.node.write("/opt/another_machine.py", ANOTHER_MACHINE)
        yield found


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bare" in request.fixturenames:
        found: Machine = request.getfixturevalue("bare")
        found.mirror.fault = Fault.NONE
        found.mirror.release(found.release)


@pytest.mark.parametrize("name", CASES)
def test_says_what_was_found_and_leaves_the_node_as_it_was(bare: Machine, name: str) -> None:
    case = CASES[name]
    case.arrange(bare.mirror)
    before, requests = Before.of(bare), len(bare.mirror.log)
    words = case.words.format(url=URL, sha256=bare.release.sha256)
    run = bare.install(words, program=case.program)
    assert run.status == case.status, run.stderr
    assert re.search(".*".join(case.says), run.last_line), run.last_line
    assert run.last_line == f"soci-bootstrap: ERROR {run.document['reason']}"
    assert run.outcome == {1: "failed", 2: "degraded"}[case.status]
    before.assert_unchanged(bare, left=LEFT_BEHIND if "the node" not in _kind(run) else ())
    assert set(run.changed) <= set(LEFT_BEHIND)
    assert (len(bare.mirror.log) > requests) == case.asks


def _kind(run: Run) -> str:
    return "" if run.document["steps"] else "refused: the node is untouched"


def test_an_image_is_left_as_it_was(bare: Machine) -> None:
    bare.sh("mkdir -p /tmp/image/etc")
    bare.node.write("/opt/other.tgz", OTHER.data)
    run = bare.install(f"--root /tmp/image --tarball /opt/other.tgz --sha256 {OTHER.sha256}")
    assert (run.status, run.outcome, run.changed) == (1, "failed", [])
    assert bare.sh("find /tmp/image").split() == ["/tmp/image", "/tmp/image/etc"]
    assert "deleted" not in run.stderr
    run = bare.install(f"--root /tmp/image --tarball /opt/other.tgz --sha256 {WRONG}")
    assert run.status == 1
    assert "deleted" not in run.stderr, "the user's own archive is there still"
    assert bare.node.exists("/opt/other.tgz")


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_signal_while_downloading(bare: Machine, signal: str) -> None:
    before, requests = Before.of(bare), len(bare.mirror.log)
    bare.mirror.fault = Fault.SLOW
    with bare.installing() as process:
        bare.wait(lambda: len(bare.mirror.log) > requests)
        bare.wait(lambda: ".tmp" in bare.sh("ls -A /usr/local/bin"))
        bare.sh(f"kill -{signal} $(cat /run/installing)")
        out, err = process.communicate(timeout=60)
    run = Run(process.returncode, out.decode(), err.decode())
    assert (run.status, run.outcome, run.changed) == (2, "degraded", [])
    assert "interrupted" in run.last_line
    before.assert_unchanged(bare)


def test_two_at_once(bare: Machine) -> None:
    before, requests = Before.of(bare), len(bare.mirror.log)
    bare.mirror.fault = Fault.SLOW
    with bare.installing() as process:
        bare.wait(lambda: len(bare.mirror.log) > requests)
        started = time.monotonic()
        run = bare.install(f"{bare.source} --deadline 1")
        assert (run.status, run.outcome, run.changed) == (1, "failed", [])
        assert re.search(r"found .*lock held by .*\d+ .*1 s, expected to be alone", run.last_line), (
            run.last_line
        )
        assert 1 <= time.monotonic() - started < 60
        bare.sh("kill -TERM $(cat /run/installing)")
        process.communicate(timeout=60)
    before.assert_unchanged(bare)


def test_the_second_of_two_waits_and_finds_nothing_to_do() -> None:
    with machine(Ami("bullseye")) as node:
        node.mirror.fault = Fault.SLOW
        with node.installing() as process:
            node.wait(lambda: node.mirror.log)
            node.mirror.fault = Fault.NONE
            second = node.install()
            out, err = process.communicate(timeout=60)
        assert Run(process.returncode, out.decode(), err.decode()).outcome == "installed"
        assert second.outcome == "unchanged", second.stderr
        assert len(node.mirror.log) == 1


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_a_signal_before_a_change(signal: str) -> None:
    """Every second change, by turns with either signal; containerd is yet to start, as in userData."""
    with machine(Ami("trixie-containerd2"), patches=(("system", SIGNAL),)) as node:
        node.sh("systemctl stop kubelet containerd")
        before = Before.of(node)
        at = {"SIGTERM": 2, "SIGINT": 4}[signal]
        stopped = 0
        while (run := node.install(environment={"SIGNAL_AT": str(at), "SIGNAL": signal})).status:
            assert (run.status, run.outcome) == (2, "degraded"), run.stderr
            assert "interrupted" in run.last_line
            before.assert_unchanged(node, left=(*LEFT_BEHIND, "/var/lib/soci-bootstrap/*"))
            at += 4
            stopped += 1
        assert stopped >= 4, "the run has more changes than that"
        assert run.outcome == "installed"
        disk = node.node.snapshot_tree()
        assert not [
            path for path in disk if path.endswith(".tmp") and not path.startswith("/var/lib/containerd")
        ]


STUB = f"--zipapp-url {URL}/{ZIPAPP.name} --mirror {URL} --sha256 {build.release().sha256}"


@pytest.mark.parametrize(
    ("root", "words", "serve", "status", "says"),
    [
        ("trixie-containerd2", STUB, True, 0, "^installed: "),
        ("bullseye", f"{STUB} --zipapp-sha256 {WRONG}", True, 2, f"ERROR .*found sha256 .*expected {WRONG}"),
        ("bookworm", STUB, False, 2, f"ERROR can't fetch {URL}/.*404"),
        (
            "bullseye",
            STUB.replace(":8443/soci", ":9443/soci") + " --deadline 4",
            True,
            2,
            "ERROR .*(can't fetch|deadline).*:9443/",
        ),
    ],
    ids=["right", "wrong digest", "not there", "unreachable"],
)
def test_the_stub_at_a_first_boot(root: str, words: str, serve: bool, status: int, says: str) -> None:
    document = rendered(*words.split())
    with eks_node(Ami(root), userdata=document) as node, Mirror(node) as mirror:
        mirror.release(build.release())
        if serve:
            mirror.put(ZIPAPP.name, zipapp())
        before = node.snapshot_tree()
        node.boot()
        output = node.read("/var/log/cloud-init-output.log")
        assert re.search(says, output, re.MULTILINE), output
        assert f"install ended with status {status}" in output
        node.wait_for("kubelet")
        assert not node.run("systemctl --failed --no-legend").stdout
        assert json.loads(node.run("until cat /run/lab/kubelet.json; do sleep 0.1; done 2>&-").stdout)[
            "ready"
        ]
        snapshotter = re.search(r"snapshotter = [\"'](\w+)", node.run("containerd config dump").stdout)
        assert snapshotter
        assert snapshotter[1] == ("overlayfs" if status else "soci")
        ours = [
            line
            for line in tree.differences(before, node.snapshot_tree(), ignore=NOT_OURS)
            if re.search("soci-(bootstrap|snapshotter)", line)
        ]
        assert bool(ours) == (status == 0), ours

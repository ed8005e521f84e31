"""doctor on trees and on nodes of files and scripted programs: whole, half-broken, hostile."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soci_bootstrap import cli
from soci_bootstrap.cli.commands import doctor
from soci_bootstrap.cli.result import Result
from soci_bootstrap.doctor import report
from soci_bootstrap.doctor.finding import Check, Status, Unknown, begin, verdict
from soci_bootstrap.doctor.observe import files
from soci_bootstrap.doctor.observe import programs as doctor_programs
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.doctor.observe.observe import observe
from soci_bootstrap.doctor.rules import RULES, judge
from soci_bootstrap.errors import CommandError, StateError
from soci_bootstrap.settings import load
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.programs import Completed
from tests.support import nodes
from tests.support.nodes import captured

SERVICE, SOCKET = "soci-snapshotter.service", "soci-snapshotter.socket"
DAEMON = "/usr/local/bin/soci-snapshotter-grpc"
SOCI_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
RECORD = "/var/lib/soci-bootstrap/record.json"
CONFIG = "/etc/soci-snapshotter-grpc/config.toml"
PAUSE = "localhost/kubernetes/pause:latest"
SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def shown(active: str = "active") -> bytes:
    def block(name: str, state: str) -> str:
        return f"Id={name}\nLoadState=loaded\nActiveState={state}\nActiveEnterTimestampMonotonic=5\n"

    return "\n".join(
        [block(SERVICE, active), block(SOCKET, "active"), block("containerd.service", "active")]
    ).encode()


@pytest.fixture
def address() -> Iterator[str]:
    """A path short enough for a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield f"{directory}/s"


@contextlib.contextmanager
def listening(address: str, reply: bytes | None) -> Iterator[list[bytes]]:
    """A socket; with ``reply`` somebody answers connections and keeps what they say."""
    said: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        said.append(connection.recv(64))
                        connection.sendall(reply or b"")

        if reply is not None:
            threading.Thread(target=serve, daemon=True).start()
        else:
            server.setblocking(False)
        yield said
        if reply is None:
            with pytest.raises(BlockingIOError):
                server.accept()
        else:
            server.shutdown(socket.SHUT_RDWR)


def node(root: Path, address: str, active: str = "active", **programs: nodes.Answer) -> nodes.Node:
    """A node that pulls with SOCI, as far as files and programs tell."""
    dump = captured("containerd-nodeadm-static-soci.toml")
    dump = dump.replace(b"/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock", address.encode())
    unit = f"[Service]\nExecStart={DAEMON} --address fd:// --config {CONFIG} --root {SOCI_ROOT}\n"
    files: dict[str, str | bytes | None] = {
        DAEMON: "",
        CONFIG: '[content_store]\ntype = "containerd"\n',
        f"/etc/systemd/system/{SERVICE}": unit,
        f"/etc/systemd/system/{SOCKET}": f"[Socket]\nListenStream={address}\n",
        "/etc/containerd/config.toml": dump,
        "/proc/self/mountinfo": "21 1 259:1 / / rw - xfs /dev/root rw\n",
        SOCI_ROOT: None,
        "/usr/bin/python3": "",
    }
    answers: dict[str, nodes.Answer] = {
        "systemctl show": shown(active),
        "containerd --version": b"containerd github.com/containerd/containerd v2.2.6 abc",
        "containerd --config": dump,
        "soci-snapshotter-grpc --version": b"soci-snapshotter-grpc version v0.15.0 abc",
        "journalctl": b"",
        "ctr -n k8s.io snapshots": b"KEY PARENT KIND\na  Active\n",
        "ctr -n k8s.io images check": f"REF\n{PAUSE} x true\n".encode(),
        **programs,
    }
    return nodes.Node(nodes.write(root, files), answers)


def checked(system: nodes.Node) -> dict[str, Check]:
    checks = judge(observe(system))
    assert [check.id for check in checks] == [rule.id for rule in RULES]
    return {check.id: check for check in checks}


def test_a_probe_is_prepared_and_removed(tmp_path: Path, address: str) -> None:
    with listening(address, SETTINGS_FRAME):
        system = node(tmp_path, address)
        checks = checked(system)
    probes = [call.split() for call in system.calls if "prepare" in call or " rm " in call]
    assert [call[6] for call in probes] == ["prepare", "rm"]
    assert probes[0][7] == probes[1][7]
    assert checks["snapshot.probe"].status is Status.OK
    assert checks["image.pause"].status is Status.OK
    assert checks["snapshots"].found.startswith("1 on soci, 1 on overlayfs")


def test_every_probe_has_its_own_name(tmp_path: Path, address: str) -> None:
    with listening(address, SETTINGS_FRAME):
        system = node(tmp_path, address)
        checked(system)
        checked(system)
    assert len({call for call in system.calls if "prepare" in call}) == 2


def test_a_probe_that_fails_is_removed_too(tmp_path: Path, address: str) -> None:
    down = captured("ctr-snapshots-soci-down.txt")
    with listening(address, SETTINGS_FRAME):
        system = node(
            tmp_path,
            address,
            **{"ctr -n k8s.io snapshots --snapshotter soci prepare": Completed(1, b"", down)},
        )
        checks = checked(system)
    assert checks["snapshot.probe"].status is Status.FAIL
    assert [call for call in system.calls if " soci rm " in call]


def test_a_layers_signed_url_is_not_passed_on(tmp_path: Path, address: str) -> None:
    url = "https://layers.s3.amazonaws.com/one?X-Amz-Security-Token=SECRET&X-Amz-Signature=SECRET"
    said = json.dumps({"level": "error", "msg": f"Get {url}: compressed digests did not match"})
    with listening(address, SETTINGS_FRAME):
        line = json.dumps({"MESSAGE": said, "PRIORITY": "6"}).encode()
        checks = checked(node(tmp_path, address, journalctl=line))
    found = checks["service.journal"].found
    assert "https://layers.s3.amazonaws.com/one" in found
    assert "did not match" in found
    assert "SECRET" not in found


def test_a_probe_is_removed_where_doctor_is_interrupted(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = threading.Event()

    def snapshots(argv: list[str]) -> bytes:
        if "prepare" in argv:
            assert interrupted.wait(10)
        return b"KEY PARENT KIND\n"

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor_programs.Asked, "images", interrupt)
    with listening(address, SETTINGS_FRAME):
        system = node(tmp_path, address, **{"ctr -n k8s.io snapshots": snapshots})
        with pytest.raises(KeyboardInterrupt):
            observe(system)
    assert [call.split()[6] for call in system.calls if "probe" in call] == ["prepare", "rm"]


@pytest.mark.parametrize("active", ["inactive", "failed", "activating", "deactivating"])
def test_a_daemon_that_does_not_run_is_never_dialled(tmp_path: Path, address: str, active: str) -> None:
    with listening(address, None):
        system = node(tmp_path, address, active)
        checks = checked(system)
    assert checks["service.active"].status is Status.FAIL
    assert checks["soci.answers"].status is checks["snapshot.probe"].status is Status.SKIP
    assert [call for call in system.calls if call.startswith("ctr") and "soci" in call] == []
    assert [call for call in system.calls if call.startswith("systemctl")] == [
        call for call in system.calls if call.startswith("systemctl show")
    ]


def test_one_that_is_mute_is_not_asked_further(tmp_path: Path, address: str) -> None:
    with listening(address, b""):
        system = node(tmp_path, address)
        checks = checked(system)
    assert checks["soci.answers"].status is Status.FAIL
    assert [call for call in system.calls if call.startswith("ctr") and "soci" in call] == []


PROGRAMS = (
    "systemctl show",
    "containerd --version",
    "containerd --config",
    "soci-snapshotter-grpc --version",
    "journalctl",
    "ctr -n k8s.io snapshots",
    "ctr -n k8s.io images check",
)
FAULTS: dict[str, nodes.Answer] = {
    "fails": 1,
    "hangs": CommandError("it did not end", found="no end after 5.0 s", remedy="run it by hand"),
    "says nothing": b"",
    "says nonsense": b"\xff\x00[[[{\n\n=\n",
    "says much": b"a b c\n" * 100_000,
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_fails_is_a_finding(tmp_path: Path, address: str, program: str, fault: str) -> None:
    with listening(address, SETTINGS_FRAME):
        assert checked(node(tmp_path, address, **{program: FAULTS[fault]}))


@pytest.mark.parametrize("name", ["systemctl", "containerd", "ctr", "journalctl"])
def test_a_program_that_is_missing_is_a_finding(tmp_path: Path, address: str, name: str) -> None:
    with listening(address, SETTINGS_FRAME):
        system = node(tmp_path, address)
        (tmp_path / "usr/bin" / name).unlink()
        checks = checked(system)
    said = [check for check in checks.values() if f"{name} is not on this node" in check.found]
    assert said
    assert {check.status for check in said} <= {Status.WARN, Status.FAIL, Status.SKIP}
    assert {Status.WARN, Status.FAIL}.intersection(check.status for check in said)


PATHS = (
    RECORD,
    "/var/lib/soci-bootstrap/state.json",
    CONFIG,
    f"/etc/systemd/system/{SERVICE}",
    f"/etc/systemd/system/{SOCKET}",
    "/etc/containerd/config.toml",
    "/etc/kubernetes/kubelet/config.json",
    "/run/eks/nodeadm/config.json",
    "/etc/eks/nodeadm.d/60.json",
    "/etc/eks/pause.tar",
    "/proc/self/mountinfo",
    "/usr/local/sbin/soci-bootstrap",
    DAEMON,
)
CONTENTS: dict[str, bytes | str | None] = {
    "directory": None,
    "empty": b"",
    "binary": bytes(range(256)) * 4,
    "[]": b"[]",
    "{}": b"{}",
    "deep": b"[" * 100_000,
    "nulls": b'{"spec": null, "schema": 1, "settings": null, "wiring": 3}',
    "dangling": "-> /nowhere",
    "loop": "-> loop",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_is_broken_is_a_finding(tmp_path: Path, address: str, path: str, content: str) -> None:
    system = node(tmp_path, address, "inactive")
    host = tmp_path / path.lstrip("/")
    if host.exists():
        host.unlink()
    data = CONTENTS[content]
    nodes.write(tmp_path, {path: f"-> {host.name}" if content == "loop" else data})
    checks = judge(observe(system))
    assert [check.id for check in checks] == [rule.id for rule in RULES]
    assert verdict(checks) == "broken"


@pytest.mark.parametrize("user", [0, 1000])
def test_a_record_that_is_hidden_is_not_taken_for_none(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    """Its settings decide what is as installed: defaults in their place would call all of it edited."""
    system = node(tmp_path, address, "inactive")
    read = system.read

    def refused(path: str) -> bytes | None:
        if path == RECORD:
            raise StateError(f"{path} can't be read", remedy="run as root") from PermissionError(13)
        return read(path)

    monkeypatch.setattr(system, "read", refused)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    checks = checked(system)
    assert checks["record"].status is (Status.WARN if user == 0 else Status.SKIP)
    assert "not compared" in checks["service.unit"].found
    for name in ("config.ours", "plan", "files", "facts"):
        assert checks[name].status is Status.SKIP
        assert checks[name].found == ("needs root" if user else f"{RECORD} can't be read")


def test_registries_are_looked_at_without_systemd(tmp_path: Path, address: str) -> None:
    checks = checked(node(tmp_path, address, **{"systemctl show": 1}))
    assert checks["systemd"].status is Status.FAIL
    assert checks["containerd.registries"].status is Status.OK


@pytest.mark.parametrize("method", ["entry", "read", "listdir", "sha256"])
@pytest.mark.parametrize(
    "below",
    ["/", "/proc/", "/run/", "/usr/", "/usr/bin/c", "/usr/local/bin/", "/etc/", "/etc/systemd/", "/var/lib/"],
)
def test_a_disk_that_fails_is_a_finding(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, below: str, method: str
) -> None:
    system = node(tmp_path, address, "inactive")
    real = getattr(system, method)

    def fails(path: str) -> object:
        if path.startswith(below):
            raise StateError(f"{path} can't be read", found="Input/output error", remedy="repair it")
        return real(path)

    monkeypatch.setattr(system, method, fails)
    checks = checked(system).values()
    assert all(check.hint for check in checks if check.status in {Status.WARN, Status.FAIL})
    assert not any("unexpected" in check.found or "itself failed" in check.found for check in checks)


@pytest.mark.parametrize("path", [CONFIG])
def test_a_pipe_does_not_hang_it(tmp_path: Path, address: str, path: str) -> None:
    system = node(tmp_path, address, "inactive")
    (tmp_path / path.lstrip("/")).unlink()
    os.mkfifo(tmp_path / path.lstrip("/"))
    assert "no regular file" in checked(system)["config.present"].found


def test_what_hangs_is_given_up() -> None:
    never = threading.Event()
    found = begin(never.wait, 0.05)()
    never.set()
    assert isinstance(found, Unknown)
    assert found.remedy


def tree(root: Path) -> dict[str, object]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_mode) for p in sorted(root.rglob("*"))}


def run(root: Path, *words: str) -> Result:
    def no_file(path: str) -> bytes:
        raise FileNotFoundError(path)

    settings = load(["doctor", "--root", str(root), *words], {}, no_file)
    return doctor.run(settings, Console(stream=io.StringIO()))


def statuses(result: Result) -> dict[str, str]:
    checks: Any = result.document["checks"]
    return {check["id"]: check["status"] for check in checks}


def test_below_root_it_changes_nothing_and_runs_nothing(tmp_path: Path, address: str) -> None:
    node(tmp_path, address)
    before = tree(tmp_path)
    with listening(address, None):
        result = run(tmp_path)
    assert tree(tmp_path) == before
    found = statuses(result)
    assert all(found[rule.id] == "skip" for rule in RULES if rule.running)


def test_an_empty_tree_is_absent(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert (result.document["verdict"], result.exit_status) == ("absent", 3)
    assert [name for name, status in statuses(result).items() if status in {"warn", "fail"}] == ["installed"]
    assert result.text.splitlines()[-1] == "absent: SOCI was never installed on this node"


def test_v_lists_all(tmp_path: Path) -> None:
    assert "skip  plan: " not in run(tmp_path).text
    assert "skip  plan: " in run(tmp_path, "-v").text


@pytest.mark.parametrize("words", [(), ("--json",), ("-v",)])
def test_without_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert cli.main(["doctor", "--root", str(tmp_path), *words], {}) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.subprocess
@pytest.mark.parametrize("closed", [">&-", "--json >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_with_closed_files(tmp_path: Path, closed: str) -> None:
    line = f"'{sys.executable}' -m soci_bootstrap doctor --root '{tmp_path}' {closed}"
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.mark.parametrize(
    ("verdicts", "words", "looks", "status"),
    [
        (["degraded", "broken", "healthy", "broken"], ("--wait", "30"), 3, 0),
        (["broken", "healthy"], (), 1, 1),
        (["broken"] * 100, ("--wait", "9"), 6, 1),
    ],
)
def test_it_looks_again_until_the_node_is_healthy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verdicts: list[str],
    words: tuple[str, ...],
    looks: int,
    status: int,
) -> None:
    now = [100.0]
    left = iter(verdicts)
    seen: list[str] = []

    def look(_: object) -> str:
        seen.append(next(left))
        return seen[-1]

    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(report.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(report, "observe", lambda _: Node())
    monkeypatch.setattr(report, "verdict", lambda _: seen[-1])
    monkeypatch.setattr(report, "judge", lambda _: look(_) and ())
    assert run(tmp_path, *words).exit_status == status
    assert len(seen) == looks
    assert now[0] <= 109


def test_the_document_is_the_contracts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--root", str(tmp_path), "--json"], {}) == 3
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"verdict", "checks"}
    assert all(set(check) == {"id", "status", "found", "expected", "hint"} for check in document["checks"])
    assert all(isinstance(text, str) for check in document["checks"] for text in check.values())


@pytest.mark.parametrize(
    ("terminal", "no_color", "term", "colour"),
    [
        (True, "", "xterm", True),
        (True, "1", "xterm", False),
        (True, "", "dumb", False),
        (False, "", "xterm", False),
    ],
)
def test_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, term: str, colour: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert ("\x1b[" in run(tmp_path).text) == colour


@pytest.mark.parametrize(("link", "array"), [("md127", True), ("dm-0", True), ("nvme0n1", False)])
def test_the_kernel_says_what_is_an_array(tmp_path: Path, link: str, array: bool) -> None:
    device = os.stat(tmp_path).st_dev
    number = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    blocks = "/sys/devices/virtual/block"
    nodes.write(
        tmp_path,
        {
            f"{blocks}/md127/md": None,
            f"{blocks}/dm-0/slaves": None,
            f"{blocks}/nvme0n1": None,
            f"{blocks}/dm-0/slaves/md127": "-> ../../md127",
            number: f"-> ../../devices/virtual/block/{link}",
        },
    )
    assert files.observe(nodes.Node(tmp_path, {}), "/").array is array

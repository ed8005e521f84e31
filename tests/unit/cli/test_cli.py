from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from soci_bootstrap import cli
from soci_bootstrap.doctor.rules import RULES
from soci_bootstrap.errors import (
    BootstrapError,
    DigestMismatchError,
    LockHeldError,
    StateError,
    UnsupportedArchitectureError,
    WorkloadsError,
)
from soci_bootstrap.settings import Settings
from soci_bootstrap.system.console import Console
from tests.support import trees

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Done:
    exit_status: int = 0
    document: Mapping[str, object] = field(default_factory=lambda: {"outcome": "installed", "reason": None})
    text: str = "done"


Run = Callable[[Settings, Console], Done]


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Run], None]:
    def put(name: str, run: Run) -> None:
        module = ModuleType(f"soci_bootstrap.cli.commands.{name}")
        module.__path__ = []  # some commands are packages, whose other modules stay importable
        real = importlib.util.find_spec(module.__name__)
        if real is not None and real.submodule_search_locations:
            module.__path__ = list(real.submodule_search_locations)
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


def raising(error: BaseException) -> Run:
    def run(settings: Settings, console: Console) -> Done:
        raise error

    return run


def main(line: str, **environ: str) -> int:
    return cli.main(line.split(), environ)


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("install", "install"),
        ("bake", "install"),
        ("plan", "plan"),
        ("doctor", "doctor"),
        ("rollback", "rollback"),
        ("render userdata", "render"),
        ("mirror /srv", "mirror"),
        ("config", "config"),
    ],
)
def test_each_command_runs_its_module(
    line: str, module: str, command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Settings] = []

    def run(settings: Settings, console: Console) -> Done:
        seen.append(settings)
        return Done()

    command(module, run)
    assert main(line) == 0
    assert seen[0].command == line.split(maxsplit=1)[0]
    assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_a_results_status_is_passed_on(
    status: int, command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("install", lambda settings, console: Done(status, {"outcome": "x", "reason": "because"}))
    assert main("install --json") == status
    out, err = capsys.readouterr()
    assert json.loads(out) == {"outcome": "x", "reason": "because"}
    assert err == ("soci-bootstrap: ERROR because\n" if status else "")


REFUSED = (
    UnsupportedArchitectureError("no", found="riscv64"),
    LockHeldError("held", found="pid 1"),
    WorkloadsError("busy"),
)
FAILED = (
    DigestMismatchError("wrong digest", found="aa", expected="bb"),
    BootstrapError("anything"),
    StateError("unreadable"),
    RuntimeError("a bug"),
    PermissionError(13, "Permission denied"),
    KeyboardInterrupt(),
    MemoryError(),
)


@pytest.mark.parametrize("error", REFUSED, ids=repr)
@pytest.mark.parametrize("line", ["install", "install --strict", "bake", "plan", "doctor", "rollback"])
def test_a_refusal_is_always_1(error: BaseException, line: str, command: Callable[[str, Run], None]) -> None:
    for module in ("install", "plan", "doctor", "rollback"):
        command(module, raising(error))
    assert main(line) == 1


@pytest.mark.parametrize("error", FAILED, ids=repr)
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("install", 2),
        ("install --strict", 1),
        ("install --root {root}", 1),
        ("bake", 1),
        ("bake --root {root}", 1),
        ("plan", 1),
        ("doctor", 4),
        ("rollback", 1),
        ("config", 1),
        ("render userdata", 1),
        ("mirror /srv", 1),
    ],
)
def test_a_failure_is_2_only_where_a_node_fell_back(
    error: BaseException,
    line: str,
    status: int,
    command: Callable[[str, Run], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("install", "plan", "doctor", "rollback", "config", "render", "mirror"):
        command(module, raising(error))
    assert main(line.format(root=tmp_path)) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("soci-bootstrap: ERROR ")
    assert "Traceback" not in err


def test_the_last_line_says_found_expected_and_remedy(
    command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    error = DigestMismatchError("wrong\ndigest", found="aa", expected="bb", remedy="ask for the right one")
    command("install", raising(error))
    assert main("install") == 2
    assert capsys.readouterr().err == (
        "soci-bootstrap: ERROR wrong digest: found aa, expected bb; ask for the right one\n"
    )


def test_a_bug_shows_its_traceback_when_asked(
    command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("install", raising(RuntimeError("a bug")))
    assert main("install -v") == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith(
        "soci-bootstrap: ERROR unexpected RuntimeError: a bug; run it again"
    )


KEYS = {"outcome", "reason", "steps", "soci_version", "arch", "sha256", "wiring", "seconds"}


@pytest.mark.parametrize(
    ("line", "environ", "outcome", "status"),
    [
        ("install --json", {}, "degraded", 2),
        ("install --json --strict", {}, "failed", 1),
        ("install", {"SOCI_BOOTSTRAP_JSON": "1"}, "degraded", 2),
        ("bake --json", {}, "failed", 1),
        ("install --json --nope", {}, "failed", 1),
        ("install --nope", {"SOCI_BOOTSTRAP_JSON": "true"}, "failed", 1),
        ("install --json --deadline x", {}, "failed", 1),
        ("instal --json", {}, "failed", 1),
        ("--json", {}, "failed", 1),
    ],
)
def test_install_prints_json_on_every_path(
    line: str,
    environ: dict[str, str],
    outcome: str,
    status: int,
    command: Callable[[str, Run], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command("install", raising(BootstrapError("broken")))
    assert main(line, **environ) == status
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert set(document) == KEYS
    assert document["outcome"] == outcome
    assert err.splitlines()[-1] == f"soci-bootstrap: ERROR {document['reason']}"


@pytest.mark.parametrize(
    ("redirected", "status"), [("2>/dev/full", 0), ("2>&-", 0), (">&-", 0), (">/dev/full", 1)]
)
@pytest.mark.subprocess
def test_output_that_goes_nowhere_costs_no_install(redirected: str, status: int, tmp_path: Path) -> None:
    root = trees.eks(tmp_path / "node")
    tarball, digest = trees.archive(tmp_path / "soci.tgz")
    program = (
        "import sys; from soci_bootstrap import cli; from soci_bootstrap.system import resources;"
        " resources.agent_bytes = lambda: b'agent';"
        "sys.exit(cli.main(sys.argv[1:], {}))"
    )
    words = ["install", "--root", str(root), "--tarball", tarball, "--sha256", digest]
    shell = ["/bin/sh", "-c", f'exec "$0" "$@" {redirected}', sys.executable, "-c", program, *words]
    done = subprocess.run(shell, cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert (b"the result can't be written to stdout" in done.stderr) == (status == 1)
    assert (root / "etc/eks/nodeadm.d/50-soci-bootstrap.json").exists()


def test_a_failure_names_the_release_that_was_asked_for(
    command: Callable[[str, Run], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("install", raising(LockHeldError("held")))
    assert main(f"install --json --root {tmp_path} --arch arm64 --soci-version 0.14.1") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["soci_version"], document["arch"]) == ("0.14.1", "arm64")
    assert document["sha256"].startswith("c01ecb40")


@pytest.mark.parametrize("line", ["plan --json", "rollback --json", "config --json --nope", "mirror --json"])
def test_other_commands_print_json_on_every_path(
    line: str, command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("plan", "rollback"):
        command(module, raising(LockHeldError("held")))
    assert main(line) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["outcome"], bool(document["reason"])) == ("failed", True)


def test_doctors_json_keeps_its_shape(
    command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("doctor", raising(StateError("it fell over")))
    assert main("doctor --json") == 4
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "unknown"
    # All of them are always listed.
    assert [check["id"] for check in document["checks"]] == [rule.id for rule in RULES]
    assert {check["status"] for check in document["checks"]} == {"skip"}
    assert all("it fell over" in check["found"] for check in document["checks"])


@pytest.mark.parametrize(("line", "why"), [("--nope", "--nope"), ("--bundle {root}", "File exists")])
def test_bad_usage_gives_no_verdict(
    line: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"doctor --root {tmp_path} --json {line.format(root=tmp_path)}") == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert set(document) == {"outcome", "reason"}
    assert document["outcome"] == "failed"
    assert why in document["reason"]
    assert why in err.splitlines()[-1]


def test_settings_that_this_user_may_not_read_are_told(
    command: Callable[[str, Run], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("soci_bootstrap.system.tree.read_regular", refuses)
    command("doctor", lambda settings, console: Done(2))
    assert main(f"doctor --root {tmp_path}") == 2
    path = f"{tmp_path}/etc/soci-bootstrap/config.toml"
    assert capsys.readouterr().err == f"soci-bootstrap: WARNING {path}: can't be read: Permission denied\n"


def test_bad_usage_runs_nothing(command: Callable[[str, Run], None]) -> None:
    command("install", raising(AssertionError("it ran")))
    assert main("install --set max_concurrent_unpacks=0 --wirng auto") == 1


def test_without_json_results_are_text_and_messages_go_to_stderr(
    command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(settings: Settings, console: Console) -> Done:
        console.info("working")
        console.debug("details")
        return Done(text="a\nb\n")

    command("install", run)
    assert main("install") == 0
    assert capsys.readouterr() == ("a\nb\n", "soci-bootstrap: working\n")
    assert main("install -q") == 0
    assert capsys.readouterr() == ("a\nb\n", "")
    assert main("install -v") == 0
    assert capsys.readouterr() == ("a\nb\n", "soci-bootstrap: working\nsoci-bootstrap: details\n")


def test_a_reader_that_went_away_is_no_failure(
    command: Callable[[str, Run], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    command("install", lambda settings, console: Done(0, {}, "x" * 1_000_000))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main("install") == 0


def test_sigterm_stops_a_run_with_one_line(
    command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(settings: Settings, console: Console) -> Done:
        signal.raise_signal(signal.SIGTERM)
        return Done()

    command("install", run)
    assert main("install") == 2
    assert capsys.readouterr().err.startswith("soci-bootstrap: ERROR interrupted")


def test_hooks_run_before_any_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def hooks_main(arguments: list[str]) -> int:
        seen.append(arguments)
        return 0

    module = ModuleType("soci_bootstrap.hooks")
    module.main = hooks_main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "soci_bootstrap.hooks", module)
    monkeypatch.setattr("soci_bootstrap.hooks", module, raising=False)
    monkeypatch.setitem(sys.modules, "soci_bootstrap.settings.commandline", None)
    assert main("hook guard", SOCI_BOOTSTRAP_NONSENSE="1") == 0
    assert seen == [["guard"]]


@pytest.mark.parametrize("commit", [None, "0123abc"])
def test_version(
    commit: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = None
    if commit:
        build = ModuleType("soci_bootstrap._build")
        build.COMMIT = commit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "soci_bootstrap._build", build)
    for line in ("--version", "install --version"):
        assert main(line) == 0
        out = capsys.readouterr().out
        assert out.startswith("soci-bootstrap 0.")
        assert out.endswith(f" ({commit})\n") is bool(commit)

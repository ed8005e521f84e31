from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from soci_bootstrap import paths
from soci_bootstrap.apply import preflight
from soci_bootstrap.errors import PreflightError
from soci_bootstrap.system.deadline import Deadline

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SERVES = """
import os, signal, socket, sys
with open(os.path.join(os.path.dirname(__file__), "said"), "w") as said:
    print(*sys.argv[1:], os.environ.get("HTTPS_PROXY"), file=said)
address = sys.argv[sys.argv.index("--address") + 1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(address)
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUN", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def daemon(tmp_path, code: str) -> str:
    path = tmp_path / "daemon"
    path.write_text(f"#!{sys.executable} -IS\n{textwrap.dedent(code)}")
    path.chmod(0o755)
    return str(path)


def run(program: str, seconds: float = 20.0) -> None:
    preflight.run(program, "/etc/c.toml", Deadline(seconds), {"PATH": PATH, "HTTPS_PROXY": "http://proxy:1"})


@pytest.mark.subprocess
def test_a_daemon_that_runs(tmp_path, scratch) -> None:
    run(daemon(tmp_path, SERVES))
    said = (tmp_path / "said").read_text()
    assert "--config /etc/c.toml" in said
    assert f"--root {scratch}/preflight-" in said
    assert "http://proxy:1" in said
    assert list(scratch.iterdir()) == []


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("code", "found"),
    [
        (
            "import sys; print('first', flush=True); print('bad config', file=sys.stderr); sys.exit(3)",
            "status 3 (bad config)",
        ),
        ("import sys; sys.exit(0)", "it ended with status 0 (no message)"),
    ],
)
def test_a_daemon_that_ends(tmp_path, scratch, code, found) -> None:
    with pytest.raises(PreflightError) as caught:
        run(daemon(tmp_path, code))
    assert found in caught.value.found
    assert "--config /etc/c.toml" in caught.value.remedy
    assert list(scratch.iterdir()) == []


@pytest.mark.subprocess
def test_a_daemon_that_never_answers(tmp_path, scratch) -> None:
    with pytest.raises(PreflightError, match="no answer in time"):
        run(daemon(tmp_path, "import time; time.sleep(60)"), 0.3)
    assert list(scratch.iterdir()) == []


@pytest.mark.subprocess
def test_one_that_ignores_sigterm_is_killed(tmp_path) -> None:
    program = daemon(
        tmp_path,
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(1, flush=True)\ntime.sleep(60)\n",
    )
    with subprocess.Popen([program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        preflight._stop(process)
        assert process.returncode == -9


@pytest.mark.subprocess
def test_what_can_not_be_executed(tmp_path, scratch) -> None:
    (tmp_path / "daemon").write_text("")
    with pytest.raises(PreflightError, match="can't be started: found Permission denied") as caught:
        run(str(tmp_path / "daemon"))
    assert "noexec" in caught.value.remedy
    assert list(scratch.iterdir()) == []


def test_no_place_for_its_scratch_root(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(paths, "RUN", str(tmp_path / "file"))
    with pytest.raises(PreflightError, match="can't be made: found Not a directory"):
        run("/none")


@pytest.mark.subprocess
def test_no_umask_plays_a_part_in_our_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "RUN", str(tmp_path / "run"))
    before = os.umask(0)
    try:
        with pytest.raises(PreflightError):
            preflight.run("/none", "/none", Deadline(1), {})
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700

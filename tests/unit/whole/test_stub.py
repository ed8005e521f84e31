"""scripts/bootstrap.sh, run by real shells against loopback servers."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from soci_bootstrap.configfiles.soci_rules import _BOOLEANS, parse_bool

STUB = Path(__file__).parents[3] / "scripts" / "bootstrap.sh"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
AGENT = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "home": os.environ["HOME"], "path": os.environ["PATH"],
                  "isolated": sys.flags.isolated, "zipapp": sys.argv[0], "stdin": sys.stdin.read(),
                  "mode": os.stat(os.path.dirname(sys.argv[0])).st_mode & 0o777}))
sys.exit(STATUS)
"""

pytestmark = pytest.mark.subprocess


def zipapp(status: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", AGENT.replace("STATUS", str(status)))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Behaves as the path says; ``/then/...`` fails once before it serves."""

    seen: ClassVar[list[str]] = []
    pages: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        kind = self.path.split("/")[1].split("?")[0]
        first = self.path not in self.seen
        self.seen.append(self.path)
        if kind == "redirect":
            self.answer(302, b"", Location=f"http://127.0.0.1:{self.server.server_address[1]}/zipapp")
        elif kind == "status":
            self.answer(int(self.path.split("/")[2]), b"no")
        elif kind == "busy" and first:
            self.answer(503, b"later")
        elif kind == "cut" and first:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"PK")
        elif kind == "stall":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"PK")
            self.wfile.flush()
            self.server.leave.wait(30)  # type: ignore[attr-defined]
        else:
            self.answer(200, self.pages["zipapp"])

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pem = tmp_path_factory.mktemp("ca") / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    extensions = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *extensions, "-keyout", str(pem) + ".key", "-out", str(pem)],
        check=True,
        capture_output=True,
    )
    return pem


@pytest.fixture
def server(certificate: Path) -> Iterator[str]:
    """The base URL of an https server that the stub's curl trusts through ``CURL_CA_BUNDLE``."""
    Handler.seen.clear()
    Handler.pages["zipapp"] = zipapp()
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.leave = threading.Event()  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, str(certificate) + ".key")
    service.socket = context.wrap_socket(service.socket, server_side=True)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"https://127.0.0.1:{service.server_address[1]}"
    service.leave.set()  # type: ignore[attr-defined]
    service.shutdown()
    service.server_close()
    thread.join()


class Node:
    """A place for the stub to run: its own /run, /etc and PATH instead of this machine's."""

    def __init__(self, root: Path, certificate: Path) -> None:
        self.run_directory = root / "run"
        self.bin = root / "bin"
        self.config = root / "config.toml"
        self.run_directory.mkdir()
        self.bin.mkdir()
        self.environment = {"CURL_CA_BUNDLE": str(certificate), "HOME": "/root"}
        self.text = STUB.read_text()
        for ours, here in (
            ("/run/soci-bootstrap.XXXXXX", f"{self.run_directory}/soci-bootstrap.XXXXXX"),
            ("/etc/soci-bootstrap/config.toml", str(self.config)),
        ):
            assert ours in self.text
            self.text = self.text.replace(ours, here)

    def pin(self, url: str, data: bytes) -> None:
        self.environment["SOCI_BOOTSTRAP_ZIPAPP_URL"] = url
        self.environment["SOCI_BOOTSTRAP_ZIPAPP_SHA256"] = hashlib.sha256(data).hexdigest()

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, shell: str = "dash") -> subprocess.CompletedProcess[str]:
        """As ``curl ... | sh -s -- ARGUMENTS`` runs it."""
        if shutil.which(SHELLS[shell][0]) is None:
            pytest.skip(f"no {shell} here")
        done = subprocess.run(
            [str(shutil.which(SHELLS[shell][0])), *SHELLS[shell][1:], "-s", "--", *arguments],
            input=self.text,
            capture_output=True,
            text=True,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", **self.environment},
            check=False,
        )
        assert os.listdir(self.run_directory) == [], "something was left behind"
        return done


@pytest.fixture
def node(tmp_path: Path, certificate: Path) -> Node:
    return Node(tmp_path, certificate)


def assert_gave_up(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("soci-bootstrap: ERROR ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
class TestEveryShell:
    def test_runs_install_with_what_it_got(self, node: Node, server: str, shell: str) -> None:
        node.pin(f"{server}/zipapp", zipapp())
        done = node.run("--set", "a=b c", "", shell=shell)
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        assert report["argv"][:5] == ["install", "--set", "a=b c", "", "--deadline"]
        assert 0 < int(report["argv"][5]) <= 120
        assert report["isolated"] == 1
        assert report["mode"] == 0o700
        assert report["stdin"] == ""
        assert report["zipapp"].startswith(str(node.run_directory))
        assert report["path"].endswith(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")

    def test_gives_up_in_one_line(self, node: Node, server: str, shell: str) -> None:
        node.pin(f"{server}/status/404", zipapp())
        assert_gave_up(node.run(shell=shell), 2, "/status/404: curl: (22)", "404", "nothing was changed")

    def test_takes_no_strictness_from_a_script_around_it(
        self, node: Node, server: str, shell: str, tmp_path: Path
    ) -> None:
        """``set -e`` would end it where a first request breaks off."""
        node.text = f"set -eu{'' if shell == 'dash' else 'o pipefail'}\n{node.text}"
        node.pin(f"{server}/cut/zipapp", zipapp())
        assert node.run(shell=shell).returncode == 0
        node.pin(f"{server}/status/404", zipapp())
        assert_gave_up(node.run(shell=shell), 2, "curl: (22)")

    def test_a_download_has_a_limit(self, node: Node, server: str, shell: str, tmp_path: Path) -> None:
        Handler.pages["zipapp"] = bytes(9 << 20)
        node.pin(f"{server}/zipapp", zipapp())
        assert_gave_up(node.run(shell=shell), 2, "/zipapp: curl: (23)")
        (tmp_path / "large.pyz").write_bytes(bytes(9 << 20))
        node.pin(f"file://{tmp_path}/large.pyz", zipapp())
        assert_gave_up(node.run(shell=shell), 2, "File too large")
        node.program("aws", f'cp {tmp_path}/large.pyz "$5"')
        node.pin("s3://b/k", zipapp())
        assert_gave_up(node.run(shell=shell), 2, "s3://b/k", "File too large")

    @pytest.mark.parametrize("status", [0, 1, 2, 3])
    def test_passes_the_status_on(self, node: Node, server: str, shell: str, status: int) -> None:
        Handler.pages["zipapp"] = zipapp(status)
        node.pin(f"{server}/zipapp", zipapp(status))
        assert node.run(shell=shell).returncode == status


class TestArguments:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (["install", "-v"], ["install", "-v", "--deadline"]),
            (["bake"], ["bake", "--deadline"]),
            (["doctor", "--json"], ["doctor", "--json"]),
            (["rollback"], ["rollback"]),
        ],
    )
    def test_a_command_may_be_named(
        self, node: Node, tmp_path: Path, given: list[str], expected: list[str]
    ) -> None:
        assert self.agent(node, tmp_path, *given)["argv"][: len(expected)] == expected

    @pytest.mark.parametrize(
        ("arguments", "environment", "config", "most"),
        [
            ([], {}, "", 120),
            (["--deadline", "30"], {"SOCI_BOOTSTRAP_DEADLINE": "40"}, "deadline = 50\n", 30),
            (["--deadline=30.5"], {}, "", 30),
            (["--deadline", "5", "--deadline", "30"], {}, "", 30),
            ([], {"SOCI_BOOTSTRAP_DEADLINE": "40"}, "deadline = 50\n", 40),
            ([], {}, "strict = true\ndeadline = 50\n", 50),
            ([], {}, "  deadline=50.5 # a comment\n", 50),
            ([], {}, 'deadline = "50"\n', 50),
            (["--config", "other.toml"], {}, "deadline = 50\n", 60),
            (["--config=other.toml"], {"SOCI_BOOTSTRAP_CONFIG": "absent"}, "deadline = 50\n", 60),
            ([], {"SOCI_BOOTSTRAP_CONFIG": "other.toml"}, "deadline = 50\n", 60),
            (["--config", "other.toml"], {"SOCI_BOOTSTRAP_DEADLINE": "40"}, "", 40),
            (["--config", "absent"], {}, "deadline = 50\n", 120),
            (["--deadline", "soon"], {}, "", 120),
        ],
    )
    def test_the_rest_of_the_deadline_goes_to_the_agent(
        self,
        node: Node,
        tmp_path: Path,
        arguments: list[str],
        environment: dict[str, str],
        config: str,
        most: int,
    ) -> None:
        node.config.write_text(config)
        (tmp_path / "other.toml").write_text("deadline = 60\n")
        arguments = [word.replace("other.toml", f"{tmp_path}/other.toml") for word in arguments]
        for name, value in environment.items():
            node.environment[name] = value.replace("other.toml", f"{tmp_path}/other.toml")
        argv = self.agent(node, tmp_path, *arguments)["argv"]
        assert argv[1:-2] == arguments
        assert argv[-2] == "--deadline"
        assert most - 10 < int(argv[-1]) <= most

    @pytest.mark.parametrize("given", ["", "/opt/tools"])
    def test_the_usual_places_are_looked_at_after_the_callers_and_never_the_current_one(
        self, node: Node, tmp_path: Path, given: str
    ) -> None:
        node.environment["PATH"] = given
        path = str(self.agent(node, tmp_path)["path"]).split(":")
        usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
        assert path == [*([given] if given else []), *usual]

    def test_home_is_set_where_cloud_init_sets_none(self, node: Node, tmp_path: Path) -> None:
        del node.environment["HOME"]
        assert self.agent(node, tmp_path)["home"] == "/root"

    def agent(self, node: Node, tmp_path: Path, *arguments: str) -> dict[str, list[str]]:
        (tmp_path / "agent.pyz").write_bytes(zipapp())
        node.pin(f"file://{tmp_path}/agent.pyz", zipapp())
        done = node.run(*arguments)
        assert done.returncode == 0, done
        report: dict[str, list[str]] = json.loads(done.stdout)
        return report


class TestFetching:
    @pytest.mark.parametrize("status", [6, 7, 16, 18, 35, 52, 55, 56, 92])
    def test_what_broke_off_is_tried_again(self, node: Node, tmp_path: Path, status: int) -> None:
        (tmp_path / "agent.pyz").write_bytes(zipapp())
        tried = tmp_path / "tried"
        node.program("sleep", "exit 0")
        node.program(
            "curl",
            f'for last; do :; done; [ "$last" = "https://[fd00::1]/x" ] || exit 3\n'
            f"[ -e {tried} ] || {{ touch {tried}; exit {status}; }}\n"
            f'while [ "$1" != -o ]; do shift; done; cp {tmp_path}/agent.pyz "$2"',
        )
        node.pin("https://[fd00::1]/x", zipapp())
        assert node.run().returncode == 0

    @pytest.mark.parametrize("kind", ["busy", "cut"])
    def test_tries_again(self, node: Node, server: str, kind: str) -> None:
        node.pin(f"{server}/{kind}/zipapp", zipapp())
        assert node.run().returncode == 0
        assert len(Handler.seen) == 2

    def test_s3_by_the_aws_cli(self, node: Node, tmp_path: Path) -> None:
        (tmp_path / "agent.pyz").write_bytes(zipapp())
        wanted = "s3 cp --only-show-errors s3://b/k $5"
        node.program("aws", f'[ "$*" = "{wanted}" ] && cp {tmp_path}/agent.pyz "$5"')
        node.pin("s3://b/k", zipapp())
        assert node.run().returncode == 0

    def test_s3_that_is_denied(self, node: Node) -> None:
        node.program("aws", "echo; echo 'fatal error: An error occurred (403): Forbidden' >&2; exit 1")
        node.pin("s3://b/k", zipapp())
        assert_gave_up(node.run(), 2, "s3://b/k", "(403): Forbidden")

    def test_s3_without_the_aws_cli(self, node: Node) -> None:
        if any(shutil.which("aws", path=path) for path in ("/usr/local/bin", "/usr/bin")):
            pytest.skip("this machine has one")
        node.pin("s3://b/k", zipapp())
        assert_gave_up(node.run(), 2, "s3://b/k", "aws")

    def test_another_digest(self, node: Node, server: str) -> None:
        node.pin(f"{server}/zipapp", b"something else")
        found, expected = (hashlib.sha256(data).hexdigest() for data in (zipapp(), b"something else"))
        assert_gave_up(node.run(), 2, f"{server}/zipapp", f"found sha256 {found}", f"expected {expected}")

    def test_a_redirect_to_http(self, node: Node, server: str) -> None:
        node.pin(f"{server}/redirect", zipapp())
        assert_gave_up(node.run(), 2, "/redirect", "http")
        assert Handler.seen == ["/redirect"]

    def test_a_server_that_nobody_vouches_for(self, node: Node, server: str) -> None:
        del node.environment["CURL_CA_BUNDLE"]
        node.pin(f"{server}/zipapp", zipapp())
        assert_gave_up(node.run(), 2, "curl: (60)")
        assert Handler.seen == []

    def test_nobody_listens(self, node: Node) -> None:
        node.pin("https://127.0.0.1:1/zipapp", zipapp())
        assert_gave_up(node.run("--deadline", "3"), 2, "https://127.0.0.1:1/zipapp")

    def test_a_server_that_stalls_is_left_at_the_deadline(self, node: Node, server: str) -> None:
        node.pin(f"{server}/stall", zipapp())
        begin = time.monotonic()
        assert_gave_up(node.run("--deadline", "2"), 2, "the deadline of 2 s passed", f"{server}/stall")
        assert time.monotonic() - begin < 20

    def test_a_missing_file(self, node: Node) -> None:
        node.pin("file:///nowhere/agent.pyz", zipapp())
        assert_gave_up(node.run(), 2, "file:///nowhere/agent.pyz", "No such file")

    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (["--strict"], 1),
            (["--root", "/mnt"], 1),
            (["--root=/mnt"], 1),
            (["bake"], 1),
            (["install", "--json"], 2),
            (["--deadline", "bake"], 2),
            (["--config", "--strict"], 2),
        ],
    )
    def test_strictness_decides_the_status(self, node: Node, arguments: list[str], status: int) -> None:
        node.pin("file:///nowhere/agent.pyz", zipapp())
        assert_gave_up(node.run(*arguments), status)

    @pytest.mark.parametrize("text", ["", *_BOOLEANS, *(word.upper() for word in _BOOLEANS)])
    def test_strictness_from_the_environment(self, node: Node, text: str) -> None:
        node.environment["SOCI_BOOTSTRAP_STRICT"] = text
        node.pin("file:///nowhere/agent.pyz", zipapp())
        assert_gave_up(node.run(), 1 if text and parse_bool(text) else 2)

    def test_a_clock_that_is_set_meanwhile_plays_no_part(self, node: Node, tmp_path: Path) -> None:
        (tmp_path / "agent.pyz").write_bytes(zipapp())
        node.program(
            "date", f"[ -e {tmp_path}/late ] && exec echo 99999999999; touch {tmp_path}/late; echo 1"
        )
        node.pin(f"file://{tmp_path}/agent.pyz", zipapp())
        done = node.run("--deadline", "30")
        assert (done.returncode, done.stderr) == (0, "")
        assert 20 < int(json.loads(done.stdout)["argv"][-1]) <= 30

    def test_a_signature_stays_out_of_the_log(self, node: Node, server: str) -> None:
        node.pin(f"{server}/status/403?X-Amz-Signature=secret", zipapp())
        done = node.run()
        assert_gave_up(done, 2, f"{server}/status/403")
        assert "secret" not in done.stderr

    def test_a_password_stays_out_of_the_log(self, node: Node, server: str) -> None:
        node.pin(f"{server.replace('://', '://user:secret@')}/status/403/@scope", zipapp())
        done = node.run()
        assert_gave_up(done, 2, f"{server}/status/403/@scope")
        assert "secret" not in done.stderr


class TestRefusing:
    @pytest.mark.parametrize("missing", ["SOCI_BOOTSTRAP_ZIPAPP_URL", "SOCI_BOOTSTRAP_ZIPAPP_SHA256"])
    def test_nothing_pinned(self, node: Node, missing: str) -> None:
        node.pin("https://127.0.0.1:1/", zipapp())
        del node.environment[missing]
        assert_gave_up(node.run(), 1, missing)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "ftp://x/y", "/tmp/agent.pyz", "file://host/x"])
    def test_another_kind_of_url(self, node: Node, url: str) -> None:
        node.pin(url, zipapp())
        assert_gave_up(node.run(), 1, url, "expected https://, s3:// or file:///")

    def test_no_place_to_work(self, node: Node) -> None:
        node.pin("https://127.0.0.1:1/", zipapp())
        node.text = node.text.replace(str(node.run_directory), "/nowhere/run")
        assert_gave_up(node.run(), 2, "/nowhere/run", "run this as root")

    def test_no_python(self, node: Node) -> None:
        node.pin("https://127.0.0.1:1/", zipapp())
        node.text = node.text.replace("(3, 9)", "(9, 9)")
        assert_gave_up(node.run(), 2, "Python 3.9")


def test_a_download_cut_short_does_nothing(node: Node, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    node.pin(f"file://{tmp_path}/agent.pyz", zipapp())
    node.environment["BASH_ENV"] = node.environment["ENV"] = ""
    whole = node.text.rstrip("\n")
    # Were any part of it run, it would begin with one of these.
    for name in ("mktemp", "sed", "tr"):
        node.program(name, f"touch {ran}")
    environment = {**node.environment, "PATH": f"{node.bin}:/usr/bin:/bin"}
    lengths = {*range(1, len(whole), 41), *range(len(whole) - 120, len(whole))}
    for length in sorted(lengths):
        part = whole[:length]
        done = subprocess.run(
            ["dash"], input=part, capture_output=True, text=True, env=environment, check=False
        )
        assert done.stdout == ""
        assert not ran.exists(), whole[:length][-40:]


def test_is_small() -> None:
    # The build adds a digest and a URL; what it makes is held to 3 KiB by scripts/build.
    assert len(STUB.read_bytes()) <= 3 * 1024 - 64 - 64

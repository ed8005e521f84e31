"""No thread is the first to import a module of the zipapp: on Python 3.9 another one would see half of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import nodes
from tests.support.corpus import archives, servers
from tests.support.imports import in_threads

pytestmark = pytest.mark.subprocess

SELF_TEST = """
from soci_bootstrap.errors import DecompressorError
from soci_bootstrap.runtime.self_test import self_test
from soci_bootstrap.system import System

try:
    self_test("/bin/true", [], System())
except DecompressorError:
    pass
"""
TRY_OUT = """
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.runtime.images import try_out
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.system import System

System.which = lambda self, name: "/bin/true"
try:
    try_out(Ctr(System(), 5.0))
except BootstrapError:
    pass
"""
REACHABLE = """
from soci_bootstrap.fetch.reachable import ask

ask({"a": sys.argv[1] + "/v2/", "b": "http://127.0.0.1:1/v2/", "c": "https://127.0.0.1:1/v2/"}, {})
"""
FETCH = """
from pathlib import Path

from soci_bootstrap.errors import BootstrapError
from tests.support.fetching import Run, wanted

try:
    Run(Path(sys.argv[1]))(wanted(mirror=sys.argv[2]))
except BootstrapError:
    pass
"""
COMMAND = """
from soci_bootstrap import cli

out, sys.stdout = sys.stdout, sys.stderr
cli.main(sys.argv[1:], {})
sys.stdout = out
"""


@pytest.mark.parametrize("script", [SELF_TEST, TRY_OUT], ids=["self-test", "try-out"])
def test_programs(script: str) -> None:
    assert in_threads(script) == []


def test_registries() -> None:
    with servers.Server(lambda exchange: exchange.reply(200)) as server:
        assert in_threads(REACHABLE, server.origin) == []


def test_doctor(tmp_path: Path) -> None:
    nodes.write(
        tmp_path,
        {
            "/etc/containerd/config.toml": nodes.captured("containerd-nodeadm-static-soci.toml"),
            "/etc/containerd/certs.d/r.test/hosts.toml": 'server = "https://r.test"\n[host."https://m.test"]\n',
            "/etc/eks/containerd-version.txt": "containerd github.com/containerd/containerd v2.2.6 abc",
            "/etc/soci-snapshotter-grpc/config.toml": '[content_store]\ntype = "containerd"\n',
            "/etc/kubernetes/kubelet/config.json": "{}",
            "/run/eks/nodeadm/config.json": '{"spec": {"containerd": {"config": "[a]\\nb = 1\\n"}}}',
            "/etc/eks/nodeadm.d/60.yaml": "spec:\n  containerd:\n    config: |\n      [a]\n",
            "/usr/local/bin/soci-snapshotter-grpc": "",
        },
    )
    assert in_threads(COMMAND, "doctor", "--root", str(tmp_path), "--json") == []


@pytest.mark.parametrize("source", ["directory", "server"])
def test_mirror(tmp_path: Path, source: str) -> None:
    words = [
        "mirror",
        str(tmp_path / "to"),
        "--sha256",
        "0" * 64,
        "--arch",
        "amd64",
        "--soci-version",
        "0.15.0",
    ]
    body = archives.packed(archives.entry(data=b"x"))
    with servers.Server(lambda exchange: exchange.reply(200, body)) as server:
        origin = server.origin if source == "server" else str(tmp_path)
        assert in_threads(COMMAND, *words, "--mirror", origin) == []


def test_fetch(tmp_path: Path) -> None:
    with servers.Server(lambda exchange: exchange.reply(200, b"x")) as server:
        assert in_threads(FETCH, str(tmp_path), server.origin) == []

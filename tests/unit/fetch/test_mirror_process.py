"""`mirror` as a process that is killed at random points, and `install` from what it left, offline."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from soci_bootstrap.fetch import release
from tests.support import trees
from tests.support.corpus import servers
from tests.support.corpus.aws import install_aws
from tests.unit.fetch.test_mirror import BODIES, VERSIONS, check_whole, tree, upstream

pytestmark = pytest.mark.subprocess

AGENT = b"#!/usr/bin/python3 -I\nPK the zipapp"
ASSET = release.asset_path("0.15.0", "amd64")
PINS = {
    version: {
        arch: hashlib.sha256(BODIES[release.asset_path(version, arch)]).hexdigest()
        for arch in release.ARCHITECTURES
    }
    for version in VERSIONS
}
PROGRAM = """
from soci_bootstrap import cli
from soci_bootstrap.fetch import mirror, release, retry
from soci_bootstrap.system import resources
release.PINNED = {pins!r}
resources.agent_bytes = lambda: {agent!r}
mirror.DEFAULT = retry.RetryPolicy(attempts=6, base=0.001)
cli.entry()
"""
PIECE = 20_000


def start(*argv: str, pins: object = PINS, **environ: str) -> subprocess.Popen[str]:
    """The command line's own process; only pins, the zipapp's bytes and back-off are the test's."""
    program = PROGRAM.format(pins=pins, agent=AGENT)
    return subprocess.Popen(
        [sys.executable, "-c", program, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), **environ},
    )


def finished(*argv: str, **environ: str) -> dict[str, Any]:
    """Run it to its good end: what ``--json`` says."""
    process = start(*argv, "--json", **environ)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    document: dict[str, Any] = json.loads(out)
    return document


class Misbehaving:
    """503s and cuts; after so many pieces in all, the client gets the signal.

    Nothing more is sent then, so that a slow death is no way to the end. ``kept`` is a directory in
    which something must have arrived before.
    """

    def __init__(self, chance: random.Random, number: int, kept: Path | None = None) -> None:
        self.chance = chance
        self.number = number
        self.kept = kept
        self.left = 0
        self.client: subprocess.Popen[str] | None = None
        self._started = threading.Event()
        self._gone = threading.Event()
        self._lock = threading.Lock()

    def end(self, pieces: int, *argv: str, **environ: str) -> tuple[int, str]:
        """Run the client until it gets the signal; its status and what it said."""
        self.left = pieces
        self._started.clear()
        self._gone.clear()
        self.client = start(*argv, **environ)
        self._started.set()
        _, said = self.client.communicate(timeout=60)
        self._gone.set()
        return self.client.returncode, said

    def __call__(self, x: servers.Exchange) -> None:
        body = BODIES[x.path.lstrip("/")]
        dice = self.chance.random()
        if dice < 0.2:
            x.reply(503, Retry_After="0")
            return
        end = self.chance.randrange(len(body)) if dice < 0.4 else len(body)
        x.send(f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: "1"\r\n\r\n'.encode())
        for at in range(0, end, PIECE):
            x.send(body[at : min(at + PIECE, end)])
            self._count()

    def _count(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left == 0:
                assert self._started.wait(20)
                assert self.client is not None
                until = time.monotonic() + 20
                while self.kept and not _bytes_below(self.kept) and time.monotonic() < until:
                    time.sleep(0.01)
                self.client.send_signal(self.number)
        if self.left <= 0:
            self._gone.wait(20)
            raise ConnectionError


def _bytes_below(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.partial"))


def correct(directory: Path) -> set[str]:
    """The archives that stand under their final names; each file there must be whole and right."""
    files = tree(directory) if directory.exists() else {}
    for path, data in files.items():
        if path in BODIES:
            assert data == BODIES[path], path
        elif path.endswith(".sha256sum"):
            archive = path.removesuffix(".sha256sum")
            assert data.decode().split() == [
                hashlib.sha256(BODIES[archive]).hexdigest(),
                archive.split("/")[1],
            ]
        elif path == "index.json":
            for listed, entry in json.loads(data)["files"].items():
                assert entry == {
                    "sha256": hashlib.sha256(files[listed]).hexdigest(),
                    "size": len(files[listed]),
                }
        else:
            assert path.endswith(".partial") or path.startswith(("soci-bootstrap.pyz", "bootstrap.sh")), path
    return set(files) & set(BODIES)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_random_points_and_run_again(seed: int, number: signal.Signals, tmp_path: Path) -> None:
    chance = random.Random(seed)
    behave = Misbehaving(chance, number)
    to = tmp_path / "mirror"
    with servers.Server(behave) as server:
        argv = ("mirror", str(to), "--mirror", server.origin)
        for _ in range(4):
            status, said = behave.end(chance.randrange(3, 25), *argv)
            assert status == (-number if number == signal.SIGKILL else 1) or behave.left > 0
            assert "interrupted before the end" in said or number == signal.SIGKILL or behave.left > 0
            there = correct(to)
        server.behave, asked = upstream, len(server.seen)
        document = finished(*argv)
        last = server.seen[asked:]
    assert {x.path.lstrip("/") for x in last} == set(BODIES) - there
    assert not [x for x in server.seen if "range" in x.headers]
    fetched = {file["path"] for file in document["files"] if file["fetched"]}
    assert fetched & set(BODIES) == set(BODIES) - there
    check_whole(to, AGENT)


def test_two_at_once_leave_one_whole_mirror(tmp_path: Path) -> None:
    """The one that comes second to an archive says so; what stands there is right, and complete after it."""
    with servers.Server(upstream) as server:
        argv = ("mirror", str(tmp_path / "mirror"), "--mirror", server.origin)
        both = [start(*argv), start(*argv)]
        for process in both:
            _, said = process.communicate(timeout=60)
            assert process.returncode in (0, 1)
            assert "unexpected" not in said
        correct(tmp_path / "mirror")
        finished(*argv)
    check_whole(tmp_path / "mirror", AGENT)


def test_s3_killed_and_run_again(tmp_path: Path) -> None:
    """No object is ever half there, whatever waits in the cache."""
    environ = install_aws(tmp_path)
    cache = tmp_path / "cache"
    behave = Misbehaving(random.Random(5), signal.SIGKILL, kept=cache)
    bucket = tmp_path / "s3" / "bucket" / "prefix"
    with servers.Server(behave) as server:
        argv = ("mirror", "s3://bucket/prefix", "--mirror", server.origin)
        for pieces in (15, 20):
            assert behave.end(pieces, *argv, **environ)[0] == -signal.SIGKILL
            there = correct(bucket)
        assert _bytes_below(cache)
        server.behave, asked = upstream, len(server.seen)
        finished(*argv, **environ)
        last = server.seen[asked:]
    assert {x.path.lstrip("/") for x in last} == set(BODIES) - there
    assert _bytes_below(cache) == 0
    uploads = [line for line in (tmp_path / "aws.log").read_text().splitlines() if line.startswith("s3 cp /")]
    assert uploads
    assert all("--checksum-algorithm SHA256" in line for line in uploads)
    check_whole(bucket, AGENT)


# -- install from what mirror wrote, with no other network -----------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with servers.Server(upstream) as server:
        finished("mirror", str(tmp_path / "mirror"), "--mirror", server.origin)
    return tmp_path / "mirror"


def install(root: Path, mirror: str, *more: str, pins: object = PINS, **environ: str) -> dict[str, object]:
    """Install into a tree; every way out but loopback leads to a proxy that tells."""
    trees.eks(root)
    machine = ("--vcpus", "4", "--memory-gib", "8", "--arch", "amd64", "--soci-version", "0.15.0")
    with servers.Server(servers.reply(403)) as proxy:
        ways = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy.origin)
        argv = ("install", "--root", str(root), "--mirror", mirror, *machine, *more, "--json")
        process = start(*argv, pins=pins, **ways, **environ)
        out, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert proxy.seen == []
    binary = (root / "usr/local/bin/soci-snapshotter-grpc").read_bytes()
    assert binary == random.Random("0.15.0 amd64").randbytes(600_000)
    document: dict[str, object] = json.loads(out)
    assert document["outcome"] == "installed"
    assert document["sha256"] == PINS["0.15.0"]["amd64"]
    return document


def serving(directory: Path) -> servers.Behave:
    """A plain web server of a directory."""

    def behave(x: servers.Exchange) -> None:
        path = directory / x.path.lstrip("/")
        x.reply(200, path.read_bytes()) if path.is_file() else x.reply(404)

    return behave


def test_install_from_the_directory(filled: Path, tmp_path: Path) -> None:
    install(tmp_path / "pinned", str(filled))
    install(tmp_path / "beside", filled.as_uri(), pins={})


@pytest.mark.parametrize(
    ("pins", "more", "asked"),
    [
        (PINS, (), [ASSET]),
        ({}, ("--sha256", PINS["0.15.0"]["amd64"]), [ASSET]),
        ({}, (), [f"{ASSET}.sha256sum", ASSET]),
    ],
    ids=["pinned", "--sha256", ".sha256sum"],
)
def test_install_over_https(
    pins: object, more: tuple[str, ...], asked: list[str], filled: Path, tmp_path: Path
) -> None:
    with servers.Server(serving(filled), "server.pem") as server:
        install(tmp_path / "root", server.origin, *more, pins=pins, SSL_CERT_FILE=servers.CA)
        assert [x.path.lstrip("/") for x in server.seen] == asked


def test_install_through_the_proxy_that_nodeadm_gave_the_node(filled: Path, tmp_path: Path) -> None:
    """mirror.test is no name anywhere: only the proxy in systemd's default environment knows its way."""
    root = tmp_path / "root"
    trees.eks(root)
    machine = ("--vcpus", "4", "--memory-gib", "8", "--arch", "amd64", "--soci-version", "0.15.0")
    with servers.Server(
        lambda x: x.reply(200, BODIES[x.path.partition("?")[0].removeprefix("http://mirror.test/base/")])
    ) as proxy:
        secret = proxy.origin.replace("://", f"://user:{servers.SECRET}@")
        trees.put(
            root,
            "/etc/systemd/system.conf.d/environment.conf",
            f'[Manager]\nDefaultEnvironment="HTTP_PROXY={secret}"\nDefaultEnvironment="NO_PROXY=other.test"\n',
        )
        argv = (
            *("install", "--root", str(root), "--json", "-v", *machine),
            *("--mirror", f"http://mirror.test/base?X-Amz-Signature={servers.SECRET}"),
        )
        process = start(*argv)
        out, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert [x.path.partition("?")[0] for x in proxy.seen] == [f"http://mirror.test/base/{ASSET}"]
        assert f"Signature={servers.SECRET}" in proxy.seen[0].path
        assert proxy.seen[0].headers["proxy-authorization"].startswith("Basic ")

    kept = "".join(path.read_text() for path in (root / "var/lib/soci-bootstrap").rglob("*.json"))
    assert kept
    for told in (out, said, kept):
        assert servers.SECRET not in told

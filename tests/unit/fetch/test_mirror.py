from __future__ import annotations

import fcntl
import hashlib
import io
import json
import random
import stat
from dataclasses import replace

import pytest

from soci_bootstrap.cli.commands import mirror as mirror_
from soci_bootstrap.cli.commands.mirror import wanted
from soci_bootstrap.errors import FetchError, UsageError
from soci_bootstrap.fetch import mirror as module
from soci_bootstrap.fetch import release
from soci_bootstrap.fetch.binary import fetch_binary
from soci_bootstrap.fetch.mirror import Mirrored, mirror
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import resources
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from tests.support.corpus import archives, servers
from tests.support.corpus.aws import install_aws

QUICK = RetryPolicy(attempts=4, base=0.001)
VERSIONS = ("0.14.1", "0.15.0")
BODIES = {
    release.asset_path(version, arch): archives.packed(
        archives.entry(data=random.Random(f"{version} {arch}").randbytes(600_000))
    )
    for version in VERSIONS
    for arch in release.ARCHITECTURES
}


@pytest.fixture(autouse=True)
def _pins(monkeypatch) -> None:
    pins = {
        version: {
            arch: hashlib.sha256(BODIES[release.asset_path(version, arch)]).hexdigest()
            for arch in release.ARCHITECTURES
        }
        for version in VERSIONS
    }
    monkeypatch.setattr(release, "PINNED", pins)


@pytest.fixture
def agent(monkeypatch) -> bytes:
    monkeypatch.setattr(resources, "agent_bytes", lambda: b"#!/usr/bin/python3 -I\nPK the zipapp")
    return resources.agent_bytes()


def upstream(x: servers.Exchange) -> None:
    body = BODIES.get(x.path.lstrip("/"))
    x.reply(404) if body is None else x.reply(200, body, ETag='"1"')


def requests(server: servers.Server, **narrowed: str) -> tuple[Request, ...]:
    return wanted(Settings("mirror", mirror=server.origin, **narrowed))


def run(server: servers.Server, destination: object, environ=None, **narrowed: str) -> Mirrored:
    return mirror(
        requests(server, **narrowed),
        str(destination),
        Deadline(30),
        Console(0, io.StringIO()),
        environ or {},
        policy=QUICK,
    )


def tree(directory) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def check_whole(directory, agent: bytes) -> None:
    files = tree(directory)
    sidecars = {
        f"{path}.sha256sum": f"{hashlib.sha256(body).hexdigest()}  {path.split('/')[1]}\n".encode()
        for path, body in BODIES.items()
    }
    assert {path: files.pop(path) for path in BODIES} == BODIES
    assert {path: files.pop(path) for path in sidecars} == sidecars
    index = json.loads(files.pop("index.json"))["files"]
    digest = hashlib.sha256(agent).hexdigest()
    assert files.pop("soci-bootstrap.pyz") == agent
    assert files.pop("soci-bootstrap.pyz.sha256") == f"{digest}  soci-bootstrap.pyz\n".encode()
    assert digest.encode() in files.pop("bootstrap.sh")
    assert files == {}
    assert index == {
        path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for path, data in tree(directory).items()
        if path != "index.json"
    }


def test_everything(tmp_path, agent) -> None:
    with servers.Server(upstream) as server:
        result = run(server, tmp_path)
    assert result.failures == ()
    check_whole(tmp_path, agent)
    assert stat.S_IMODE((tmp_path / "v0.15.0").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / release.asset_path("0.15.0", "arm64")).stat().st_mode) == 0o644


def test_again_fetches_and_writes_nothing(tmp_path, agent) -> None:
    with servers.Server(upstream) as server:
        run(server, tmp_path)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        asked = len(server.seen)
        result = run(server, tmp_path)
        assert len(server.seen) == asked
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert not any(file.fetched for file in result.files)


def test_two_mirrors_are_the_same_bytes(tmp_path, agent) -> None:
    with servers.Server(upstream) as server:
        run(server, tmp_path / "a")
        run(server, tmp_path / "b", arch="arm64")
        run(server, tmp_path / "b", soci_version="0.15.0")
        run(server, tmp_path / "b", soci_version="0.14.1", arch="amd64")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_what_is_damaged_is_fetched_again(tmp_path, agent) -> None:
    damaged = tmp_path / release.asset_path("0.15.0", "amd64")
    with servers.Server(upstream) as server:
        run(server, tmp_path)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        (tmp_path / "index.json").write_text("nonsense")
        result = run(server, tmp_path)
    assert [file.path for file in result.files if file.fetched] == [release.asset_path("0.15.0", "amd64")]
    check_whole(tmp_path, agent)


def test_only_from_a_checkout_without_the_zipapp(tmp_path) -> None:
    with servers.Server(upstream) as server:
        result = run(server, tmp_path)
    assert result.failures == ()
    assert not (tmp_path / "soci-bootstrap.pyz").exists()


def test_one_that_fails_does_not_stop_the_others(tmp_path, agent) -> None:
    missing = release.asset_path("0.14.1", "arm64")

    def without(x: servers.Exchange) -> None:
        x.reply(404) if x.path.endswith(missing) else upstream(x)

    with servers.Server(without) as server:
        result = run(server, tmp_path)
        (failure,) = result.failures
        assert "HTTP status 404" in failure
        assert sum(path in tree(tmp_path) for path in BODIES) == len(BODIES) - 1
        assert missing not in json.loads((tmp_path / "index.json").read_text())["files"]
        assert not [path for path in tree(tmp_path) if path.endswith(".partial")]
        server.behave = upstream
        assert run(server, tmp_path).failures == ()
    check_whole(tmp_path, agent)


def test_the_wrong_archive_leaves_nothing(tmp_path) -> None:
    with servers.Server(servers.reply(body=servers.BODY)) as server:
        result = run(server, tmp_path)
    assert len(result.failures) == 4
    assert "is not SOCI" in result.failures[0]
    assert set(tree(tmp_path)) == {"index.json"}


def test_broken_off_again_and_again(tmp_path, agent) -> None:
    """Cut at a random byte each time: nothing half stays, and each request is for all of it."""
    chance = random.Random(7)

    def cutting(x: servers.Exchange) -> None:
        body = BODIES[x.path.lstrip("/")]
        x.reply(503) if chance.random() < 0.2 else x.reply(
            200, body[: chance.randrange(len(body))], len(body), ETag='"1"'
        )

    with servers.Server(cutting) as server:
        for _ in range(2):
            assert len(run(server, tmp_path).failures) == len(BODIES)
        assert not [path for path in tree(tmp_path) if path in BODIES or path.endswith(".partial")]
        server.behave = upstream
        assert run(server, tmp_path).failures == ()
        assert not [x for x in server.seen if "range" in x.headers]
    check_whole(tmp_path, agent)


@pytest.mark.parametrize("left", ["beginning", "whole", "garbage", "too much"])
def test_what_a_killed_run_left_is_not_built_upon(tmp_path, left: str) -> None:
    path = release.asset_path("0.15.0", "amd64")
    body = BODIES[path]
    data = {"beginning": body[:99], "whole": body, "garbage": b"?" * 1000, "too much": body + b"more"}[left]
    partial = tmp_path / f"{path}.{hashlib.sha256(body).hexdigest()[:16]}.partial"
    partial.parent.mkdir()
    partial.write_bytes(data)
    with servers.Server(upstream) as server:
        assert run(server, tmp_path, soci_version="0.15.0", arch="amd64").failures == ()
        assert len(server.seen) == 1
        assert "range" not in server.seen[0].headers
    assert (tmp_path / path).read_bytes() == body
    assert not partial.exists()


@pytest.mark.parametrize("finished", [False, True])
def test_an_archive_that_another_run_fetches_is_left_alone(tmp_path, monkeypatch, finished: bool) -> None:
    """``finished``: the other one gave it its final name after this one had opened it."""
    path = release.asset_path("0.15.0", "amd64")
    partial = tmp_path / f"{path}.{hashlib.sha256(BODIES[path]).hexdigest()[:16]}.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"the other one's")
    other = partial.open("rb")
    fcntl.flock(other, fcntl.LOCK_EX)
    if finished:

        def flock(file, how: int) -> None:
            partial.rename(tmp_path / path)

        monkeypatch.setattr(fcntl, "flock", flock)
    with other, servers.Server(upstream) as server:
        result = run(server, tmp_path, soci_version="0.15.0", arch="amd64")
    assert "another mirror run" in result.failures[0]
    assert (tmp_path / path if finished else partial).read_bytes() == b"the other one's"


def test_install_reads_what_mirror_wrote(tmp_path) -> None:
    with servers.Server(upstream) as server:
        run(server, tmp_path / "mirror")
    for version in VERSIONS:
        staged = tmp_path / f"{version}.tmp"
        request = Request(version, "arm64", mirror=str(tmp_path / "mirror"))
        fetched = fetch_binary(request, str(staged), Deadline(10), Console(-1), {})
        assert fetched.warning is None
        assert staged.stat().st_size == 600_000


def test_a_version_that_is_not_pinned_brings_its_digest_along(tmp_path) -> None:
    digest = hashlib.sha256(servers.BODY).hexdigest()
    with servers.Server(servers.reply()) as server:
        request = replace(requests(server)[0], version="0.99.0", sha256=digest)
        mirror([request], str(tmp_path), Deadline(10), Console(-1), {}, policy=QUICK)
    staged = tmp_path / "staged.tmp"
    fetched = fetch_binary(
        Request("0.99.0", request.arch, mirror=str(tmp_path)), str(staged), Deadline(10), Console(-1), {}
    )
    assert fetched.archive_sha256 == digest
    assert fetched.warning is not None


@pytest.mark.parametrize(
    "destination", ["", "https://mirror.test/x", "s3://", "s3:///prefix", "file://host/x"]
)
def test_places_that_can_not_be_written(destination: str) -> None:
    with pytest.raises(UsageError):
        mirror([], destination, Deadline(1), Console(-1), {}, policy=QUICK)


def test_a_mirror_is_not_fetched_from_itself() -> None:
    with pytest.raises(UsageError, match="expected a place to fetch from"):
        mirror_.run(Settings("mirror", operand="s3://bucket/x", mirror="s3://bucket/x/"), Console(-1))


def test_a_directory_that_can_not_be_made(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with servers.Server(upstream) as server, pytest.raises(FetchError, match="can't write"):
        run(server, tmp_path / "file")


def test_what_the_command_says(tmp_path, monkeypatch) -> None:
    settings = Settings("mirror", operand=str(tmp_path))
    file = module.MirroredFile("v0.15.0/x.tar.gz", "ab" * 32, 3, True)
    monkeypatch.setattr(mirror_, "mirror", lambda *_, **__: Mirrored((file,), ()))
    done = mirror_.run(settings, Console(-1))
    assert (done.exit_status, done.document["outcome"], done.document["reason"]) == (0, "done", None)
    assert done.document["destination"] == str(tmp_path)
    assert done.document["files"] == [
        {"path": "v0.15.0/x.tar.gz", "sha256": "ab" * 32, "size": 3, "fetched": True}
    ]
    assert done.text.splitlines()[0] == f"{'ab' * 32}  v0.15.0/x.tar.gz"
    assert f"--mirror {tmp_path}" in done.text
    monkeypatch.setattr(mirror_, "mirror", lambda *_, **__: Mirrored((file,), ("one", "another")))
    failed = mirror_.run(settings, Console(-1))
    assert (failed.exit_status, failed.document["outcome"]) == (1, "failed")
    assert failed.document["reason"] == "one; another"
    assert failed.text == f"{'ab' * 32}  v0.15.0/x.tar.gz"


def test_run_takes_the_deadline_only_if_it_was_given(monkeypatch, tmp_path) -> None:
    seen = []

    def noted(_requests, _destination, deadline: Deadline, *_arguments, **_policy) -> Mirrored:
        seen.append(deadline.seconds)
        return Mirrored((), ())

    monkeypatch.setattr(mirror_, "mirror", noted)
    settings = Settings("mirror", operand=str(tmp_path))
    mirror_.run(settings, Console(-1))
    mirror_.run(replace(settings, deadline=7.0, given=frozenset({"deadline"})), Console(-1))
    assert seen == [module.PATIENCE, 7.0]


# -- S3, with a stand-in for the aws CLI -----------------------------------------------------


@pytest.mark.subprocess
def test_s3(tmp_path, agent) -> None:
    environ = install_aws(tmp_path)
    with servers.Server(upstream) as server:
        assert run(server, "s3://bucket/some/prefix/", environ).failures == ()
        stub = (tmp_path / "s3" / "bucket" / "some/prefix/bootstrap.sh").read_text()
        assert "s3://bucket/some/prefix/soci-bootstrap.pyz" in stub
        check_whole(tmp_path / "s3" / "bucket" / "some" / "prefix", agent)
        asked, calls = len(server.seen), (tmp_path / "aws.log").read_text()
        assert "--checksum-algorithm SHA256" in calls
        again = run(server, "s3://bucket/some/prefix/", environ)
        assert len(server.seen) == asked
    assert not any(file.fetched for file in again.files)
    assert " cp /" not in (tmp_path / "aws.log").read_text()[len(calls) :]
    scratch = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert scratch == []
    staged = tmp_path / "staged.tmp"
    fetch_binary(
        Request("0.15.0", "amd64", mirror="s3://bucket/some/prefix"),
        str(staged),
        Deadline(20),
        Console(-1),
        environ,
    )
    assert staged.stat().st_size == 600_000


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "says",
    [
        "An error occurred (403) when calling HeadObject: Forbidden",
        "An error occurred (AccessDenied): arn:aws:iam::404404404404:user/me may not s3:GetObject",
    ],
)
def test_s3_without_rights(tmp_path, says: str) -> None:
    environ = install_aws(tmp_path) | {"AWS_SAYS": says}
    with servers.Server(upstream) as server, pytest.raises(FetchError, match=r"40[34].*s3:ListBucket"):
        run(server, "s3://bucket/prefix", environ)


@pytest.mark.subprocess
@pytest.mark.parametrize("prefix", ["it's", "a b}", "$(exit 9)", "`exit 9`"])
def test_what_a_shell_would_act_on_gets_into_no_stub(tmp_path, agent, prefix: str) -> None:
    environ = install_aws(tmp_path)
    with servers.Server(upstream) as server:
        assert run(server, f"s3://bucket/{prefix}", environ, soci_version="0.15.0").failures == ()
    stub = (tmp_path / "s3" / "bucket" / prefix / "bootstrap.sh").read_text()
    assert prefix not in stub
    assert "@ZIPAPP_URL@" in stub

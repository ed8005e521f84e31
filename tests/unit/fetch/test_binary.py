from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from soci_bootstrap.errors import (
    ArchiveError,
    BootstrapError,
    DeadlineError,
    DigestMismatchError,
    FetchError,
    UsageError,
)
from soci_bootstrap.fetch import binary, download, staged
from soci_bootstrap.fetch.binary import fetch_binary
from soci_bootstrap.fetch.threads import Worker
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from tests.support.corpus import archives, server_cases, servers
from tests.support.fetching import DIGEST, PATH, Run, wanted, written


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize("case", server_cases.CASES, ids=lambda case: case.name)
def test_servers(case: servers.Case, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(binary, "ARCHIVE_LIMIT", 32 << 20)
    run = Run(tmp_path, case.deadline)
    with server_cases.running(case) as server:
        scheme, host = server.origin.split("://")
        secret = f"{scheme}://user:{servers.SECRET}@{host}/base?sig={servers.SECRET}"
        request = wanted(mirror=secret)
        if case.error is None:
            fetched = run(request, SSL_CERT_FILE=servers.CA)
            assert run.staged.read_bytes() == servers.PROGRAM
            assert run.staged.stat().st_mode & 0o7777 == 0o700
            assert fetched.archive_sha256 == DIGEST
            assert fetched.binary_sha256 == hashlib.sha256(servers.PROGRAM).hexdigest()
            assert fetched.binary_size == len(servers.PROGRAM)
            assert fetched.seconds_waited >= case.waited
        else:
            with pytest.raises((FetchError, DeadlineError), match=case.error) as caught:
                run(request, SSL_CERT_FILE=servers.CA)
            assert servers.SECRET not in str(caught.value)
            assert caught.value.found
            assert caught.value.remedy
            assert list(run.staged.parent.iterdir()) == []
        assert servers.SECRET not in run.said.getvalue()
        if case.requests is not None:
            assert len(server.seen) == case.requests
        for seen in server.seen:
            assert seen.headers["accept-encoding"] == "identity"


def test_case_names_are_unique() -> None:
    names = [case.name for case in server_cases.CASES]
    assert sorted(set(names)) == sorted(names)


def test_address_below_a_mirror(run) -> None:
    with servers.Server(servers.GOOD) as server:
        run(wanted(mirror=f"{server.origin}/deep/base/?token=1"))
        assert server.seen[0].path == f"/deep/base/{PATH}?token=1"


def test_ipv6_only(run) -> None:
    with servers.Server(servers.GOOD, family=servers.socket.AF_INET6) as server:
        run(wanted(mirror=server.origin))
    assert run.staged.read_bytes() == servers.PROGRAM


@pytest.mark.parametrize("same", [True, False])
def test_credentials_stay_with_their_origin(run, same: bool) -> None:
    with servers.Server(servers.GOOD) as other:
        target = "{origin}/elsewhere" if same else f"{other.origin}/elsewhere"
        with servers.Server(servers.first(servers.redirect(target), servers.GOOD)) as server:
            run(wanted(mirror=server.origin.replace("://", "://user:hunter2@")))
            assert server.seen[0].headers["authorization"].startswith("Basic ")
            last = (server if same else other).seen[-1]
    assert last.path == "/elsewhere"
    assert ("authorization" in last.headers) is same


def test_no_netrc(run, tmp_path, monkeypatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with servers.Server(servers.GOOD) as server:
        run(wanted(mirror=server.origin))
        assert "authorization" not in server.seen[0].headers


def test_nobody_listens(run) -> None:
    with servers.Server(servers.GOOD) as server:
        origin = server.origin
    with pytest.raises(FetchError, match="Connection refused"):
        run(wanted(mirror=origin))


def test_plain_http_on_an_https_port(run) -> None:
    with servers.Server(servers.GOOD) as server, pytest.raises(FetchError, match="no TLS connection"):
        run(wanted(mirror=server.origin.replace("http://", "https://")), SSL_CERT_FILE=servers.CA)


@pytest.mark.parametrize(
    "text", ["", "garbage\n", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_bundle_that_is_none(run, tmp_path, text: str) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(text)
    with servers.Server(servers.GOOD, "server.pem") as server:
        with pytest.raises(FetchError, match=rf"no certificate that can be read in {bundle}, expected a PEM"):
            run(wanted(mirror=server.origin), SSL_CERT_FILE=str(bundle))
        assert server.seen == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(run) -> None:
    with servers.Server(servers.GOOD, "server.pem") as server:
        server._context.maximum_version = servers.ssl.TLSVersion.TLSv1_1
        server._context.minimum_version = servers.ssl.TLSVersion.TLSv1
        server._context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(FetchError, match="no TLS connection"):
            run(wanted(mirror=server.origin), SSL_CERT_FILE=servers.CA)
        assert server.seen == []


# -- proxies ---------------------------------------------------------------------------------


def test_http_goes_through_the_proxy(run) -> None:
    with servers.Server(servers.GOOD) as proxy:
        run(
            wanted(mirror="http://mirror.test/base"),
            http_proxy=proxy.origin.replace("://", "://user:hunter2@"),
            NO_PROXY="other.test",
        )
        assert proxy.seen[0].path == f"http://mirror.test/base/{PATH}"
        assert proxy.seen[0].headers["proxy-authorization"].startswith("Basic ")
    assert servers.SECRET not in run.said.getvalue()


def test_https_asks_the_proxy_for_a_tunnel(run) -> None:
    with servers.Server(servers.reply(407, b"")) as proxy:
        with pytest.raises(
            FetchError, match=r"the proxy refuses to connect to https://mirror\.test"
        ) as caught:
            run(wanted(mirror="https://mirror.test"), HTTPS_PROXY=proxy.origin, SSL_CERT_FILE=servers.CA)
        assert proxy.seen[0].path == "mirror.test:443"
    assert "407" in str(caught.value)


def test_a_proxy_that_does_not_answer_is_named(run) -> None:
    with pytest.raises(FetchError, match=r"no answer through the proxy http://127\.0\.0\.1:1 \(Connection"):
        run(wanted(mirror="http://mirror.test"), HTTP_PROXY="http://user:hunter2@127.0.0.1:1")


@pytest.mark.parametrize("proxy", ["socks5://user:hunter2@proxy.test", "http://user:hun/ter2@proxy.test"])
def test_a_proxy_that_can_not_be_used(run, proxy: str) -> None:
    with pytest.raises(FetchError, match=r"found \w+://proxy\.test, expected http://host:port") as caught:
        run(wanted(mirror="https://mirror.test"), HTTPS_PROXY=proxy, SSL_CERT_FILE=servers.CA)
    assert "ter2" not in str(caught.value)


# -- local sources ---------------------------------------------------------------------------


def test_tarball(run, tmp_path) -> None:
    tarball = tmp_path / "any name"
    tarball.write_bytes(servers.BODY)
    fetched = run(wanted(tarball=str(tarball)))
    assert run.staged.read_bytes() == servers.PROGRAM
    assert fetched.requests == 1
    assert fetched.warning is None


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "file://localhost{}"])
def test_directory_as_a_mirror(run, tmp_path, form: str) -> None:
    written(tmp_path / "a mirror")
    run(wanted(mirror=form.format(tmp_path / "a mirror").replace(" ", "%20" if "file:" in form else " ")))
    assert run.staged.read_bytes() == servers.PROGRAM


def test_local_sources_that_are_none(run, tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, problem in (
        ("absent", "No such file"),
        ("fifo", "not a regular file"),
        (".", "not a regular file"),
    ):
        with pytest.raises(FetchError, match=problem):
            run(wanted(tarball=str(tmp_path / path)))
    with pytest.raises(UsageError, match="expected an https, http, s3 or file URL"):
        run(wanted(mirror="file://otherhost/mirror"))


@pytest.mark.parametrize(
    "case", [case for case in archives.CASES if len(case.data) < 20_000], ids=lambda case: case.name
)
def test_archives_through_the_whole_path(case: archives.Case, run, tmp_path) -> None:
    tarball = tmp_path / "archive"
    tarball.write_bytes(case.data)
    if case.problem is None:
        run(wanted(case.data, tarball=str(tarball)))
        assert run.staged.read_bytes() == archives.PROGRAM
    else:
        with pytest.raises(ArchiveError):
            run(wanted(case.data, tarball=str(tarball)))
        assert list(run.staged.parent.iterdir()) == []


def test_the_wrong_digest_goes_before_the_wrong_archive(run, tmp_path) -> None:
    tarball = tmp_path / "archive"
    tarball.write_bytes(servers.BODY[:-100])
    with pytest.raises(DigestMismatchError, match="cut short"):
        run(wanted(tarball=str(tarball)))


def test_what_is_fetched_is_said(run, tmp_path) -> None:
    told = []

    class Told(Console):
        def progress(self, label: str, done: int, total: int | None) -> None:
            told.append((label, done, total))

    source = str(written(tmp_path))
    fetch_binary(wanted(tarball=source), str(run.staged), Deadline(10), Told(0, run.said), {})
    assert run.said.getvalue() == f"soci-bootstrap: fetching {source}\n"
    assert {label for label, _, _ in told} == {"fetching"}
    assert told[-1][1:] == (len(servers.BODY), len(servers.BODY))


# -- signals ---------------------------------------------------------------------------------


def test_a_signal_leaves_nothing_behind(run, tmp_path) -> None:
    class Interrupting(Console):
        def progress(self, label: str, done: int, total: int | None) -> None:
            if done:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_binary(
            wanted(mirror=str(written(tmp_path).parents[1])),
            str(run.staged),
            Deadline(10),
            Interrupting(0, run.said),
            {},
        )
    assert list(run.staged.parent.iterdir()) == []


STOPPED = """
import os, sys
from soci_bootstrap.fetch.binary import fetch_binary
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.system import signals
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
signals.handle()
try:
    fetch_binary(Request("0.15.0", "amd64", sha256="0" * 64, mirror=sys.argv[1]), sys.argv[2], Deadline(60),
                 Console(), os.environ)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("begun", [False, True], ids=["no answer", "in the middle"])
def test_a_signal_ends_a_download_that_waits(tmp_path, number: int, begun: bool) -> None:
    waits = threading.Event()

    def stall(x: servers.Exchange) -> None:
        if begun:
            x.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(servers.BODY))
            x.send(servers.BODY[: servers.HALF])
        waits.set()
        x.pause(servers.PATIENCE)

    with servers.Server(stall) as server:
        argv = [sys.executable, "-c", STOPPED, server.origin, str(tmp_path / "staged.tmp")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert waits.wait(20)
            process.send_signal(number)
            # The server would go on waiting, the deadline is farther off.
            out, _ = process.communicate(timeout=servers.PATIENCE / 2)
    assert (out, process.returncode) == (b"stopped\n", 0)
    assert list(tmp_path.iterdir()) == []


def blocked() -> set[int]:
    """The signals that are not given to this thread."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_a_signal_is_given_to_no_thread_of_a_fetch(run, tmp_path, monkeypatch) -> None:
    """One that waits for a server or a disk would keep it to itself until that wait is over."""
    masks: dict[str, set[int]] = {}

    def note(work):
        def noted(*arguments):
            masks[threading.current_thread().name] = blocked()
            return work(*arguments)

        return noted

    monkeypatch.setattr(staged.StagedFile, "write", note(staged.StagedFile.write))
    monkeypatch.setattr(download.Download, "_attempts", note(download.Download._attempts))
    mine = blocked()
    run(wanted(mirror=str(written(tmp_path).parents[1])))
    assert masks.keys() == {"writing", "download"}
    assert all(mask >= {signal.SIGTERM, signal.SIGINT} for mask in masks.values())
    assert blocked() == mine


def test_a_second_signal_waits_for_what_still_works() -> None:
    """Or a block would be written after its file was closed, to whatever file has its number then."""
    begun = threading.Event()
    done: list[bytes] = []

    def work(data: bytes) -> None:
        begun.set()
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        done.append(data)

    def interrupted() -> None:
        with Worker("writing", work) as worker:
            worker.put(b"a block")
            begun.wait(20)
            raise FetchError("as the first one would")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [b"a block"]


def test_every_error_is_one_of_ours() -> None:
    for kind in (FetchError, DigestMismatchError, ArchiveError, DeadlineError, UsageError):
        assert issubclass(kind, BootstrapError)


# -- memory ----------------------------------------------------------------------------------

MEASURE = """
import os, re, sys
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.fetch.binary import fetch_binary
from soci_bootstrap.fetch.release import Request
fetch_binary(Request("0.15.0", "amd64", sha256=sys.argv[2], mirror=sys.argv[1]), sys.argv[3], Deadline(60),
             Console(), os.environ)
# Not ru_maxrss: that remembers the process which started this one.
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("megabytes", [60, 300])
def test_memory_stays_flat(tmp_path, megabytes: int) -> None:
    program = (servers.PROGRAM[:100_000] + b"\0" * 900_000) * megabytes
    body = archives.packed(archives.entry(data=program), level=1)
    staged_path = tmp_path / "staged.tmp"
    with servers.Server(servers.reply(body=body)) as server:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                MEASURE,
                server.origin,
                hashlib.sha256(body).hexdigest(),
                str(staged_path),
            ],
            check=True,
            stdout=subprocess.PIPE,
            timeout=60,
        )
    assert staged_path.stat().st_size == megabytes * 1_000_000
    assert int(done.stdout) <= 48 * 1024

"""What servers do on a bad day, or in bad hands, and what must become of a fetch from each."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from tests.support.corpus.servers import (
    BODY,
    CUT,
    GOOD,
    HALF,
    OLD,
    PATIENCE,
    Behave,
    Case,
    Exchange,
    Server,
    first,
    redirect,
    reply,
)


def _from_scratch(x: Exchange) -> None:
    assert "range" not in x.headers, x.headers
    x.reply(200, BODY)


def _chunked(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    for at in range(0, len(BODY), 100_000):
        piece = BODY[at : at + 100_000]
        x.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    x.send(b"0\r\n\r\n")


def _chunked_cut(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    x.send(b"%x\r\n%s" % (len(BODY), BODY[:HALF]))


def _chunked_nonsense(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a number\r\n" + BODY)


def _until_closed(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY)


def _endless(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY)
    for _ in range(200):
        x.send(b"\0" * 1_000_000)


def _endless_redirect(x: Exchange) -> None:
    if "elsewhere" in x.path:
        x.reply(200, BODY)
        return
    x.send(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        x.send(b"\0" * 1_000_000)


def _drip(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    _drips(x, BODY)


def _drip_headers(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\n")
    _drips(x, b"X-Slow: aaaaaaaaaaaaaaaaaaaaa\r\n" * 1000)


def _drips(x: Exchange, data: bytes) -> None:
    for at in range(int(PATIENCE / 0.05)):
        x.send(data[at : at + 1])
        x.pause(0.05)


def _silence(x: Exchange) -> None:
    x.pause(PATIENCE)


def _stall(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY[:HALF])
    x.pause(PATIENCE)


def _long_line(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"a" * 2_000_000 + b"\r\n\r\n")


def _many_lines(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\n" + b"X-Many: a\r\n" * 20_000 + b"\r\n")


def _bytes(data: bytes) -> Behave:
    return lambda x: x.send(data)


def _hang_up(x: Exchange) -> None:
    x.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end


def _date(seconds: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))


CASES: tuple[Case, ...] = (
    # Servers that a fetch must cope with.
    Case("good", GOOD, requests=1),
    Case("chunked", _chunked, requests=1),
    Case("no length", _until_closed, requests=1),
    Case("calls the archive an encoding", reply(Content_Encoding="gzip"), requests=1),
    Case("length negative", reply(length=-1), requests=1),
    Case("redirect", first(redirect("/elsewhere"), GOOD), requests=2),
    Case("redirect to itself in full", first(redirect("{origin}/elsewhere", 307), GOOD), requests=2),
    Case("five redirects", first(*[redirect("/again")] * 5, GOOD), requests=6),
    Case("redirect with an endless body", _endless_redirect, requests=2),
    Case("503 once", first(reply(503), GOOD), requests=2),
    Case("every 5xx", first(*[reply(status) for status in (500, 502, 599)], GOOD), requests=4),
    Case("429 with seconds", first(reply(429, Retry_After="1"), GOOD), requests=2, waited=1.0),
    Case(
        "503 with a date", first(lambda x: x.reply(503, Retry_After=_date(2)), GOOD), requests=2, waited=0.5
    ),
    Case(
        "503 with a date long past",
        first(reply(503, Retry_After="Fri, 01 Jan 1999 00:00:00 GMT"), GOOD),
        requests=2,
    ),
    Case("503 with nonsense", first(reply(503, Retry_After="soon"), GOOD), requests=2),
    Case("408 and 425", first(reply(408), reply(425), GOOD), requests=3),
    Case("reset before an answer", first(_hang_up, _hang_up, GOOD), requests=3),
    Case("ends before an answer", first(lambda _: None, GOOD), requests=2),
    Case("no HTTP at first", first(_bytes(b"220 smtp ready\r\n"), GOOD), requests=2),
    Case("cut", first(CUT, _from_scratch), requests=2),
    Case("cut twice", first(CUT, CUT, _from_scratch), requests=3),
    Case("cut, then 503", first(CUT, reply(503), _from_scratch), requests=3),
    Case("cut, chunked", first(_chunked_cut, _from_scratch), requests=2),
    Case("changed in between", first(reply(body=OLD[:HALF], length=len(OLD)), _from_scratch), requests=2),
    Case("length too large once", first(reply(length=len(BODY) + 5), GOOD), requests=2),
    Case("good over TLS", GOOD, requests=1, certificate="server.pem"),
    Case("cut over TLS", first(CUT, _from_scratch), requests=2, certificate="server.pem"),
    # Servers that no fetch may get anything from.
    Case("404", reply(404, b"no"), "HTTP status 404", 1),
    Case("403", reply(403, b"no"), "HTTP status 403", 1),
    Case("401", reply(401, b"no", WWW_Authenticate="Basic"), "HTTP status 401", 1),
    Case("410", reply(410, b"no"), "HTTP status 410", 1),
    Case("204", reply(204, b""), "HTTP status 204", 1),
    Case("304", reply(304, b""), "HTTP status 304", 1),
    Case(
        "206 unasked",
        lambda x: x.reply(206, BODY, Content_Range=f"bytes 0-{len(BODY) - 1}/{len(BODY)}"),
        "HTTP status 206",
        1,
    ),
    Case("503 for ever", reply(503), "4 requests failed, the last: the server answered 503", 4),
    Case("429 for ever", reply(429), "the server answered 429", 4),
    Case("429 beyond the deadline", reply(429, Retry_After="3600"), "within the", 1),
    Case("always cut", CUT, "4 requests failed.*it was cut short", 4),
    Case("length too large", reply(length=len(BODY) + 5), "4 requests failed", 4),
    Case("length too small", reply(length=1000), "sha256 [0-9a-f]{64} .the archive is cut short", 1),
    Case(
        "two lengths",
        _bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello"),
        "requests failed",
    ),
    Case("length absurd", reply(length=10**14), "too large: found 100000000000000 bytes", 1),
    Case("endless", _endless, "too large", 1),
    Case("chunked nonsense", _chunked_nonsense, "4 requests failed", 4),
    Case("drip", _drip, "deadline passed|within the", deadline=0.7),
    Case("drip in the headers", _drip_headers, "deadline passed|within the", deadline=0.7),
    Case("silence", _silence, "deadline passed|timed out", deadline=0.7),
    Case("stalls in the middle", _stall, "deadline passed|timed out", deadline=0.7),
    Case("huge header", _long_line, "headers larger than", 1),
    Case("too many headers", _many_lines, "headers larger than", 1),
    Case("never HTTP", _bytes(b"SSH-2.0-OpenSSH_9.6\r\n"), "4 requests failed", 4),
    Case("never anything", lambda _: None, "4 requests failed", 4),
    Case("redirect loop", redirect("{path}"), "more than 5 redirects", 6),
    Case("redirect that grows", redirect("{path}a"), "more than 5 redirects", 6),
    Case("redirect to nowhere", reply(302, b""), "HTTP status 302", 1),
    Case("redirect to a file", redirect("file:///etc/passwd"), "a redirect to file:///etc/passwd", 1),
    Case("redirect to ftp", redirect("ftp://127.0.0.1/x"), "a redirect to ftp", 1),
    Case("redirect to s3", redirect("s3://bucket/x"), "a redirect to s3", 1),
    Case("redirect to nonsense", redirect("http://[::bad/"), "redirect|URL", 1),
    Case(
        "redirect from https to http",
        redirect("http://127.0.0.1:9/x"),
        "expected a redirect to https",
        1,
        "server.pem",
    ),
    Case(
        "a login page", reply(body=b"<html>Sign in</html>"), "sha256 [0-9a-f]{64} .the archive is not gzip", 1
    ),
    Case("another archive", reply(body=OLD), "is not SOCI 0.15.0 amd64, and was deleted", 1),
    Case(
        "one bit changed",
        reply(body=BODY[:-5000] + bytes([BODY[-5000] ^ 1]) + BODY[-4999:]),
        "is not SOCI",
        1,
    ),
    Case("cut, then another archive", first(CUT, reply(body=OLD)), "is not SOCI", 2),
    Case("an unknown CA", GOOD, "can't be trusted: found a certificate", 0, "another-ca.pem"),
    Case("expired certificate", GOOD, "certificate has expired", 0, "expired.pem"),
    Case("another's certificate", GOOD, "mismatch|not valid for", 0, "another-name.pem"),
)


@contextlib.contextmanager
def running(case: Case) -> Iterator[Server]:
    """The server of a case."""
    with Server(case.behave, case.certificate) as server:
        yield server

from __future__ import annotations

import io
import threading
from contextlib import closing
from typing import final

import pytest

from soci_bootstrap.errors import DeadlineError, FetchError
from soci_bootstrap.fetch.download import Download
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.fetch.source import Opened, TransientError
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

BODY = bytes(range(250)) * 10


class Script:
    """A source that does what each step says: a byte count to break off after, or an error."""

    name = "script"

    def __init__(self, *steps) -> None:
        self.steps = list(steps)
        self.opened = 0
        self.closed = 0
        self.cancelled = False

    def open(self, timeout: float) -> Opened:
        self.opened += 1
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        data = io.BytesIO(BODY[:step])

        def read(size: int) -> bytes:
            piece = data.read(min(size, 100))
            if not piece:
                raise TransientError("broke off")
            return piece

        return Opened(read, self._close, len(BODY))

    def _close(self) -> None:
        self.closed += 1

    def cancel(self) -> None:
        self.cancelled = True


def collect(download: Download) -> bytes:
    body = b""
    with closing(download.blocks()) as blocks:
        for block in blocks:
            assert block.offset in (0, len(body))
            body = body[: block.offset] + block.data
    return body


def download(source: Script, seconds: float = 10.0, attempts: int = 4, limit: int = 1 << 20) -> Download:
    policy = RetryPolicy(attempts=attempts, base=0.0001)
    return Download(source, Deadline(seconds), Console(-1, io.StringIO()), policy=policy, limit=limit)


@pytest.mark.parametrize(
    "steps",
    [
        (2500,),
        (1000, 2500),
        (1000, 500, 2500),
        (TransientError("x"), 2500),
        (1000, TransientError("x"), 2500),
    ],
)
def test_each_request_is_for_the_whole_body(steps: tuple[object, ...]) -> None:
    source = Script(*steps)
    run = download(source)
    assert collect(run) == BODY
    assert source.opened == run.requests == len(steps)
    assert source.closed == sum(isinstance(step, int) for step in steps)
    assert source.cancelled


@final
class Sink:
    def __init__(self) -> None:
        self.body = b""
        self.ended: object = "not yet"

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.ended = kind

    def feed(self, data: bytes) -> None:
        self.body += data


def test_a_fresh_sink_where_the_body_begins_anew() -> None:
    sinks: list[Sink] = []
    told: list[tuple[int, int | None]] = []

    def begin() -> Sink:
        sinks.append(Sink())
        return sinks[-1]

    source = Script(1000, 2500)
    with download(source).into(begin, lambda done, total: told.append((done, total))) as sink:
        assert sink is sinks[-1]
        assert [sink.ended for sink in sinks] == [None, "not yet"]
    assert [sink.body for sink in sinks] == [BODY[:1000], BODY]
    assert sinks[-1].ended is None
    assert told[-1] == (2500, 2500)
    with (
        pytest.raises(FetchError),
        download(Script(1000, FetchError("gone"))).into(begin, lambda *_: None),
    ):
        pass
    assert sinks[-1].ended is FetchError


def test_attempts_are_bounded() -> None:
    source = Script(*[TransientError("no answer")] * 9)
    with pytest.raises(FetchError, match="4 requests failed, the last: no answer"):
        collect(download(source))
    assert source.opened == 4


def test_a_final_error_is_not_tried_again() -> None:
    source = Script(FetchError("no such file"), 2500)
    with pytest.raises(FetchError, match="no such file"):
        collect(download(source))
    assert source.opened == 1


def test_too_large_is_refused_before_it_is_read() -> None:
    source = Script(2500)
    with pytest.raises(FetchError, match="found 2500 bytes or more, expected at most 2499"):
        collect(download(source, limit=2499))
    assert source.closed == 1


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    source = Script(TransientError("the server answered 429", 60.0), 2500)
    with pytest.raises(FetchError, match=r"another request in 60 s, expected an answer within the \d s"):
        collect(download(source, seconds=5))


@pytest.mark.parametrize(
    ("before", "error", "found"),
    [
        ((), DeadlineError, "found more than 1 s"),
        (
            (TransientError("the server answered 500"),),
            FetchError,
            "found the server answered 500; the deadline",
        ),
    ],
    ids=["the first", "another"],
)
def test_the_deadline_holds_against_a_call_that_never_returns(
    before: tuple[object, ...], error: type[Exception], found: str
) -> None:
    release = threading.Event()

    class Stuck(Script):
        def open(self, timeout: float) -> Opened:
            if self.steps:
                return super().open(timeout)
            release.wait(20)
            raise TransientError("too late")

    try:
        with pytest.raises(error, match=found):
            collect(download(Stuck(*before), seconds=1))
    finally:
        release.set()


def test_one_who_leaves_early_leaves_no_thread_behind() -> None:
    source = Script(2500)
    blocks = download(source).blocks()
    before = set(threading.enumerate())
    next(blocks)
    readers = set(threading.enumerate()) - before
    assert readers
    blocks.close()
    for thread in readers:
        thread.join(10)
    assert not any(thread.is_alive() for thread in readers)
    assert source.closed == 1

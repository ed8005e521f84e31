from __future__ import annotations

import io
import threading
from contextlib import closing

import pytest

from soci_bootstrap.errors import DeadlineError, FetchError
from soci_bootstrap.fetch.download import Block, Download
from soci_bootstrap.fetch.retry import RetryPolicy
from soci_bootstrap.fetch.source import Opened, TransientError
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

BODY = bytes(range(250)) * 10


class Script:
    """A source that does what each step says: a byte count to break off after, or an error."""

    name = "script"

    def __init__(self, *steps, validator: str | None = '"1"', resumes: bool = True) -> None:
        self.steps = list(steps)
        self.opened: list[tuple[int, str | None]] = []
        self.closed = 0
        self.cancelled = False
        self.validator = validator
        self.resumes = resumes

    def open(self, offset: int, validator: str | None, timeout: float) -> Opened:
        self.opened.append((offset, validator))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        start = offset if self.resumes else 0
        data = io.BytesIO(BODY[start : start + step])

        def read(size: int) -> bytes:
            piece = data.read(min(size, 100))
            if not piece:
                raise TransientError("broke off")
            return piece

        return Opened(read, self._close, start, len(BODY), self.validator)

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


def download(
    source: Script, seconds: float = 10.0, attempts: int = 4, start: int = 0, limit: int = 1 << 20
) -> Download:
    policy = RetryPolicy(attempts=attempts, base=0.0001)
    return Download(
        source, Deadline(seconds), Console(-1, io.StringIO()), policy=policy, limit=limit, start=start
    )


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        (Script(2500), [(0, None)]),
        (Script(1000, 2500), [(0, None), (1000, '"1"')]),
        (Script(1000, 500, 2500), [(0, None), (1000, '"1"'), (1500, '"1"')]),
        (Script(1000, TransientError("x"), 2500), [(0, None), (1000, '"1"'), (1000, '"1"')]),
        (Script(1000, TransientError("x", resumable=False), 2500), [(0, None), (1000, '"1"'), (0, None)]),
        (Script(1000, 2500, validator=None), [(0, None), (0, None)]),
        (Script(1000, 2500, resumes=False), [(0, None), (1000, '"1"')]),
    ],
)
def test_requests_made(source: Script, asked: list[tuple[int, str | None]]) -> None:
    run = download(source)
    assert collect(run) == BODY
    assert source.opened == asked
    assert run.requests == len(asked)
    assert source.cancelled


@pytest.mark.parametrize(
    ("steps", "asked"),
    [
        ([2500], [(700, None)]),
        ([TransientError("x"), 2500], [(700, None), (700, None)]),
        ([300, 2500], [(700, None), (1000, '"1"')]),
        ([TransientError("x", resumable=False), 2500], [(700, None), (0, None)]),
    ],
)
def test_going_on_from_a_partial_file(steps: list[object], asked: list[tuple[int, str | None]]) -> None:
    source = Script(*steps)
    with closing(download(source, start=700).blocks()) as blocks:
        got = list(blocks)
    assert source.opened == asked
    assert got[0].offset == asked[0][0] or got[0] == Block(0, b"", len(BODY))
    assert got[-1].offset + len(got[-1].data) == len(BODY)


def test_attempts_are_bounded() -> None:
    source = Script(*[TransientError("no answer")] * 9)
    with pytest.raises(FetchError, match="4 requests failed, the last: no answer"):
        collect(download(source))
    assert len(source.opened) == 4


def test_a_final_error_is_not_tried_again() -> None:
    source = Script(FetchError("no such file"), 2500)
    with pytest.raises(FetchError, match="no such file"):
        collect(download(source))
    assert len(source.opened) == 1


def test_too_large_is_refused_before_it_is_read() -> None:
    source = Script(2500)
    with pytest.raises(FetchError, match="found 2500 bytes or more, expected at most 2499"):
        collect(download(source, limit=2499))
    assert source.closed == 1


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    source = Script(TransientError("the server answered 429", 60.0), 2500)
    with pytest.raises(FetchError, match=r"another request in 60 s, expected an answer within the \d s"):
        collect(download(source, seconds=5))


def test_the_deadline_holds_against_a_call_that_never_returns() -> None:
    release = threading.Event()

    class Stuck(Script):
        def open(self, offset: int, validator: str | None, timeout: float) -> Opened:
            release.wait(20)
            raise TransientError("too late")

    try:
        with pytest.raises(DeadlineError):
            collect(download(Stuck(), seconds=0.2))
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

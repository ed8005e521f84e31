from __future__ import annotations

import io

import pytest

from soci_bootstrap.system.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(verbosity: int) -> str:
    stream = io.StringIO()
    console = Console(verbosity, stream)
    console.error("e")
    console.warn("w")
    console.info("i")
    console.debug("d")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("verbosity", "words"),
    [
        (-1, ["ERROR e", "WARNING w"]),
        (0, ["ERROR e", "WARNING w", "i"]),
        (1, ["ERROR e", "WARNING w", "i", "d"]),
    ],
)
def test_verbosity(verbosity, words) -> None:
    assert said(verbosity) == "".join(f"soci-bootstrap: {word}\n" for word in words)


def test_stderr_is_the_default(capsys) -> None:
    Console().info("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "soci-bootstrap: hello\n")


class Gone(Terminal):
    """What nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def test_messages_that_reach_nobody_fail_nothing(monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    for console in (Console(1, Gone()), Console(1)):
        console.progress("fetching", 1, 2)
        console.error("e")
        console.debug("d")


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (5_000_000, 10_000_000, "fetching [###############...............] 5.0/10.0 MB"),
        (20_000_000, 10_000_000, "fetching [##############################] 20.0/10.0 MB"),
        (0, 10_000_000, "fetching [..............................] 0.0/10.0 MB"),
        (5_000_000, None, "fetching 5.0 MB"),
        (5_000_000, 0, "fetching 5.0 MB"),
    ],
)
def test_a_bar_on_a_terminal(done, total, text) -> None:
    stream = Terminal()
    Console(0, stream).progress("fetching", done, total)
    assert stream.getvalue() == f"\r\x1b[2K{text}"


def test_a_line_replaces_the_bar() -> None:
    stream = Terminal()
    console = Console(0, stream)
    console.progress("fetching", 1, None)
    console.info("done")
    console.info("more")
    assert stream.getvalue().endswith("\r\x1b[2Ksoci-bootstrap: done\nsoci-bootstrap: more\n")


@pytest.mark.parametrize(("verbosity", "stream"), [(-1, Terminal()), (0, io.StringIO()), (1, io.StringIO())])
def test_no_bar_where_nobody_looks(verbosity, stream) -> None:
    Console(verbosity, stream).progress("fetching", 1, 2)
    assert stream.getvalue() == ""

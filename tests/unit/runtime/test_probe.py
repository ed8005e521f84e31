from __future__ import annotations

import pytest

from soci_bootstrap.runtime import probe
from tests.support.daemons import GOAWAY, SETTINGS, listening

LATER = 5.0
AT_ONCE = 0.05


@pytest.mark.parametrize("said", [(SETTINGS,), (SETTINGS[:4], SETTINGS[4:]), (SETTINGS + GOAWAY,)])
def test_a_grpc_server_answers(tmp_path, said) -> None:
    with listening(tmp_path / "s", *said) as heard:
        assert probe.answers(str(tmp_path / "s"), LATER)
    assert heard[0].startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert heard[0].endswith(SETTINGS)


@pytest.mark.parametrize(
    ("said", "closing"),
    [
        ((), True),
        ((), False),
        ((SETTINGS[:5],), True),
        ((SETTINGS[:5],), False),
        ((GOAWAY,), True),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), True),
    ],
)
def test_what_is_no_answer(tmp_path, said, closing) -> None:
    with listening(tmp_path / "s", *said, closing=closing) as heard:
        assert not probe.answers(str(tmp_path / "s"), AT_ONCE)
    assert heard


def test_no_socket(tmp_path) -> None:
    assert not probe.answers(str(tmp_path / "s"), AT_ONCE)


def test_a_file_that_is_no_socket(tmp_path) -> None:
    (tmp_path / "s").write_bytes(b"")
    assert not probe.answers(str(tmp_path / "s"), AT_ONCE)


def test_no_time(tmp_path) -> None:
    with listening(tmp_path / "s", SETTINGS) as heard:
        assert not probe.answers(str(tmp_path / "s"), 0)
    assert heard == []


def test_it_is_asked_again_until_it_is_there(tmp_path, monkeypatch) -> None:
    asked = []

    def refused_twice(path: str, seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) == 3

    monkeypatch.setattr(probe, "_asked_once", refused_twice)
    assert probe.answers("/s", LATER)
    assert len(asked) == 3
    assert asked == sorted(asked, reverse=True)

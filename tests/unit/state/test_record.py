"""The record comes back as it was, or says what to do; it keeps what stood there first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soci_bootstrap.errors import StateError
from soci_bootstrap.paths import RECORD
from soci_bootstrap.state.backups import back_up
from soci_bootstrap.state.record import Outcome, Record, load, save
from soci_bootstrap.system import System

TARGET = "/etc/a/file"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"schema": 2}', b'{"schema": 1}', b"\xff", b"[" * 100_000],
    ids=["empty", "cut", "a list", "null", "a later one", "nothing in it", "no text", "deep"],
)
def test_a_record_that_is_none_is_an_error_with_a_remedy(data: bytes, tmp_path: Path) -> None:
    system = System(str(tmp_path))
    system.mkdir("/var/lib/soci-bootstrap")
    system.write(RECORD, data)
    with pytest.raises(StateError, match=r"record\.json can't be used"):
        load(system)


def test_it_comes_back_as_it_was_saved_and_is_written_once(tmp_path: Path) -> None:
    system = System(str(tmp_path))
    system.mkdir("/etc/a")
    system.write(TARGET, b"before", 0o640)
    record = back_up(system, Record(outcome=Outcome.INSTALLED, directories=("/x",)), TARGET)
    record = back_up(system, record, "/etc/a/absent")
    save(system, record)
    assert load(system) == record
    written = (tmp_path / RECORD[1:]).stat().st_ino
    save(system, record)
    assert (tmp_path / RECORD[1:]).stat().st_ino == written
    system.write(TARGET, b"after")
    assert back_up(system, record, TARGET) == record


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_it_is_roots_alone_under_any_umask(umask: int, tmp_path: Path) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"secret")
    system = System(str(tmp_path))
    before = os.umask(umask)
    try:
        save(system, back_up(system, Record(), "/file"))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "var/lib").rglob("*")}
    assert modes == {"soci-bootstrap": 0o700, "backups": 0o700, "record.json": 0o600, "file.before": 0o600}


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_left_alone_and_told(kind: str, tmp_path: Path) -> None:
    (tmp_path / "etc/a").mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(tmp_path / TARGET[1:])
    else:
        (tmp_path / TARGET[1:]).mkdir()
    with pytest.raises(StateError, match="in the way"):
        back_up(System(str(tmp_path)), Record(), TARGET)

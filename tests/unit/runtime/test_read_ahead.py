from __future__ import annotations

import os

import pytest

from soci_bootstrap.runtime.read_ahead import read_ahead
from soci_bootstrap.system import System
from tests.support.nodes import Node, write

DAEMON = "/usr/local/bin/soci-snapshotter-grpc"


@pytest.fixture
def advised(monkeypatch):
    found: list[str] = []

    def advise(fd: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_WILLNEED)
        found.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return found


def test_programs_are_read(tmp_path, advised) -> None:
    files = {"/usr/bin/ctr": "c", "/usr/bin/containerd": "d", DAEMON: "-> real", "/usr/local/bin/real": "s"}
    write(tmp_path, files)
    read_ahead(Node(tmp_path))
    assert advised == ["ctr", "containerd", "real"]


@pytest.mark.parametrize("daemon", ["", DAEMON, "/etc"])
def test_what_is_not_there_is_no_failure(tmp_path, advised, daemon) -> None:
    write(tmp_path, {"/etc": None})
    os.mkfifo(tmp_path / "fifo")
    read_ahead(Node(tmp_path), daemon)
    read_ahead(Node(tmp_path), "/fifo")
    assert advised == []


def test_nothing_of_an_image_is_read(tmp_path, advised) -> None:
    write(tmp_path, {"/usr/bin/ctr": "c"})
    read_ahead(System(str(tmp_path)))
    assert advised == []

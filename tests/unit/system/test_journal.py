from __future__ import annotations

import socket

from soci_bootstrap import paths
from soci_bootstrap.system import journal


def test_one_line_with_its_priority(tmp_path, monkeypatch) -> None:
    path = str(tmp_path / "socket")
    monkeypatch.setattr(paths, "JOURNAL", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.settimeout(5)
        journal.error("two\nlines  and PRIORITY=0")
        assert daemon.recv(4096).decode().splitlines() == [
            "MESSAGE=two lines and PRIORITY=0",
            "PRIORITY=3",
            "SYSLOG_IDENTIFIER=soci-bootstrap",
        ]


def test_a_node_without_a_journal(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "JOURNAL", str(tmp_path / "none"))
    journal.error("unheard")


def test_a_message_too_long_for_a_datagram(tmp_path, monkeypatch) -> None:
    path = str(tmp_path / "socket")
    monkeypatch.setattr(paths, "JOURNAL", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        journal.error("x" * 10_000_000)

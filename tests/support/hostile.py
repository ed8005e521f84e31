"""Trees to be hostile in: made from a corpus' files, worked in through the real command line, compared."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from soci_bootstrap import cli
from tests.support.corpus import archives
from tests.support.corpus.node_files import DIRECTORY, FIFO, Content

AGENT = b"#!/usr/bin/python3 -I\nPK the agent\n"
HANG = 120
"""Seconds after which a test has hung: a hundred times what any of them takes."""


@dataclass(frozen=True)
class Outcome:
    """What a command ended with; ``document`` is its one JSON object."""

    status: int
    document: dict[str, object]

    @property
    def reason(self) -> str:
        return str(self.document.get("reason"))


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail the test rather than wait for ever."""

    def hung(*_: object) -> None:
        raise AssertionError("hung")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def lay(root: Path, files: Mapping[str, Content]) -> Path:
    """Put files below ``root``, replacing what is there."""
    for path, content in files.items():
        host = Path(f"{root}{path}")
        host.parent.mkdir(parents=True, exist_ok=True)
        if host.is_symlink() or host.is_file():
            host.unlink()
        if content is None:
            continue
        if content == DIRECTORY:
            host.mkdir(exist_ok=True)
        elif content == FIFO:
            os.mkfifo(host)
        elif isinstance(content, str) and content.startswith("-> "):
            host.symlink_to(content[3:])
        else:
            host.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def shape(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path below ``root`` with all that rollback or a reader could tell apart."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            extra: object = None
            if stat.S_ISREG(status.st_mode):
                extra = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                extra = os.readlink(path)
            found[path[len(str(root)) :]] = (status.st_mode, status.st_uid, status.st_gid, extra)
    return found


def edit(path: Path, changes: Mapping[str, object]) -> None:
    """Overwrite values of a JSON file, by dotted key."""
    document = json.loads(path.read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        table = document
        for key in parents:
            table = table[key]
        table[last] = value
    path.write_text(json.dumps(document))


class Commands:
    """The real program on a tree, with a small release beside it."""

    def __init__(self, tmp_path: Path, capsys, monkeypatch) -> None:
        self.root = tmp_path / "root"
        self.root.mkdir()
        self._tarball = tmp_path / "release.tar.gz"
        self._tarball.write_bytes(archives.WHOLE)
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        # A checkout is no zipapp; install leaves one behind.
        monkeypatch.setattr("soci_bootstrap.system.resources.agent_bytes", lambda: AGENT)
        monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(self, command: str, *options: str, environ: Mapping[str, str] | None = None) -> Outcome:
        """Run one command to its end; its document must be the only thing on stdout."""
        argv = [command, "--root", str(self.root), "--json", *options]
        if command in {"install", "plan"}:
            argv += ["--arch", "amd64"]
            if "SOCI_BOOTSTRAP_SHA256" not in (environ or {}):
                argv += ["--sha256", hashlib.sha256(archives.WHOLE).hexdigest()]
            if "SOCI_BOOTSTRAP_MIRROR" not in (environ or {}):
                argv += ["--tarball", str(self._tarball)]
        self._monkeypatch.setattr(sys, "argv", ["soci-bootstrap", *argv])
        status = cli.main(argv, dict(environ or {}))
        document = json.loads(self._capsys.readouterr().out)
        return Outcome(status, document)

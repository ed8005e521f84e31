"""Nodes to observe and to change: trees below a directory, and programs that answer as told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Union

from soci_bootstrap.errors import CommandError, StateError
from soci_bootstrap.system import System
from soci_bootstrap.system.programs import Completed

CAPTURED = Path(__file__).parents[1] / "fixtures" / "captured"
Answer = Union[Completed, bytes, int, BaseException, Callable[[list[str]], "Answer"]]
"""What a program does: an outcome, its stdout, its status, a failure, or what decides between these."""


def captured(name: str) -> bytes:
    """An output of a real program."""
    return (CAPTURED / name).read_bytes()


def write(root: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Put files below ``root``; None makes a directory, ``-> target`` a link."""
    for path, data in files.items():
        host = root / path.lstrip("/")
        if data is None:
            host.mkdir(parents=True, exist_ok=True)
            continue
        host.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str) and data.startswith("-> "):
            os.symlink(data[3:], host)
        else:
            host.write_bytes(data.encode() if isinstance(data, str) else data)
            host.chmod(0o755 if "/bin/" in path or "/sbin/" in path else 0o644)
    return root


class Node(System):
    """A running node whose files lie below a directory and whose programs answer as told.

    Args:
        root: the directory.
        programs: answers by the end of a program's path and its first words, longest match first.
    """

    def __init__(self, root: Path, programs: Mapping[str, Answer] | None = None, tag: str = "test") -> None:
        super().__init__(str(root), tag)
        self.live = True
        self.programs = dict(programs or {})
        self.calls: list[str] = []
        self.refused: tuple[str, ...] = ()
        """Changes that fail, by any part of their description."""
        for words in self.programs:
            name = words.split()[0]
            if self.which(name) is None:
                write(root, {f"/usr/bin/{name}": ""})

    def path(self, path: str) -> str:
        return self._walk(path)

    def before_change(self, what: str) -> None:
        if any(refused in what for refused in self.refused):
            raise StateError(f"{what}: can't be written", found="fault injected")

    def run(self, argv, *, timeout, input=b"", env=None):  # noqa: A002
        call = " ".join([argv[0].rsplit("/", 1)[1], *argv[1:]])
        self.calls.append(call)
        assert timeout > 0
        matching = sorted((words for words in self.programs if call.startswith(words)), key=len)
        if not matching:
            raise CommandError(f"{call} was not expected")
        return self._answer(self.programs[matching[-1]], list(argv))

    def _answer(self, answer: Answer, argv: list[str]) -> Completed:
        if callable(answer):
            return self._answer(answer(argv), argv)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, bytes):
            return Completed(0, answer, b"")
        if isinstance(answer, int):
            return Completed(answer, b"", b"as told")
        return answer

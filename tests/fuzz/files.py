"""A node that is nothing but a dictionary: thousands of them a second."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from soci_bootstrap.errors import CommandError
from soci_bootstrap.system import System
from soci_bootstrap.system.programs import Completed
from soci_bootstrap.system.tree import ABSENT, Entry


class Files(System):
    """Files by path, and one answer for every program that is asked anything.

    Args:
        files: what there is; every directory follows from it.
        output: what programs print; None where none may be run.
    """

    def __init__(self, files: Mapping[str, bytes], output: bytes | None = None) -> None:
        self.root, self.live, self.tag = "/", output is not None, "fuzz"
        self.touched = {}
        self.files = dict(files)
        self.output = output

    def entry(self, path: str) -> Entry:
        if path in self.files:
            mode = 0o755 if "/bin/" in path else 0o644
            return Entry("file", mode, size=len(self.files[path]))
        return Entry("dir", 0o755) if self.listdir(path) else ABSENT

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def listdir(self, path: str) -> tuple[str, ...]:
        prefix = path.rstrip("/") + "/"
        return tuple(
            sorted({name[len(prefix) :].split("/")[0] for name in self.files if name.startswith(prefix)})
        )

    def sha256(self, path: str) -> str:
        return hashlib.sha256(self.files[path]).hexdigest()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: bytes = b"",  # noqa: A002
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        if self.output is None:
            raise CommandError(f"{argv[0]} was to run")
        return Completed(0, self.output, b"")

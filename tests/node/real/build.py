"""Build program sets, one program at a time, into the cache.

A program is put into its place by a rename, so a build that was interrupted goes on where it stopped: what
was finished stays, and Go's own cache has the packages of what was not.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from tests.node.lab import rootfs
from tests.node.real import toolchain
from tests.node.real.sets import ProgramSet
from tests.node.real.toolchain import BuildError

Say = Callable[[str, bool], None]
"""Told of progress; the second argument is false for a line that the next one may overwrite."""
AT_ONCE = 2
"""Packages that Go compiles at the same time; each may take a GiB of memory."""
_TOLD = 5
"""Last lines of a failed build that its error repeats."""
_PROGRESS = ("go: downloading ", "go: finding ")


def ensure(wanted: ProgramSet, say: Say, programs: Collection[str] = ()) -> Path:
    """Return the directory of a set's programs, after building those named, or all, that it lacks.

    Raises:
        BuildError: there is no network or too little disk, or Go refused.
    """
    if wanted.missing(programs):
        rootfs.cache_dir().mkdir(parents=True, exist_ok=True)
        with _alone(wanted, say):
            _build(wanted, say, programs)
    return wanted.place


def relock(wanted: ProgramSet, say: Say) -> None:
    """Complete a set's go.mod and go.sum with what its programs need now.

    Raises:
        BuildError: Go refused.
    """
    listing = ["list", "-mod=mod", f"-tags={wanted.tags}", "-deps", *wanted.programs.values()]
    _go(wanted, listing, _Progress(f"{wanted.name}: locking", say))
    say(f"{wanted.name}: locked", True)


def _build(wanted: ProgramSet, say: Say, programs: Collection[str]) -> None:
    missing = wanted.missing(programs)
    if not missing:
        return
    _require_disk(wanted)
    wanted.place.mkdir(exist_ok=True)
    for left in wanted.place.glob("*.tmp"):
        left.unlink()
    if not toolchain.installed():
        say("Go: installing it", False)
    packages = [wanted.programs[name] for name in missing]
    listing = ["list", "-mod=readonly", f"-tags={wanted.tags}", "-deps", *packages]
    _go(wanted, listing, _Progress(f"{wanted.name}: modules", say))
    for name in missing:
        started = time.monotonic()
        staged = wanted.place / f"{name}.tmp"
        command = ["build", "-mod=readonly", "-p", str(AT_ONCE), "-v", *wanted.flags, "-o", str(staged)]
        _go(wanted, [*command, wanted.programs[name]], _Progress(f"{wanted.name}: {name}", say))
        staged.replace(wanted.place / name)
        say(f"{wanted.name}: {name} built in {time.monotonic() - started:.0f} s", True)


class _Progress:
    """What one run of Go has said so far, as a line that is told again and again."""

    def __init__(self, what: str, say: Say) -> None:
        self._what, self._say = what, say
        self._started = time.monotonic()
        self._lines = 0
        self.said: list[str] = []

    def line(self, text: str) -> None:
        """Take a line of stderr: a module that is fetched, a package that is compiled, or an error."""
        self._lines += 1
        if not text.startswith(_PROGRESS):
            self.said.append(text)
        seconds = time.monotonic() - self._started
        self._say(f"{self._what}: {self._lines} steps, {seconds:.0f} s: {text[:60]}", False)


def _go(wanted: ProgramSet, arguments: Sequence[str], progress: _Progress) -> None:
    command = [str(toolchain.go()), *arguments]
    with subprocess.Popen(
        command,
        cwd=wanted.folder,
        env=toolchain.environment(cgo=wanted.cgo),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr
        for line in process.stderr:
            progress.line(line.rstrip())
    if process.returncode:
        said = "\n  ".join(progress.said[-_TOLD:])
        raise BuildError(f"{wanted.name}: go {arguments[0]} failed:\n  {said}{_hint(said)}")


def _hint(said: str) -> str:
    if "no space left" in said:
        return "\nThe disk is full. What was built stays, and the next run goes on from there."
    if any(word in said for word in ("dial tcp", "no such host", "i/o timeout", "module lookup disabled")):
        return (
            "\nA first build fetches Go modules: it needs the network that Go is set up for on this machine. "
            "What was fetched stays, and the next run goes on from there."
        )
    if "cannot find -lz" in said or "zlib.h" in said:
        return "\nInstall zlib1g-dev."
    return ""


def _require_disk(wanted: ProgramSet) -> None:
    free = shutil.disk_usage(rootfs.cache_dir()).free / (1 << 30)
    if free < wanted.gib:
        raise BuildError(
            f"{wanted.name}: a first build takes up to {wanted.gib:g} GiB below {rootfs.cache_dir()}, and "
            f"{free:.1f} GiB are free there. XDG_CACHE_HOME names another place."
        )


@contextlib.contextmanager
def _alone(wanted: ProgramSet, say: Say) -> Iterator[None]:
    """Hold the set's lock, so that two builds at once don't do the same work twice."""
    with open(rootfs.cache_dir() / f"real-{wanted.name}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{wanted.name}: waiting for another build of it", True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

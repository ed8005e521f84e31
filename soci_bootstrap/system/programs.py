"""Programs of the node, run to their end and bounded; what they say is judged by who asked."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soci_bootstrap.errors import CommandError, TimedOutError


@dataclass(frozen=True)
class Completed:
    """Status and output of a program that ended; ``stdout`` and ``stderr`` as it wrote them."""

    status: int
    stdout: bytes
    stderr: bytes


def run(argv: Sequence[str], timeout: float, stdin: bytes, env: Mapping[str, str] | None) -> Completed:
    """Run a program to its end, killed at ``timeout`` seconds.

    Raises:
        CommandError: it is missing or can't be executed.
        TimedOutError: it did not end in time.
    """
    try:
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, timeout=timeout, env=env, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(
            f"{' '.join(argv)} did not end",
            found=f"no end after {timeout:.1f} s",
            expected="an answer in time",
            remedy="run it by hand to see what it waits for",
        ) from error
    except OSError as error:
        raise CommandError(
            f"{argv[0]} can't be run",
            found=error.strerror or str(error),
            expected="a program of this node",
            remedy="install it or repair its file",
        ) from error
    return Completed(done.returncode, done.stdout, done.stderr)


def checked(argv: Sequence[str], done: Completed) -> bytes:
    """A program's stdout, or a ``CommandError`` with its status and last words."""
    if done.status == 0:
        return done.stdout
    words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    raise CommandError(
        f"{' '.join(argv)} failed with status {done.status}",
        found=words[-1][:300] if words else "no message",
        expected="status 0",
        remedy="run it by hand to see the whole output",
    )

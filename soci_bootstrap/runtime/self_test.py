"""Self-test of decompressors, and a comparison of two of them on this node."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from soci_bootstrap.errors import CommandError, DecompressorError
from soci_bootstrap.system import (
    System,
    programs,  # noqa: F401 - `System.run` imports it, which no thread may be the first to do
    resources,
)
from soci_bootstrap.system.threads import Task

_CASE_SECONDS = 5.0
_GRACE = 1.0
"""Seconds that a killed program has to end."""
_RACE_SECONDS = 10.0
_RACE_MEMBERS = 48
_RACE_ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """One input of the self-test.

    Attributes:
        name: as messages call it.
        stream: what the decompressor reads.
        output: what it must write, ending with status 0; None where it must end with another.
    """

    name: str
    stream: bytes
    output: bytes | None


def cases() -> tuple[Case, ...]:
    """The self-test's inputs: stored, fixed and dynamic blocks, and what must be refused.

    Each is a process at each boot, so they are few: four are two turns of the smallest node's two processors.
    """
    text = b"".join(b"%d layers\n" % number for number in range(4000)) + bytes(range(256)) * 300
    dynamic, fixed, stored = _gzip(text, 1), _gzip(text, 1, zlib.Z_FIXED), _gzip(text, 0)
    flipped = bytearray(stored)
    # Stored blocks inflate whatever they hold, so that only the checksum can tell.
    flipped[len(stored) // 2] ^= 0x10
    return (
        Case("a known stream", dynamic, text),
        Case("several members and zeros", dynamic + _gzip(b"", 9) + fixed + stored + bytes(1024), text * 3),
        Case("a truncated stream", dynamic[:-5], None),
        Case("a corrupt stream", bytes(flipped), None),
    )


def self_test(path: str, args: Sequence[str], system: System) -> None:
    """Show that a decompressor works on this node: all cases at once, well under 100 ms.

    Raises:
        DecompressorError: it is missing, refuses what it should take, or takes what it should refuse.
    """
    tasks = [
        (case, Task(partial(_check, case, path, args, system), _CASE_SECONDS + _GRACE)) for case in cases()
    ]
    failures = [error for case, task in tasks if (error := _failure(case, path, task))]
    if failures:
        raise failures[0]


def faster_than(
    path_a: str, args_a: Sequence[str], path_b: str, args_b: Sequence[str], system: System
) -> bool:
    """Tell whether the first decompressor beats the second here, both on the same 20 MB, taking turns.

    Raises:
        DecompressorError: one of them failed.
    """
    # Machine code compresses about as a layer does; members repeat, since memory is short on a node.
    stream = _gzip(resources.read("igzip_lib-39-x86_64.so"), 6) * _RACE_MEMBERS
    best = {path_a: _RACE_SECONDS, path_b: _RACE_SECONDS}
    for _ in range(_RACE_ROUNDS):
        for path, args in ((path_a, args_a), (path_b, args_b)):
            best[path] = min(best[path], _seconds(path, args, stream, system))
    return best[path_a] < best[path_b]


def _failure(case: Case, path: str, task: Task[None]) -> DecompressorError | None:
    """Why a case failed; one that did not answer failed too."""
    try:
        task.result()
    except DecompressorError as error:
        return error
    except Exception as error:  # noqa: BLE001 - nothing was shown, so nothing was passed
        failure = DecompressorError(
            f"the decompressor {path} was not tried on {case.name}",
            found=f"{type(error).__name__}: {error}",
            expected="an answer",
            remedy="report this as a bug",
        )
        failure.__cause__ = error
        return failure
    return None


def _check(case: Case, path: str, args: Sequence[str], system: System) -> None:
    try:
        done = system.run([path, *args], timeout=_CASE_SECONDS, input=case.stream)
    except CommandError as error:
        raise DecompressorError(
            f"the decompressor {path} failed on {case.name}",
            found=f"{error.problem}, {error.found}",
            expected="a program that reads gzip and writes what is in it",
            remedy="choose another with --decompressor",
        ) from error
    if case.output is None:
        found, expected = f"status {done.status}", "a status other than 0"
        good = done.status != 0
    else:
        found = f"status {done.status} and {len(done.stdout)} bytes"
        expected = f"status 0 and the {len(case.output)} bytes that went in"
        good = done.status == 0 and done.stdout == case.output
    if not good:
        said = done.stderr.decode("utf-8", "replace").strip()[:200]
        raise DecompressorError(
            f"the decompressor {path} failed on {case.name}",
            found=f"{found} ({said})" if said else found,
            expected=expected,
            remedy="choose another with --decompressor",
        )


def _seconds(path: str, args: Sequence[str], stream: bytes, system: System) -> float:
    begin = time.monotonic()
    # The output would be twenty megabytes of this process' memory.
    shell = ["/bin/sh", "-c", 'exec "$0" "$@" >/dev/null', path, *args]
    try:
        done = system.run(shell, timeout=_RACE_SECONDS, input=stream)
    except CommandError as error:
        raise _lost(path, error.found) from error
    if done.status != 0:
        raise _lost(path, f"status {done.status}")
    return time.monotonic() - begin


def _lost(path: str, found: str) -> DecompressorError:
    return DecompressorError(
        f"the decompressor {path} failed while its speed was measured",
        found=found,
        expected="status 0",
        remedy="choose another with --decompressor",
    )


def _gzip(data: bytes, level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31, 9, strategy)
    return packer.compress(data) + packer.flush()

"""Parse the output of programs and kernel files. Pure; fixtures of real outputs test each.

Sources: systemctl(1) show, `ctr images check`, journalctl's JSON, proc(5) for mountinfo and status,
elf(5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from soci_bootstrap.doctor.observe.node import Unit

SHOWN = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "DropInPaths",
    "NeedDaemonReload",
    "NRestarts",
    "MainPID",
    "ActiveEnterTimestampMonotonic",
    "Result",
    "InvocationID",
)
"""The properties that ``units`` reads."""

_ELF_MACHINES = {62: "amd64", 183: "arm64"}
_BAD_LEVELS = frozenset({"error", "fatal", "panic"})
_PRIORITY_ERROR = 3


def units(shown: Iterable[Mapping[str, str]]) -> dict[str, Unit]:
    """Units by name, from what systemd shows of ``SHOWN``."""
    return {
        values["Id"]: Unit(
            load=values.get("LoadState", ""),
            active=values.get("ActiveState", ""),
            sub=values.get("SubState", ""),
            enabled=values.get("UnitFileState", ""),
            dropins=tuple(values.get("DropInPaths", "").split()),
            reload=values.get("NeedDaemonReload") == "yes",
            restarts=_number(values.get("NRestarts", "")),
            pid=_number(values.get("MainPID", "")),
            started=_number(values.get("ActiveEnterTimestampMonotonic", "")) / 1e6,
            result=values.get("Result", ""),
            invocation=values.get("InvocationID", ""),
        )
        for values in shown
        if "Id" in values
    }


def unpacked(output: bytes) -> dict[str, bool]:
    """``ctr images check --snapshotter X``: reference to whether X has its snapshots."""
    lines = output.decode("utf-8", "replace").splitlines()[1:]
    return {words[0]: words[-1] == "true" for line in lines if len(words := line.split()) > 1}


def journal_errors(output: bytes) -> tuple[str, ...]:
    """``journalctl -o json``: the messages that are errors, oldest first.

    The daemon writes JSON lines to stderr, which systemd files as informational: its own level tells.
    """
    return tuple(_error_lines(output))


def mount_of(mountinfo: str, path: str) -> tuple[str, tuple[str, ...]]:
    """The source and options of the mount that ``path`` lies on; empty where none is found."""
    best, source = "", ""
    options: tuple[str, ...] = ()
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, after = left.split(), right.split()
        if len(fields) < 6 or len(after) < 2:
            continue
        point = _unescaped(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of mounts at one place the last hides the others.
        if inside and len(point) >= len(best):
            best, source, options = point, _unescaped(after[1]), tuple(fields[5].split(","))
    return source, options


def resident(status: str) -> int:
    """``RssAnon`` of /proc/PID/status in bytes, 0 where the kernel doesn't say."""
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return _number(line.split()[1]) * 1024
    return 0


def elf_arch(head: bytes) -> str:
    """SOCI's name for the architecture in an ELF header; empty for what is no ELF file.

    Returns:
        ``amd64``, ``arm64``, or ``machine N`` for another.
    """
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return ""
    machine = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
    return _ELF_MACHINES.get(machine, f"machine {machine}")


def _error_lines(output: bytes) -> Iterator[str]:
    for line in output.splitlines():
        try:
            entry = json.loads(line)
            text = entry["MESSAGE"]
            text = bytes(text).decode("utf-8", "replace") if isinstance(text, list) else str(text)
            priority = _number(str(entry.get("PRIORITY", "6")), 6)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        message = _bad_message(text)
        if message or priority <= _PRIORITY_ERROR:
            yield message or text


def _bad_message(text: str) -> str:
    """The message of the daemon's own JSON line if its level is bad, else empty."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict) or said.get("level") not in _BAD_LEVELS:
        return ""
    parts = [str(said[key]) for key in ("msg", "error") if said.get(key)]
    return ": ".join(parts) or text


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _number(text: str, default: int = 0) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else default

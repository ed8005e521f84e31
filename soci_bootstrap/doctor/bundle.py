"""The support bundle: what a maintainer needs to see, in one file that only its owner may read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from soci_bootstrap import paths
from soci_bootstrap.doctor import redact
from soci_bootstrap.doctor.finding import Unknown, attempt
from soci_bootstrap.doctor.observe import programs
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.doctor.observe.outputs import SHOWN
from soci_bootstrap.errors import UsageError
from soci_bootstrap.system import System

TOP = "soci-bootstrap-report"
_FILE_MAX = 256 << 10
"""Larger files are no configuration; the daemon and the agent are left out by this too."""
_LINES = "400"
_SECONDS = 10.0
_FILES = (
    paths.RECORD,
    paths.HEALTH,
    paths.SETTINGS,
    paths.NODECONFIG_CACHE,
    "/etc/os-release",
    paths.CONTAINERD_VERSION,
    "/etc/eks/kubelet/environment",
    paths.MOUNTINFO,
    paths.MEMINFO,
)
_DIRECTORIES = (paths.NODEADM_DROPINS, "/etc/containerd/conf.d", f"{paths.KUBELET_CONFIG}.d")
_UNITS = (paths.SOCI_SERVICE, paths.BOOT_SERVICE, paths.CONTAINERD_SERVICE, paths.NODEADM_RUN_SERVICE)


@dataclass(frozen=True)
class Member:
    """One file of the bundle: its name there and its bytes, secrets taken out."""

    name: str
    data: bytes


def create(path: str) -> IO[bytes]:
    """Open the bundle's file, before anything is looked at.

    Args:
        path: on this machine, whatever ``--root`` says. Nothing may stand there.

    Raises:
        UsageError: it can't be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        found = error.strerror or str(error)
        raise UsageError(
            [f"--bundle {path}: found {found}, expected a new file in a directory that you may write to"],
            remedy="name another file",
        ) from error
    os.fchmod(fd, 0o600)
    return os.fdopen(fd, "wb")


def write(file: IO[bytes], members: Iterator[Member]) -> None:
    """Pack them as tar.gz. Owner, times and host name stay out of it."""
    import io
    import tarfile

    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member in members:
            entry = tarfile.TarInfo(f"{TOP}/{member.name}")
            entry.size, entry.mode = len(member.data), 0o600
            archive.addfile(entry, io.BytesIO(member.data))


def members(system: System, node: Node, document: object, table: str) -> Iterator[Member]:
    """Everything, each on its own: what can't be had is said in a file of its own name."""
    yield Member("doctor.json", redact.file("doctor.json", (json.dumps(document) + "\n").encode()))
    yield Member("doctor.txt", redact.text(table).encode())
    yield Member("versions.txt", redact.text(_versions()).encode())
    for path in _paths(system, node):
        yield from _member(f"files{path}", lambda path=path: _read(system, path), path)  # type: ignore[misc]
    if system.live:
        for name, argv in _commands(node):
            yield from _member(name, lambda argv=argv: _output(system, argv), name)  # type: ignore[misc]


def _member(name: str, look: Callable[[], bytes | None], kind: str) -> Iterator[Member]:
    found = attempt(look)
    if isinstance(found, Unknown):
        yield Member(f"{name}.missing", redact.text(f"{found.why}\n").encode())
    elif found is not None:
        yield Member(name, redact.file(kind, found))


def _paths(system: System, node: Node) -> list[str]:
    """Files worth having; ours by the record, and those that they depend on."""
    files = {
        *_FILES,
        node.daemon.config,
        node.containerd.config,
        paths.CONTAINERD_CONFIG,
        paths.KUBELET_CONFIG,
    }
    files.update(path for path in node.files if path != paths.AGENT)
    for directory in _DIRECTORIES:
        files.update(f"{directory}/{name}" for name in _names(system, directory))
    for name in _names(system, "/etc/containerd/certs.d"):
        files.add(f"/etc/containerd/certs.d/{name}/hosts.toml")
    return sorted(files - {node.daemon.program, paths.PAUSE_IMAGE})


def _names(system: System, directory: str) -> tuple[str, ...]:
    found = attempt(lambda: system.listdir(directory))
    return () if isinstance(found, Unknown) else found


def _read(system: System, path: str) -> bytes | None:
    """A regular file's bytes, a link's target; None for nothing, or for what is no configuration."""
    entry = system.entry(path)
    if entry.kind == "link":
        return f"a link to {entry.target}\n".encode()
    if entry.kind != "file" or entry.size > _FILE_MAX:
        return None
    return system.read(path)


def _commands(node: Node) -> Iterator[tuple[str, list[str]]]:
    yield (
        "commands/containerd-config-dump.toml",
        ["containerd", "--config", node.containerd.config, "config", "dump"],
    )
    yield "commands/containerd-version.txt", ["containerd", "--version"]
    yield "commands/soci-version.txt", [node.daemon.program, "--version"]
    yield "commands/systemctl-show.txt", ["systemctl", "show", "-p", ",".join(SHOWN), *programs.UNITS]
    yield "commands/df.txt", ["df", "-P", "-k"]
    yield "commands/df-inodes.txt", ["df", "-P", "-i"]
    journal = ["journalctl", "--no-pager", "-q", "-b", "-o", "short-iso", "-n", _LINES]
    for unit in _UNITS:
        yield f"journal/{unit}.txt", [*journal, "-u", unit]
    yield "journal/soci-bootstrap.txt", [*journal, "-t", "soci-bootstrap"]


def _output(system: System, argv: list[str]) -> bytes:
    program = argv[0] if argv[0].startswith("/") else programs.find(system, argv[0])
    done = system.run([program, *argv[1:]], timeout=_SECONDS)
    return done.stdout + done.stderr


def _versions() -> str:
    from soci_bootstrap.system.resources import version

    kernel = os.uname()
    running = f"{kernel.sysname} {kernel.release} {kernel.machine}"
    return f"soci-bootstrap {version()}\nPython {sys.version}\n{running}\n"

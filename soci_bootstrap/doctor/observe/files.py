"""Files as they stand: ours, and those of others that say how the node is wired."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from soci_bootstrap import paths
from soci_bootstrap.configfiles import containerd_text
from soci_bootstrap.configfiles.containerd_text import KEY, TABLES
from soci_bootstrap.doctor.checks.units import BOOT_FILE, LINKS, SERVICE_DROPIN, SERVICE_FILE, SOCKET_FILE
from soci_bootstrap.doctor.finding import Observed, Unknown, attempt
from soci_bootstrap.doctor.observe import outputs
from soci_bootstrap.doctor.observe.node import Daemon, Disk
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.plan import steps
from soci_bootstrap.plan.desired import Desired
from soci_bootstrap.runtime.unwire import config_files
from soci_bootstrap.state.record import Record
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.system import System

PATHS = (SERVICE_FILE, SOCKET_FILE, SERVICE_DROPIN, paths.CONTAINERD_DROPIN, BOOT_FILE, *LINKS.values())

_ELF_HEAD = 64


def daemon(system: System, wired: Wired | None) -> Daemon:
    """SOCI's daemon as systemd would start it; what the units leave open as recorded, or the default."""
    default = Daemon(root=wired.root, address=wired.address) if wired else Daemon()
    lines = read_unit(system, paths.SOCI_SERVICE).values("ExecStart")
    try:
        words = shlex.split(lines[-1].lstrip("-@:+!")) if lines else []
    except ValueError:
        words = []
    listens = read_unit(system, paths.SOCI_SOCKET).values("ListenStream", "Socket")
    return Daemon(
        program=words[0] if words and words[0].startswith("/") else default.program,
        config=_flag(words, "config") or default.config,
        root=_flag(words, "root") or default.root,
        address=listens[-1] if listens else default.address,
    )


def files(
    system: System, record: Record | None, desired: Observed[Desired], binary: str
) -> Mapping[str, Observed[steps.Observed]]:
    """Everything that is, or should be, ours, but the daemon: its digest is taken apart."""
    wanted = {*PATHS, paths.AGENT, paths.NODEADM_DROPIN, *(record.managed if record else ())}
    if not isinstance(desired, Unknown):
        wanted.update(item.path for item in desired.items)
    return {path: attempt(lambda path=path: _held(system, path)) for path in sorted(wanted - {binary})}  # type: ignore[misc]


def regular(system: System, path: str) -> bytes | None:
    """A file's bytes, None where there is none; what would block or is no file is refused.

    Raises:
        StateError: it is a directory, a pipe or the like, or can't be read.
    """
    entry = system.entry(system.followed(path))
    if entry.kind in {"file", "absent"}:
        return system.read(path)
    raise StateError(
        f"{path} is no regular file",
        found="a directory" if entry.kind == "dir" else "neither a file nor a link",
        expected="a file",
        remedy="move it away, then run `soci-bootstrap install`",
    )


def elf_arch(system: System, path: str) -> str:
    """The architecture of a program by its header; empty for what is none.

    Raises:
        OSError: it can't be read.
    """
    path = system.followed(path)
    if system.entry(path).kind != "file":
        return ""
    with open(system.path(path), "rb") as file:
        return outputs.elf_arch(file.read(_ELF_HEAD))


def other_snapshotters(system: System, config: str) -> tuple[tuple[str, str], ...]:
    """Files that containerd imports and that name a snapshotter other than SOCI."""
    wired = Wired(WiringMode.NONE, "v3", "", "", False, config, "", "", "")
    return tuple(
        (path, value)
        for path, text in config_files(system, wired)
        for value in containerd_text.values(text, KEY, TABLES)
        if path != config and value != "soci"
    )


def _held(system: System, path: str) -> steps.Observed:
    entry = system.entry(path)
    return steps.Observed(entry, system.sha256(path) if entry.kind == "file" else "")


def _flag(words: list[str], name: str) -> str:
    for word, following in zip(words, [*words[1:], ""]):
        flag, equals, value = word.partition("=")
        if flag in {f"--{name}", f"-{name}"}:
            return value if equals else following
    return ""


def observe(system: System, path: str) -> Disk:
    """The file system of ``path``, or of the nearest directory above it that exists.

    Raises:
        OSError: it can't be looked at.
    """
    host = system.path(system.followed(_existing(system, path)))
    room, device = os.statvfs(host), os.stat(host).st_dev
    source = attempt(lambda: mount(system, path)[0])
    return Disk(
        device=device,
        source="" if isinstance(source, Unknown) else source,
        array=attempt(lambda: _on_array(system, device)) is True,
        free=room.f_bavail * room.f_frsize,
        size=room.f_blocks * room.f_frsize,
        inodes_free=room.f_favail,
        inodes=room.f_files,
    )


def _on_array(system: System, device: int) -> bool:
    """Tell whether a block device is an md array, or is made of one."""
    directory = system.followed(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    made_of = system.listdir(f"{directory}/slaves")
    below = [directory, *(system.followed(f"{directory}/slaves/{name}") for name in made_of)]
    return any(system.entry(f"{block}/md").kind == "dir" for block in below)


def mount(system: System, path: str) -> tuple[str, tuple[str, ...]]:
    """Find the mount on which a path lies; nothing is known of that below ``--root``."""
    if not system.live:
        return "", ()
    data = system.read(paths.MOUNTINFO) or b""
    return outputs.mount_of(data.decode("utf-8", "replace"), os.path.realpath(path))


def _existing(system: System, path: str) -> str:
    while path != "/" and system.entry(system.followed(path)).kind == "absent":
        path = os.path.dirname(path)
    return path

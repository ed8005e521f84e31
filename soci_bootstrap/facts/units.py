"""Unit files, read without asking systemd: the same below ``--root`` as on a node."""

from __future__ import annotations

from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.errors import StateError
from soci_bootstrap.system import System

# In systemd's own order of precedence, highest first.
_SEARCHED = (
    paths.UNITS,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_MASK = "/dev/null"
_CONFIGURED = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")


@dataclass(frozen=True)
class Directive:
    """One ``key=value`` of a unit, continuation lines joined."""

    section: str
    key: str
    value: str


@dataclass(frozen=True)
class UnitFile:
    """A unit as its main file and its drop-ins define it, in the order systemd applies them.

    Attributes:
        path: its main file; empty where there is none.
        directives: those of the main file, then those of each drop-in by name.
    """

    name: str
    path: str
    directives: tuple[Directive, ...]

    def values(self, key: str, section: str = "Service") -> tuple[str, ...]:
        """The values of a list-like key; an empty assignment resets the list as in systemd."""
        found: list[str] = []
        for directive in self.directives:
            if directive.section == section and directive.key == key:
                found = [*found, directive.value] if directive.value else []
        return tuple(found)


def read_unit(system: System, name: str, without: str = "") -> UnitFile:
    """Read a unit's files.

    Args:
        system: where.
        name: the unit, with its suffix.
        without: the name of a drop-in to leave out (our own).

    Raises:
        StateError: it is SOCI's, and masked. Any other that is masked is as good as not there.
    """
    path = _first(system, name)
    if path and system.followed(path) == _MASK:
        if name.startswith("soci-snapshotter."):
            raise _masked(name, path)
        return UnitFile(name, "", ())
    directives = list(_parse(system.read(path) or b"")) if path else []
    for dropin in _dropins(system, name):
        if dropin.rsplit("/", 1)[1] != without:
            directives += _parse(system.read(dropin) or b"")
    return UnitFile(name, path, tuple(directives))


def _first(system: System, name: str) -> str:
    """The main file of a unit by precedence, or what masks it; empty for none."""
    for directory in _SEARCHED:
        path = f"{directory}/{name}"
        if system.followed(path) == _MASK or system.read(path) is not None:
            return path
    return ""


def _masked(name: str, path: str) -> StateError:
    return StateError(
        f"{name} is masked",
        found=f"{path} leads to {_MASK}",
        expected="a unit that may be started",
        remedy=f"run `systemctl unmask {name}` where SOCI is wanted",
    )


def read_manager(system: System) -> UnitFile:
    """The configuration of systemd itself: system.conf and its drop-ins; the section is ``Manager``."""
    name = "system.conf"
    directives = list(_parse(system.read(f"/etc/systemd/{name}") or b""))
    for dropin in _dropins(system, name, _CONFIGURED):
        directives += _parse(system.read(dropin) or b"")
    return UnitFile(name, f"/etc/systemd/{name}", tuple(directives))


def _dropins(system: System, name: str, searched: tuple[str, ...] = _SEARCHED) -> list[str]:
    chosen: dict[str, str] = {}
    for directory in reversed(searched):
        for file in system.listdir(f"{directory}/{name}.d"):
            if file.endswith(".conf"):
                chosen[file] = f"{directory}/{name}.d/{file}"
    return [chosen[file] for file in sorted(chosen) if system.followed(chosen[file]) != _MASK]


def _parse(data: bytes) -> list[Directive]:
    directives: list[Directive] = []
    section, held = "", ""
    for raw in data.decode("utf-8", "replace").splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not held):
            continue
        line = held + line
        held = ""
        if line.endswith("\\"):
            held = line[:-1].rstrip() + " "
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if equals:
            directives.append(Directive(section, key.strip(), value.strip()))
    return directives

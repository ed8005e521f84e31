"""containerd on this node: its version, where its configuration is, and what it says of SOCI.

Sources: containerd's docs (config schema 2 and 3), `containerd --version` of 1.4 to 2.2.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from soci_bootstrap import paths
from soci_bootstrap.configfiles import toml
from soci_bootstrap.configfiles.containerd import NamedSoci, soci_in_config
from soci_bootstrap.errors import CommandError, WiringError
from soci_bootstrap.facts import environment
from soci_bootstrap.facts.units import UnitFile
from soci_bootstrap.system import System

_VERSION = re.compile(rb"(?<![\w.])v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?!\d)")


_SNAPSHOTS = ("snapshotter/snapshots", "snapshots")
"""Where a snapshotter keeps them, below its root: SOCI, and those that it descends from."""


@dataclass(frozen=True)
class Containerd:
    """containerd as found.

    Attributes:
        present: its program, its unit or its version is there.
        version: (major, minor, patch), None where it can't be told.
        config_path: the file its unit names, or the default one.
        root: where it keeps content and snapshots.
        environment: the ``Environment=`` and ``EnvironmentFile=`` lines of its unit that count, verbatim.
        variables: what they and systemd's defaults make of its environment, by name.
        config: that file's bytes, empty for none.
        config_mode: its permission bits.
        soci: SOCI as that file names it, where there are snapshots below its root.
    """

    present: bool
    version: tuple[int, int, int] | None
    config_path: str = paths.CONTAINERD_CONFIG
    root: str = paths.CONTAINERD_ROOT
    environment: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    config: bytes = b""
    config_mode: int = 0o644
    soci: NamedSoci | None = None


def observe(system: System, unit: UnitFile) -> Containerd:
    """Read what there is of containerd, given its unit without our own drop-in."""
    config_path = system.followed(_config_path(unit))
    config = system.read(config_path) or b""
    program = system.which("containerd")
    version = _version(system, program)
    return Containerd(
        present=bool(program or unit.path or version or config),
        version=version,
        config_path=config_path,
        root=_root(config, config_path),
        environment=tuple(
            # Without the lines that a later reset took back: in SOCI's drop-in it would reset more.
            f"{key}={value}"
            for key in ("Environment", "EnvironmentFile")
            for value in unit.values(key)
        ),
        variables=environment.of_service(system, unit),
        config=config,
        config_mode=system.entry(config_path).mode or 0o644,
        soci=_soci_in_use(system, config, config_path),
    )


def _soci_in_use(system: System, config: bytes, config_path: str) -> NamedSoci | None:
    found = soci_in_config(config, config_path)
    if found is None or not paths.is_plain(found.root):
        return None
    return found if any(system.listdir(f"{found.root}/{place}") for place in _SNAPSHOTS) else None


def parse_version(output: bytes) -> tuple[int, int, int] | None:
    """The version in ``containerd --version``'s output; None where there is none."""
    match = _VERSION.search(output)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _version(system: System, program: str | None) -> tuple[int, int, int] | None:
    if system.live and program:
        try:
            return parse_version(system.run([program, "--version"], timeout=5).stdout)
        except CommandError:
            return None
    return parse_version(system.read(paths.CONTAINERD_VERSION) or b"")


def _config_path(unit: UnitFile) -> str:
    for line in unit.values("ExecStart"):
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        for word, following in zip(words, [*words[1:], ""]):
            if word in {"--config", "-c"} and following.startswith("/"):
                return following
            if word.startswith("--config=/"):
                return word.partition("=")[2]
    return paths.CONTAINERD_CONFIG


def _root(config: bytes, config_path: str) -> str:
    if b"root" not in config:
        return paths.CONTAINERD_ROOT
    found = toml.loads(config, config_path).get("root")
    if not isinstance(found, str) or not found.startswith("/"):
        return paths.CONTAINERD_ROOT
    if not paths.is_plain(found.rstrip("/")):
        raise WiringError(
            f"{config_path} names a root that can't go into a unit file",
            found=repr(found),
            expected=paths.PLAIN,
            remedy="give containerd a root with a plainer name",
        )
    return found.rstrip("/")

"""containerd on this node: its version, where its configuration is, and what it says of SOCI.

Sources: containerd's docs (config schema 2 and 3), `containerd --version` of 1.4 to 2.2.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soci_bootstrap import environment, paths, toml, unwire
from soci_bootstrap.errors import CommandError, WiringError
from soci_bootstrap.system import System
from soci_bootstrap.unitfiles import UnitFile

_VERSION = re.compile(rb"(?<![\w.])v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?!\d)")


_UNANNOTATED = "disable_snapshot_annotations"
_SNAPSHOTS = ("snapshotter/snapshots", "snapshots")
"""Where a snapshotter keeps them, below its root: SOCI, and those that it descends from."""


@dataclass(frozen=True)
class NamedSoci:
    """SOCI as a configuration of containerd names it.

    Attributes:
        address: of its socket, empty where it does not say.
        root: its exports.root, empty where it does not say.
        snapshotter: whether images are unpacked with it.
        annotated: whether it gets to know which image a layer is of, without which it pulls nothing.
    """

    address: str
    root: str
    snapshotter: bool = True
    annotated: bool = True


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


def soci_in(config: bytes, name: str) -> NamedSoci | None:
    """SOCI as a configuration names it, in either dialect; None where it does not.

    Raises:
        StateError: the configuration is not TOML.
    """
    if b"soci" not in config:
        return None
    document = toml.loads(config, name)
    tables = [_below(document, *path) for path in unwire.TABLES]
    snapshotter = any(table.get(unwire.KEY) == "soci" for table in tables)
    plugins = _below(document, "proxy_plugins")
    if "soci" not in plugins and not snapshotter:
        return None
    plugin = _below(plugins, "soci")
    return NamedSoci(
        address=str(plugin.get("address") or "").replace("unix://", "", 1),
        root=str(_below(plugin, "exports").get("root") or "").rstrip("/"),
        snapshotter=snapshotter,
        annotated=any(table.get(_UNANNOTATED) is False for table in tables),
    )


def _below(table: Mapping[str, Any], *path: str) -> dict[str, Any]:
    found: Any = table
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _soci_in_use(system: System, config: bytes, config_path: str) -> NamedSoci | None:
    found = soci_in(config, config_path)
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


def concurrent_unpacks(config: bytes, name: str) -> int:
    """The transfer plugin's ``max_concurrent_unpacks``; 1, its default, where it is not set.

    Raises:
        StateError: the configuration is not TOML.
    """
    if b"max_concurrent_unpacks" not in config:
        return 1
    table = _below(toml.loads(config, name), "plugins", "io.containerd.transfer.v1.local")
    found = table.get("max_concurrent_unpacks")
    return found if isinstance(found, int) else 1


def wired(config: bytes, dialect: str, address: str, root: str, name: str) -> bytes:
    """Containerd's configuration with SOCI as its snapshotter and every other value kept.

    Args:
        config: the file as it stands, empty for none.
        dialect: ``v2`` or ``v3``, for a file that is new or says nothing.
        address: SOCI's socket.
        root: SOCI's ``--root``, for kubelet's image statistics.
        name: the file's path, for errors.

    Returns:
        ``config`` itself where it says all of that already, in a way that the hooks can change; else TOML.

    Raises:
        StateError: it is not TOML.
        WiringError: it is of schema 1, or a name that we need holds something else.
    """
    document = toml.loads(config, name)
    version = document.get("version")
    if version not in (None, 2, 3) or (version is None and document):
        raise WiringError(
            f"{name} is of a schema that we don't write",
            found=f"version {version or 1}",
            expected="version = 2 or version = 3",
            remedy="run `containerd config migrate` into it, or use --wiring none",
        )
    before = toml.dumps(document)
    document.setdefault("version", 3 if dialect == "v3" else 2)
    merge(document, keys("v3" if document["version"] == 3 else "v2", address, root), name)
    after = toml.dumps(document)
    # What the hooks could not take back, such as an inline table, is written anew as well.
    kept = after == before and unwire.named([config.decode()]) == "soci"
    return config if kept else after


def keys(dialect: str, address: str, root: str) -> dict[str, Any]:
    """The tables that make containerd use SOCI, in schema 2's or 3's dialect."""
    image = {"snapshotter": "soci", _UNANNOTATED: False}
    plugins: dict[str, Any] = {"io.containerd.cri.v1.images": image}
    if dialect == "v2":
        plugins = {"io.containerd.grpc.v1.cri": {"containerd": image}}
    return {"plugins": plugins, **proxy_plugin(address, root)}


def proxy_plugin(address: str, root: str) -> dict[str, Any]:
    """The table by which containerd knows SOCI; it stays when SOCI is unwired."""
    soci = {"type": "snapshot", "address": address, "exports": {"root": root}}
    return {"proxy_plugins": {"soci": soci}}


def merge(into: dict[str, Any], tables: dict[str, Any], name: str) -> None:
    """Deep-merge ``tables`` into a document; scalars replace, tables keep their other keys."""
    for key, value in tables.items():
        if not isinstance(value, dict):
            into[key] = value
            continue
        below = into.setdefault(key, {})
        if not isinstance(below, dict):
            raise WiringError(
                f"{name} has a value where SOCI's wiring needs a table",
                found=f"{key} = {below!r}",
                expected=f"[{key}]",
                remedy="repair the file; it was left as it is",
            )
        merge(below, value, name)

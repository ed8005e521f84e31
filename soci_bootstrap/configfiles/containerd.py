"""containerd's configuration: the tables that make it use SOCI, and SOCI as it names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soci_bootstrap.configfiles import containerd_text, toml
from soci_bootstrap.configfiles.toml import table
from soci_bootstrap.errors import WiringError

_TRANSFER_PLUGIN = "io.containerd.transfer.v1.local"
_UNANNOTATED = "disable_snapshot_annotations"


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
class Effective:
    """The effective configuration, of all files together: ``containerd config dump``, parsed.

    Attributes:
        snapshotter: CRI's.
        annotations: snapshotters are told of layers' digests.
        plugin: whether ``proxy_plugins.soci`` is there.
        address: that plugin's socket.
        root: that plugin's exports.root.
        sandbox: reference of the pause image.
        unpacks: the transfer plugin's max_concurrent_unpacks.
    """

    snapshotter: str = "overlayfs"
    annotations: bool = False
    plugin: bool = False
    address: str = ""
    root: str = ""
    sandbox: str = ""
    unpacks: int = 1


def soci_in_config(config: bytes, name: str) -> NamedSoci | None:
    """SOCI as a configuration names it, in either dialect; None where it does not.

    Raises:
        StateError: the configuration is not TOML.
    """
    if b"soci" not in config:
        return None
    document = toml.loads(config, name)
    tables = [table(document, *path) for path in containerd_text.TABLES]
    snapshotter = any(table.get(containerd_text.KEY) == "soci" for table in tables)
    plugins = table(document, "proxy_plugins")
    if "soci" not in plugins and not snapshotter:
        return None
    plugin = table(plugins, "soci")
    return NamedSoci(
        address=str(plugin.get("address") or "").replace("unix://", "", 1),
        root=str(table(plugin, "exports").get("root") or "").rstrip("/"),
        snapshotter=snapshotter,
        annotated=any(table.get(_UNANNOTATED) is False for table in tables),
    )


def effective(dump: bytes) -> Effective:
    """Read from ``containerd config dump`` what decides pulls, in either schema (1.7 to 2.2).

    Raises:
        StateError: it is not TOML.
    """
    document = toml.loads(dump, "the output of `containerd config dump`")
    plugins = table(document, "plugins")
    images = table(plugins, containerd_text.IMAGES_PLUGIN)
    cri = table(plugins, containerd_text.CRI_PLUGIN)
    # Schema 3 splits CRI's plugin in two; a schema 2 dump has one with a table in it.
    chosen = images or table(cri, "containerd")
    sandbox = table(images, "pinned_images").get("sandbox") or cri.get("sandbox_image")
    plugin = table(table(document, "proxy_plugins"), "soci")
    unpacks = table(plugins, _TRANSFER_PLUGIN).get("max_concurrent_unpacks")
    return Effective(
        snapshotter=str(chosen.get("snapshotter") or "overlayfs"),
        annotations=chosen.get("disable_snapshot_annotations") is False,
        plugin=bool(plugin),
        address=str(plugin.get("address") or "").partition("unix://")[2] or str(plugin.get("address") or ""),
        root=str(table(plugin, "exports").get("root") or ""),
        sandbox=str(sandbox or ""),
        unpacks=unpacks if isinstance(unpacks, int) else 1,
    )


def concurrent_unpacks(config: bytes, name: str) -> int:
    """The transfer plugin's ``max_concurrent_unpacks``; 1, its default, where it is not set.

    Raises:
        StateError: the configuration is not TOML.
    """
    if b"max_concurrent_unpacks" not in config:
        return 1
    plugin = table(toml.loads(config, name), "plugins", _TRANSFER_PLUGIN)
    found = plugin.get("max_concurrent_unpacks")
    return found if isinstance(found, int) else 1


def with_soci(config: bytes, dialect: str, address: str, root: str, name: str) -> bytes:
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
    kept = after == before and containerd_text.named([config.decode()]) == "soci"
    return config if kept else after


def keys(dialect: str, address: str, root: str) -> dict[str, Any]:
    """The tables that make containerd use SOCI, in schema 2's or 3's dialect."""
    image = {"snapshotter": "soci", _UNANNOTATED: False}
    plugins: dict[str, Any] = {containerd_text.IMAGES_PLUGIN: image}
    if dialect == "v2":
        plugins = {containerd_text.CRI_PLUGIN: {"containerd": image}}
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

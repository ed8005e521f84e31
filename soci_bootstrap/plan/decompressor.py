"""The decompressor that we bring, and the test that every decompressor passes before it is named.

SOCI gives each gzip layer to the program that config.toml names. One that is missing stops the
daemon and one that is wrong fails every pull, so none is named untried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soci_bootstrap import paths
from soci_bootstrap.errors import DecompressorError
from soci_bootstrap.system import System, resources

if TYPE_CHECKING:
    from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap import __version__
from soci_bootstrap.configfiles.soci import USUAL_ARGS, Decompressor
from soci_bootstrap.facts import DECOMPRESSORS, Facts
from soci_bootstrap.plan.items import File, Item
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Phase, Record

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class CarriedFile:
    """A file to put on the node: its path there, its bytes and its permission bits."""

    path: str
    data: bytes
    mode: int


def carried(arch: str, python: tuple[int, int]) -> tuple[CarriedFile, ...] | None:
    """Read the files of the carried decompressor for a node's architecture and Python.

    Args:
        arch: ``amd64`` or ``arm64``.
        python: major and minor version of the node's ``/usr/bin/python3``.

    Returns:
        The files, or None where we carry no ``igzip_lib`` for that Python and architecture (always
        so in a source checkout, which carries none).
    """
    machine = _MACHINES.get(arch)
    version = f"{python[0]}{python[1]}"
    try:
        library = resources.read(f"igzip_lib-{version}-{machine}.so")
    except OSError:
        return None
    return (
        CarriedFile(f"{paths.LIBEXEC}/igzip_lib.cpython-{version}-{machine}-linux-gnu.so", library, 0o644),
        CarriedFile(f"{paths.LIBEXEC}/inflate.py", resources.read("inflate.py"), 0o644),
        CarriedFile(paths.DECOMPRESSOR, resources.read("gunzip"), 0o755),
    )


def look_at(chosen: Decompressor, system: System) -> None:
    """Below ``--root``, where nothing is executed: see that one asked for by its path is a program.

    Raises:
        DecompressorError: it is not, and SOCI's daemon would not start.
    """
    if system.live or chosen.kind != "path" or chosen.path is None or system.is_executable(chosen.path):
        return
    entry = system.entry(system.followed(chosen.path))
    found = {"absent": "nothing there", "file": f"a file of mode {entry.mode:04o}"}
    raise DecompressorError(
        f"the decompressor {chosen.path} can't be used in this image",
        found=found.get(entry.kind, "no regular file"),
        expected="an executable file",
        remedy="install it there first, or use --decompressor auto",
    )


def excluded(record: Record | None, settings: Settings) -> frozenset[str]:
    """Recall the candidates of `auto` that failed here at an earlier run of this version."""
    if record is None or record.agent != __version__ or settings.decompressor != "auto":
        return frozenset()
    return frozenset(record.excluded)


def choose(
    settings: Settings, facts: Facts, excluded: frozenset[str]
) -> tuple[Decompressor, tuple[Item, ...]]:
    """Choose the decompressor to name on this node, and the files that it needs."""
    return choose_from(settings, facts.arch, facts.python, facts.programs, excluded)


def choose_from(
    settings: Settings,
    arch: str,
    python: tuple[int, int] | None,
    programs: Mapping[str, str],
    excluded: frozenset[str],
) -> tuple[Decompressor, tuple[Item, ...]]:
    """Choose a decompressor: the one asked for, or for `auto` igzip, ours, unpigz, none.

    Args:
        settings: the user's.
        arch: SOCI's name for the node's.
        python: of the node's ``/usr/bin/python3``.
        programs: the node's own, by name.
        excluded: those that failed their self-test or lost the comparison here.

    Returns:
        What config.toml names, and the files that it needs.

    Raises:
        DecompressorError: the one asked for is not here, or failed.
    """
    asked = settings.decompressor
    if asked.startswith("/"):
        return Decompressor("path", asked, settings.decompressor_args or ()), ()
    ours = carried(arch, python) if python else None
    available: dict[str, Decompressor] = {"none": Decompressor("none")}
    if ours:
        available["isal"] = Decompressor("isal", paths.DECOMPRESSOR)
    for name in DECOMPRESSORS:
        if name in programs:
            available[name] = Decompressor(name, programs[name], USUAL_ARGS)
    order = ("igzip", "isal", "unpigz", "none") if asked == "auto" else (asked,)
    kind = next((name for name in order if name in available and name not in excluded), None)
    if kind is None:
        raise DecompressorError(
            f"the decompressor {asked} can't be used on this node",
            found="it failed its self-test" if asked in excluded else "it is not here",
            expected=f"one of {', '.join(sorted(available))}",
            remedy="use --decompressor auto",
        )
    files = ours if kind == "isal" and ours else ()
    items = tuple(File("decompressor", file.path, file.data, Phase.SOFTWARE, file.mode) for file in files)
    return available[kind], items

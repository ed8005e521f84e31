"""The decompressor that we bring, and the test that every decompressor passes before it is named.

SOCI gives each gzip layer to the program that config.toml names. One that is missing stops the
daemon and one that is wrong fails every pull, so none is named untried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soci_bootstrap import paths
from soci_bootstrap.errors import DecompressorError
from soci_bootstrap.system import System, resources

if TYPE_CHECKING:
    from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap import __version__
from soci_bootstrap.configfiles.soci import USUAL_ARGS, Decompressor
from soci_bootstrap.facts import Facts
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
    """What the decompressor we bring consists of on a node of this architecture and Python.

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
        library = resources.read(f"data/igzip_lib-{version}-{machine}.so")
    except OSError:
        return None
    return (
        CarriedFile(f"{paths.LIBEXEC}/igzip_lib.cpython-{version}-{machine}-linux-gnu.so", library, 0o644),
        CarriedFile(f"{paths.LIBEXEC}/inflate.py", resources.read("data/inflate.py"), 0o644),
        CarriedFile(paths.DECOMPRESSOR, resources.read("data/gunzip"), 0o755),
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
    """What an earlier run of this version found out about `auto`'s candidates on this node."""
    if record is None or record.agent != __version__ or settings.decompressor != "auto":
        return frozenset()
    return frozenset(record.excluded)


def choose(settings: Settings, facts: Facts, excluded: frozenset[str]) -> tuple[Decompressor, list[Item]]:
    """The decompressor to name, and the files it needs: igzip, ours, unpigz, none."""
    asked = settings.decompressor
    if asked.startswith("/"):
        return Decompressor("path", asked, settings.decompressor_args or ()), []
    ours = carried(facts.arch, facts.python) if facts.python else None
    available: dict[str, Decompressor] = {"none": Decompressor("none")}
    if ours:
        available["isal"] = Decompressor("isal", paths.DECOMPRESSOR)
    for name, args in (("igzip", USUAL_ARGS), ("unpigz", USUAL_ARGS)):
        if name in facts.programs:
            available[name] = Decompressor(name, facts.programs[name], args)
    order = ("igzip", "isal", "unpigz", "none") if asked == "auto" else (asked,)
    kind = next((name for name in order if name in available and name not in excluded), None)
    if kind is None:
        raise DecompressorError(
            f"the decompressor {asked} can't be used on this node",
            found="it failed its self-test" if asked in excluded else "it is not here",
            expected=f"one of {', '.join(sorted(available))}",
            remedy="use --decompressor auto",
        )
    files: list[Item] = []
    if kind == "isal" and ours:
        files = [File("decompressor", file.path, file.data, Phase.SOFTWARE, file.mode) for file in ours]
    return available[kind], files

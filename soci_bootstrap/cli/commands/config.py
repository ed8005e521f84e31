"""`config`: the config.toml that this node, or another, would get. Changes nothing and needs no root."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from soci_bootstrap import paths
from soci_bootstrap.cli.result import Result
from soci_bootstrap.configfiles import soci, soci_rules
from soci_bootstrap.configfiles.soci import USUAL_ARGS, Decompressor
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts import containerd, content_store
from soci_bootstrap.facts import machine as machine_
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.plan.tuning import tune
from soci_bootstrap.system import System

if TYPE_CHECKING:
    from soci_bootstrap.settings import Settings
    from soci_bootstrap.system.console import Console


def run(settings: Settings, console: Console) -> Result:
    """Tune and render, without asking more of the node than anybody may read.

    Returns:
        ``document`` has ``vcpus``, ``memory_gib``, ``parallel_pull`` (SOCI's keys), ``decompressor``
        (``kind``, ``path``, ``args``), ``config`` (the text) and ``notes``; ``text`` is the file.

    Raises:
        UnsupportedArchitectureError: SOCI is not published for this machine.
    """
    system = System(settings.root)
    machine = machine_.this_machine(settings.vcpus, settings.memory_gib)
    notes: list[str] = []
    decompressor = _decompressor(settings, system, notes)
    discard = _may_discard(settings, system, notes)
    pull = tune(machine, decompressor, discard_unpacked_layers=discard, overrides=settings.parallel_pull)
    text = soci.render(pull).decode()
    for note in notes:
        console.info(note)
    document: dict[str, object] = {
        "vcpus": machine.vcpus,
        "memory_gib": round(machine.memory_bytes / (1 << 30), 3),
        "parallel_pull": {key: getattr(pull, key) for key in soci_rules.KEYS},
        "decompressor": asdict(decompressor),
        "config": text,
        "notes": notes,
    }
    return Result(0, document, text)


def _another(settings: Settings) -> bool:
    """Whether it is about a node that is not here: a fresh one, with nothing pulled yet."""
    return settings.live and (settings.vcpus is not None or settings.memory_gib is not None)


def _may_discard(settings: Settings, system: System, notes: list[str]) -> bool:
    if _another(settings):
        return True
    try:
        root = containerd.observe(system, read_unit(system, paths.CONTAINERD_SERVICE)).root
        store = content_store.observe(system, root)
    except StateError as error:
        notes.append(f"discard_unpacked_layers is true as on a fresh node; not visible here: {error.problem}")
        return True
    if store.foreign_layer:
        found = f"{store.foreign_layer} lies in the content store (SOCI issue 2035)"
        notes.append(f"discard_unpacked_layers is false: {found}")
    return store.may_discard


def _decompressor(settings: Settings, system: System, notes: list[str]) -> Decompressor:
    """The one asked for wherever it usually is, or what `auto` would try first here."""
    asked = settings.decompressor
    if asked.startswith("/"):
        return Decompressor("path", asked, settings.decompressor_args or ())
    arch = machine_.architecture(settings.arch)
    if asked == "auto":
        asked = _automatic(arch, system)
        if asked == "isal" and arch == "arm64":
            notes.append(
                "on arm64, install takes unpigz where a comparison on the node says that it is faster"
            )
    if asked == "none":
        return Decompressor("none")
    if asked == "isal":
        from soci_bootstrap import paths

        return Decompressor("isal", paths.DECOMPRESSOR)
    return Decompressor(asked, system.which(asked) or f"/usr/bin/{asked}", USUAL_ARGS)


def _automatic(arch: str, system: System) -> str:
    if system.which("igzip"):
        return "igzip"
    python = _python(system)
    if python is not None:
        from soci_bootstrap.plan.decompressor import carried

        if carried(arch, python):
            return "isal"
    return "unpigz" if system.which("unpigz") else "none"


def _python(system: System) -> tuple[int, int] | None:
    """This interpreter's version: it is the node's own; below --root what the link's name says."""
    if system.live:
        return sys.version_info[:2]
    major, _, minor = system.followed(paths.PYTHON).rpartition("/python")[2].partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None

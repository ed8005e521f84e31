"""`config`: the config.toml that this node, or another, would get. Changes nothing and needs no root."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from soci_bootstrap import paths
from soci_bootstrap.cli.result import Result
from soci_bootstrap.configfiles import soci, soci_rules
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts import DECOMPRESSORS, containerd, content_store, machine, programs, python_version
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import decompressor, tuning
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
    tuned_for = machine.this_machine(settings.vcpus, settings.memory_gib)
    notes: list[str] = []
    chosen = _decompressor(settings, system, notes)
    discard = _may_discard(settings, system, notes)
    pull = tuning.tune(tuned_for, chosen, discard_unpacked_layers=discard, overrides=settings.parallel_pull)
    text = soci.render(pull).decode()
    for note in notes:
        console.info(note)
    document: dict[str, object] = {
        "vcpus": tuned_for.vcpus,
        "memory_gib": round(tuned_for.memory_bytes / (1 << 30), 3),
        "parallel_pull": {key: getattr(pull, key) for key in soci_rules.KEYS},
        "decompressor": asdict(chosen),
        "config": text,
        "notes": notes,
    }
    return Result(0, document, text)


def _may_discard(settings: Settings, system: System, notes: list[str]) -> bool:
    if settings.live and (settings.vcpus is not None or settings.memory_gib is not None):
        # Another node, a fresh one: nothing was pulled there yet.
        return True
    try:
        root = containerd.observe(system, read_unit(system, paths.CONTAINERD_SERVICE)).root
        store = content_store.observe(system, root)
    except StateError as error:
        notes.append(f"discard_unpacked_layers is true as on a fresh node; not visible here: {error.problem}")
        return True
    may = tuning.may_discard(store, settings.soci_version or release.NEWEST)
    if not may:
        found = f"{store.foreign_layer} lies in the content store (SOCI issue 2035)"
        notes.append(f"discard_unpacked_layers is false: {found}")
    return may


def _decompressor(settings: Settings, system: System, notes: list[str]) -> soci.Decompressor:
    """The one asked for wherever it usually is, or what `auto` would try first here."""
    arch = machine.architecture(settings.arch)
    asked = settings.decompressor
    found = programs(system)
    if asked in DECOMPRESSORS:
        found = {asked: f"/usr/bin/{asked}", **found}
    if asked == "isal":
        # A checkout carries no library for it; the zipapp does.
        return soci.Decompressor("isal", paths.DECOMPRESSOR)
    python = sys.version_info[:2] if system.live else python_version(system)
    chosen, _ = decompressor.choose_from(settings, arch, python, found, frozenset())
    if asked == "auto" and chosen.kind == "isal" and arch == "arm64":
        notes.append("on arm64, install takes unpigz where a comparison on the node says that it is faster")
    return chosen

"""Look at the node once, all at the same time, and never fail: what can't be seen is said to be so."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from soci_bootstrap import paths
from soci_bootstrap.configfiles import toml
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor.finding import NEEDS_ROOT, Answer, Observed, Unknown, attempt, begin
from soci_bootstrap.doctor.observe import files, planned, programs
from soci_bootstrap.doctor.observe.node import (
    NOT_ASKED,
    Binary,
    Daemon,
    Images,
    Node,
    Process,
    Unit,
)
from soci_bootstrap.errors import DecompressorError
from soci_bootstrap.facts import machine
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.runtime import mounts, probe, self_test
from soci_bootstrap.state import health
from soci_bootstrap.state import record as record_
from soci_bootstrap.state.record import Record
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.state.wiring import from_json as wired_from_json
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import ABSENT

T = TypeVar("T")
_BELOW_ROOT = Unknown("below --root nothing is executed")
_NOT_RUNNING = Unknown("SOCI does not run, and is not started for this")
_NO_ANSWER = Unknown("SOCI does not answer")
_NO_PLUGIN = Unknown("containerd does not know SOCI")
_NO_CONTAINERD = Unknown("containerd does not run")
_ANSWER_SECONDS = 1.5
_SLOW_SECONDS = 60.0
"""For hashing the daemon and for the self-test, on a disk that is busy pulling."""


@dataclass(frozen=True)
class _Config:
    """SOCI's config.toml, and the decompressor that it names."""

    data: Observed[bytes | None]
    document: Observed[Mapping[str, Any]]
    path: str = ""
    args: tuple[str, ...] = ()


def observe(system: System) -> Node:
    """The node as it is now. Changes nothing but one probe snapshot, which it removes."""
    # Imports the libraries for TOML, which no thread may be the first to do (see system.threads).
    toml.loads(toml.dumps({}), "")
    record = attempt(lambda: record_.load(system))
    known = None if isinstance(record, Unknown) else record
    wired = wired_from_json(known.wiring) if known else None
    found = attempt(lambda: files.daemon(system, wired))
    daemon = Daemon() if isinstance(found, Unknown) else found
    config = _config(system, daemon.config)

    live = _Live(system, daemon, wired)
    digest = begin(lambda: system.sha256(system.followed(daemon.program)), _SLOW_SECONDS)
    version = _if_live(system, lambda: programs.version(system, daemon.program))
    works = _self_test(system, config)
    wanted = begin(lambda: planned.observe(system, record), _SLOW_SECONDS)

    node = Node(
        live=system.live,
        root=os.geteuid() == 0,
        boot_id=_boot_id(system) if system.live else "",
        record=record,
        state=_state(system, record),
        arch=attempt(lambda: machine.architecture(planned.arch(system, known))),
        machine=attempt(machine.this_machine),
        python=attempt(lambda: system.is_executable(paths.PYTHON)),
        daemon=daemon,
        service_file=_path_of(system, paths.SOCI_SERVICE),
        socket_file=_path_of(system, paths.SOCI_SOCKET),
        config=config.data,
        document=config.document,
        decompressor=config.path,
        decompressor_entry=attempt(lambda: system.entry(system.followed(config.path)))
        if config.path
        else ABSENT,
        pause_cached=attempt(lambda: system.entry(paths.PAUSE_IMAGE).kind == "file") is True,
        soci_disk=attempt(lambda: files.observe(system, daemon.root)),
    )
    node = planned.add(node, system, wanted(), wired)
    node = replace(
        node,
        files=files.files(system, known, node.desired, daemon.program),
        binary=Binary(
            entry=attempt(lambda: system.entry(system.followed(daemon.program))),
            arch=attempt(lambda: files.elf_arch(system, daemon.program)),
            noexec=attempt(lambda: "noexec" in files.mount(system, daemon.program)[1]) is True,
            sha256=digest(),
            version=version(),
        ),
        decompressor_works=works(),
    )
    return live.complete(node)


class _Live:
    """Questions that only a running node answers: begun first, for they take longest."""

    def __init__(self, system: System, daemon: Daemon, wired: Wired | None) -> None:
        self._system, self._daemon = system, daemon
        self._config = wired.containerd_config if wired else paths.CONTAINERD_CONFIG
        self._units = _if_live(system, lambda: programs.units(system))
        self._dump = _if_live(system, lambda: programs.effective(system, self._config))

    def complete(self, node: Node) -> Node:
        """Add it; SOCI is dialled only where it runs, since a connection would start it."""
        system = self._system
        units = self._units()
        effective = self._dump()
        node = replace(node, units=units, containerd=replace(node.containerd, effective=effective))
        service, containerd = node.unit(paths.SOCI_SERVICE), node.unit(paths.CONTAINERD_SERVICE)
        errors = _if_live(system, lambda: programs.journal_errors(system, service))
        answers = self._answers(service)
        node = replace(
            node,
            answers=answers,
            images=self._images(node, effective, answers, containerd),
            process=_process(system, service, self._daemon),
        )
        return replace(node, errors=errors())

    def _answers(self, service: Observed[Unit]) -> Observed[bool]:
        if isinstance(service, Unknown):
            return service
        if service.active != "active":
            return _NOT_RUNNING
        address = self._daemon.address
        if os.geteuid() != 0 and not os.access(address, os.W_OK):
            return Unknown(NEEDS_ROOT)
        return probe.answers(address, _ANSWER_SECONDS)

    def _images(
        self, node: Node, effective: Observed[Effective], answers: Observed[bool], containerd: Observed[Unit]
    ) -> Images:
        running = attempt(lambda: mounts.on_snapshotter(self._system, self._daemon.root))
        if isinstance(containerd, Unknown) or containerd.active != "active":
            why = containerd if isinstance(containerd, Unknown) else _NO_CONTAINERD
            return Images(why, why, why, why, running)
        why_not = answers if isinstance(answers, Unknown) else _NO_ANSWER
        plugin = isinstance(effective, Effective) and effective.plugin
        if answers is True and not plugin:
            why_not = _NO_PLUGIN
        asked = programs.ask_containerd(self._system, dial=answers is True and plugin)
        try:
            return asked.images(why_not, running)
        finally:
            # Whoever interrupts this leaves no probe behind.
            asked.finish()


# -- files ------------------------------------------------------------------------------------


def _config(system: System, path: str) -> _Config:
    data = attempt(lambda: files.regular(system, path))
    if isinstance(data, Unknown):
        return _Config(data, data)
    document = attempt(lambda: toml.loads(data or b"", path))
    if isinstance(document, Unknown):
        return _Config(data, document)
    gzip: Any = document
    for key in ("pull_modes", "parallel_pull_unpack", "decompress_streams", "gzip"):
        gzip = gzip.get(key) if isinstance(gzip, dict) else None
    gzip = gzip if isinstance(gzip, dict) else {}
    named, args = gzip.get("path"), gzip.get("args")
    return _Config(
        data,
        document,
        named if isinstance(named, str) and named.startswith("/") else "",
        tuple(map(str, args)) if isinstance(args, list) else (),
    )


def _self_test(system: System, config: _Config) -> Answer[str]:
    def test() -> str:
        try:
            self_test.self_test(config.path, config.args, system)
        except DecompressorError as error:
            return f"{error.problem}: {error.found}" if error.found else error.problem
        return ""

    return _if_live(system, test if config.path else str)


def _process(system: System, service: Observed[Unit], daemon: Daemon) -> Process:
    found: Observed[Process] = service if isinstance(service, Unknown) else NOT_ASKED
    if not isinstance(service, Unknown) and service.active == "active" and service.pid:
        found = attempt(lambda: programs.process(system, service, daemon))
    return Process(found, (), found, found) if isinstance(found, Unknown) else found


def _state(system: System, record: Observed[Record | None]) -> Observed[health.State]:
    # It reads what it may not read as a fresh one, and lies where the record does.
    if isinstance(record, Unknown) and record.why == NEEDS_ROOT:
        return record
    return attempt(lambda: health.load(system))


def _path_of(system: System, unit: str) -> str:
    found = attempt(lambda: read_unit(system, unit).path)
    return "" if isinstance(found, Unknown) else found


def _boot_id(system: System) -> str:
    found = attempt(lambda: system.read(paths.BOOT_ID))
    return found.decode("ascii", "replace").strip() if isinstance(found, bytes) else ""


def _if_live(system: System, look: Callable[[], T]) -> Answer[T]:
    """A look at what runs; below ``--root`` it only says that nothing is executed there."""
    return begin(look, _SLOW_SECONDS) if system.live else lambda: _BELOW_ROOT

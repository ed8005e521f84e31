"""Ask the node's programs. Each call is bounded; none of them starts or changes anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.configfiles import containerd
from soci_bootstrap.configfiles.containerd import Effective
from soci_bootstrap.doctor import redact
from soci_bootstrap.doctor.finding import Answer, Observed, Unknown, begin
from soci_bootstrap.doctor.observe import outputs
from soci_bootstrap.doctor.observe.node import Daemon, Images, Process, Unit
from soci_bootstrap.errors import BootstrapError, CommandError
from soci_bootstrap.runtime.ctr import NAMESPACE, Ctr
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.programs import checked
from soci_bootstrap.system.systemd import Systemd

UNITS = (
    paths.SOCI_SERVICE,
    paths.SOCI_SOCKET,
    paths.CONTAINERD_SERVICE,
    paths.KUBELET_SERVICE,
    paths.BOOT_SERVICE,
)
_SECONDS = 5.0
_JOURNAL_LINES = "500"
_CLOCK_SLACK = 2.0


def units(system: System) -> dict[str, Unit]:
    """All units in one call."""
    return outputs.units(Systemd(system, Deadline(_SECONDS)).show(outputs.SHOWN, *UNITS))


def config_dump(system: System, config: str) -> bytes:
    """Containerd's effective configuration, as TOML."""
    argv = [find(system, "containerd"), "--config", config, "config", "dump"]
    return checked(argv, system.run(argv, timeout=_SECONDS))


def effective(system: System, config: str) -> Effective:
    """The same, parsed."""
    return containerd.effective(config_dump(system, config))


def version(system: System, program: str) -> tuple[int, bytes]:
    """A daemon's ``--version``: its status and what it said."""
    done = system.run([program, "--version"], timeout=_SECONDS)
    return done.status, done.stdout + done.stderr


def journal_errors(system: System, unit: Observed[Unit]) -> tuple[str, ...]:
    """Errors of SOCI's running daemon, or of this boot where none runs; signed URLs without signature."""
    argv = [find(system, "journalctl"), "--no-pager", "-q", "-b", "-o", "json", "-n", _JOURNAL_LINES]
    if isinstance(unit, Unit) and unit.invocation and unit.active == "active":
        argv.append(f"_SYSTEMD_INVOCATION_ID={unit.invocation}")
    else:
        argv += ["-u", paths.SOCI_SERVICE]
    lines = outputs.journal_errors(checked(argv, system.run(argv, timeout=_SECONDS)))
    # doctor's output goes where a node's does: to logs that more people read than its journal.
    return tuple(map(redact.text, lines))


def process(system: System, unit: Unit, daemon: Daemon) -> Process:
    """SOCI's running daemon, by /proc."""
    directory = f"/proc/{unit.pid}"
    status = (system.read(f"{directory}/status") or b"").decode("ascii", "replace")
    deleted, astray = _open_files(directory, daemon)
    return Process(
        resident=outputs.resident(status),
        older_than=_changed_since(system, unit, (daemon.program, daemon.config)),
        astray=astray,
        deleted=deleted,
    )


@dataclass
class Asked:
    """The questions to containerd, all under way at once."""

    probe: Answer[str] | None
    unpacked: Answer[dict[str, bool]] | None
    soci: Answer[int] | None
    overlayfs: Answer[int]

    def finish(self) -> None:
        """Wait until the probe snapshot is removed."""
        if self.probe:
            self.probe()

    def images(self, why_not: Unknown, running: Observed[bool]) -> Images:
        """The answers; those that would have dialled SOCI are unknown where it does not answer."""
        unpacked: Observed[Mapping[str, bool]] = self.unpacked() if self.unpacked else why_not
        return Images(
            probe=self.probe() if self.probe else why_not,
            unpacked=unpacked,
            soci=self.soci() if self.soci else why_not,
            overlayfs=self.overlayfs(),
            running=running,
        )


def ask_containerd(system: System, *, dial: bool) -> Asked:
    """Ask what is where.

    Args:
        system: the node.
        dial: SOCI runs and answers, and containerd knows it; a connection would start it otherwise.
    """

    def probe() -> str:
        try:
            Ctr(system, _SECONDS).probe_snapshot("soci")
        except CommandError as error:
            if "permission denied" in error.found.lower() and os.geteuid() != 0:
                raise
            return f"{error.problem}: {error.found}"
        return ""

    def snapshots(of: str) -> Answer[int]:
        return begin(lambda: len(Ctr(system, _SECONDS).snapshots(of)), 3 * _SECONDS)

    return Asked(
        begin(probe, 3 * _SECONDS) if dial else None,
        begin(lambda: _unpacked(system), 3 * _SECONDS) if dial else None,
        snapshots("soci") if dial else None,
        snapshots("overlayfs"),
    )


def _unpacked(system: System) -> dict[str, bool]:
    argv = [find(system, "ctr"), "-n", NAMESPACE, "images", "check", "--snapshotter", "soci"]
    return outputs.unpacked(checked(argv, system.run(argv, timeout=_SECONDS)))


def find(system: System, name: str) -> str:
    """A program on the node's PATH; raises ``CommandError`` for none."""
    found = system.which(name)
    if found is None:
        raise CommandError(f"{name} is not on this node", expected="it on the PATH", remedy=f"install {name}")
    return found


def _open_files(directory: str, daemon: Daemon) -> tuple[Observed[bool], Observed[str]]:
    """Tell whether a process's program was replaced, and find an open file that is gone from its path."""
    try:
        deleted = os.readlink(f"{directory}/exe").endswith(" (deleted)")
        for number in os.listdir(f"{directory}/fd"):
            target = os.readlink(f"{directory}/fd/{number}")
            if target.startswith(f"{daemon.root}/") and target.endswith(".db"):
                held = os.stat(f"{directory}/fd/{number}")
                standing = os.stat(target) if os.path.exists(target) else None
                if standing is None or (held.st_dev, held.st_ino) != (standing.st_dev, standing.st_ino):
                    return deleted, target
    except PermissionError:
        return Unknown("needs root"), Unknown("needs root")
    except FileNotFoundError:
        # The process or one of its files went away meanwhile: what is left says nothing.
        return False, ""
    return deleted, ""


def _changed_since(system: System, unit: Unit, files: tuple[str, ...]) -> tuple[str, ...]:
    import time

    now = time.time()
    started = now - (time.monotonic() - unit.started)
    changed = []
    for path in files:
        try:
            mtime = system.entry(system.followed(path)).mtime_ns / 1e9
        except BootstrapError:
            continue
        # A time to come means that the clock was set since: then nothing can be told.
        if started + _CLOCK_SLACK < mtime <= now:
            changed.append(path)
    return tuple(changed)

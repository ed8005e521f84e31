"""The systemd side: literal units from ``systemd/``, and drop-ins for what varies by node."""

from __future__ import annotations

from collections.abc import Mapping

from soci_bootstrap import resources
from soci_bootstrap.errors import WiringError
from soci_bootstrap.facts import BOOT, DROPIN_NAME, SERVICE, SOCKET, Facts
from soci_bootstrap.hooks import RESTART_OWED, RESTARTED
from soci_bootstrap.items import File, Item, Link, Phase
from soci_bootstrap.paths import PLAIN, is_plain
from soci_bootstrap.unitfiles import ETC

AGENT = "/usr/local/sbin/soci-bootstrap"
DEFAULT_ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
DAEMONS_OWN = "/var/lib/soci-snapshotter-grpc"
"""SOCI keeps its own content store here, whatever its ``--root``."""
CONTAINERD_DROPIN = f"{ETC}/containerd.service.d/{DROPIN_NAME}"
NODEADM_DROPIN = f"{ETC}/containerd.service.d/10-soci-snapshotter.conf"
_RESTART_ONCE = (
    f"ExecStartPost=-/bin/sh -c 'mv {RESTART_OWED} {RESTARTED} 2>/dev/null"
    " && exec systemctl --no-block try-restart containerd.service'"
)
_NOTE = "# Written by soci-bootstrap for this node; edits are overwritten.\n"


def ground(agent: bytes) -> tuple[Item, ...]:
    """The agent and its boot-time unit, enabled: they stay even where the rest fails."""
    return (
        File("agent", AGENT, agent, Phase.GROUND, 0o755),
        File("boot-unit", f"{ETC}/{BOOT}", resources.read(f"systemd/{BOOT}"), Phase.GROUND),
        Link("boot-unit-enabled", f"{ETC}/multi-user.target.wants/{BOOT}", f"{ETC}/{BOOT}", Phase.GROUND),
    )


def snapshotter(facts: Facts, daemon: str, config: str, address: str, root: str) -> tuple[Item, ...]:
    """Service, socket and containerd's drop-in, enabled.

    Units that the AMI brought stay as they are: what differs goes into our drop-ins.

    Args:
        facts: tells whose the units are, and containerd's environment.
        daemon: the program, absolute.
        config: its config.toml.
        address: the socket to listen on.
        root: the daemon's ``--root``.

    Raises:
        WiringError: a path would not stay one word, or not itself, in a unit file.
    """
    _refuse_odd({"the socket's address": address, "SOCI's root": root})
    phase = Phase.CONFIGURATION
    items: list[Item] = []
    if not facts.ami.service:
        items.append(File("service", f"{ETC}/{SERVICE}", _literal(SERVICE), phase))
    items.append(
        File(
            "service-drop-in",
            f"{ETC}/{SERVICE}.d/{DROPIN_NAME}",
            _service_dropin(facts, daemon, config, root),
            phase,
        )
    )
    if not facts.ami.socket:
        items.append(File("socket", f"{ETC}/{SOCKET}", _literal(SOCKET), phase))
    if facts.ami.socket or address != DEFAULT_ADDRESS:
        items.append(
            File("socket-drop-in", f"{ETC}/{SOCKET}.d/{DROPIN_NAME}", _socket_dropin(facts, address), phase)
        )
    return (
        *items,
        File("containerd-drop-in", CONTAINERD_DROPIN, _literal(f"containerd.service.d/{DROPIN_NAME}"), phase),
        Link("socket-enabled", f"{ETC}/sockets.target.wants/{SOCKET}", f"{ETC}/{SOCKET}", phase),
        Link("service-enabled", f"{ETC}/containerd.service.wants/{SERVICE}", f"{ETC}/{SERVICE}", phase),
    )


def _refuse_odd(paths: Mapping[str, str]) -> None:
    for what, path in paths.items():
        if not is_plain(path):
            raise WiringError(
                f"{what}, from the NodeConfig or from containerd's configuration, can't go into a unit file",
                found=repr(path),
                expected=PLAIN,
                remedy="correct it there",
            )


def _literal(name: str) -> bytes:
    return resources.read(f"systemd/{name}")


def _service_dropin(facts: Facts, daemon: str, config: str, root: str) -> bytes:
    lines = ["[Unit]", f"RequiresMountsFor={root}"]
    service = ["[Service]"]
    if facts.ami.service:
        unit, settings = _settings(_literal(SERVICE))
        lines += unit
        service += settings
    service += [
        "ExecStart=",
        f"ExecStart={daemon} --address fd:// --config {config} --root {root}",
        # SOCI downloads the layers itself: it needs the proxies that containerd was given.
        *facts.containerd.environment,
        # A containerd that started while SOCI was down sees no images until it starts again, once.
        _RESTART_ONCE,
    ]
    return (_NOTE + "\n".join([*lines, "", *service]) + "\n").encode()


def _settings(literal: bytes) -> tuple[list[str], list[str]]:
    """The literal service's own settings, for a unit of the AMI's: its [Unit] and [Service] lines."""
    kept: dict[str, list[str]] = {}
    section = ""
    for line in literal.decode().splitlines():
        if line.startswith("["):
            section = line
        elif line and not line.startswith(("#", "Description=", "Documentation=", "ExecStart=")):
            kept.setdefault(section, []).append(line)
    return kept.get("[Unit]", []), kept.get("[Service]", [])


def _socket_dropin(facts: Facts, address: str) -> bytes:
    lines = ["[Socket]", "SocketMode=0660", "TriggerLimitIntervalSec=0"]
    if address != (facts.ami.address or DEFAULT_ADDRESS):
        lines += ["ListenStream=", f"ListenStream={address}"]
    return (_NOTE + "\n".join(lines) + "\n").encode()

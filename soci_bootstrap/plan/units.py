"""The systemd side: literal units from ``systemd/``, and drop-ins for what varies by node."""

from __future__ import annotations

from collections.abc import Mapping

from soci_bootstrap import paths
from soci_bootstrap.errors import WiringError
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan.items import File, Item, Link
from soci_bootstrap.state.record import Phase
from soci_bootstrap.system import resources

_RESTART_ONCE = (
    f"ExecStartPost=-/bin/sh -c 'mv {paths.RESTART_OWED} {paths.RESTARTED} 2>/dev/null"
    " && exec systemctl --no-block try-restart containerd.service'"
)
_NOTE = "# Written by soci-bootstrap for this node; edits are overwritten.\n"


def agent_items(agent: bytes) -> tuple[Item, ...]:
    """The agent and its boot-time unit, enabled: they stay even where the rest fails."""
    return (
        File("agent", paths.AGENT, agent, Phase.AGENT, 0o755),
        File(
            "boot-unit",
            f"{paths.UNITS}/{paths.BOOT_SERVICE}",
            resources.read(f"systemd/{paths.BOOT_SERVICE}"),
            Phase.AGENT,
        ),
        Link(
            "boot-unit-enabled",
            f"{paths.UNITS}/multi-user.target.wants/{paths.BOOT_SERVICE}",
            f"{paths.UNITS}/{paths.BOOT_SERVICE}",
            Phase.AGENT,
        ),
    )


def soci_items(facts: Facts, daemon: str, config: str, address: str, root: str) -> tuple[Item, ...]:
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
        items.append(
            File("service", f"{paths.UNITS}/{paths.SOCI_SERVICE}", _literal(paths.SOCI_SERVICE), phase)
        )
    items.append(
        File(
            "service-drop-in",
            f"{paths.UNITS}/{paths.SOCI_SERVICE}.d/{paths.UNIT_DROPIN}",
            _service_dropin(facts, daemon, config, root),
            phase,
        )
    )
    if not facts.ami.socket:
        items.append(File("socket", f"{paths.UNITS}/{paths.SOCI_SOCKET}", _literal(paths.SOCI_SOCKET), phase))
    if facts.ami.socket or address != paths.SOCI_ADDRESS:
        items.append(
            File(
                "socket-drop-in",
                f"{paths.UNITS}/{paths.SOCI_SOCKET}.d/{paths.UNIT_DROPIN}",
                _socket_dropin(facts, address),
                phase,
            )
        )
    return (
        *items,
        File(
            "containerd-drop-in",
            paths.CONTAINERD_DROPIN,
            _literal(f"containerd.service.d/{paths.UNIT_DROPIN}"),
            phase,
        ),
        Link(
            "socket-enabled",
            f"{paths.UNITS}/sockets.target.wants/{paths.SOCI_SOCKET}",
            f"{paths.UNITS}/{paths.SOCI_SOCKET}",
            phase,
        ),
        Link(
            "service-enabled",
            f"{paths.UNITS}/containerd.service.wants/{paths.SOCI_SERVICE}",
            f"{paths.UNITS}/{paths.SOCI_SERVICE}",
            phase,
        ),
    )


def _refuse_odd(chosen: Mapping[str, str]) -> None:
    for what, path in chosen.items():
        if not paths.is_plain(path):
            raise WiringError(
                f"{what}, from the NodeConfig or from containerd's configuration, can't go into a unit file",
                found=repr(path),
                expected=paths.PLAIN,
                remedy="correct it there",
            )


def _literal(name: str) -> bytes:
    return resources.read(f"systemd/{name}")


def _service_dropin(facts: Facts, daemon: str, config: str, root: str) -> bytes:
    lines = ["[Unit]", f"RequiresMountsFor={root}"]
    service = ["[Service]"]
    if facts.ami.service:
        unit, settings = _settings(_literal(paths.SOCI_SERVICE))
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
    if address != (facts.ami.address or paths.SOCI_ADDRESS):
        lines += ["ListenStream=", f"ListenStream={address}"]
    return (_NOTE + "\n".join(lines) + "\n").encode()

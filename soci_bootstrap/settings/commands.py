"""Every command, once, and the documents that `render` knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: as typed.
        summary: one line of help.
        operand: metavar of the one operand that it needs, empty for none.
        choices: what the operand may be, empty for anything.
    """

    name: str
    summary: str
    operand: str = ""
    choices: tuple[str, ...] = ()


KINDS = (
    "userdata",
    "ec2nodeclass",
    "launch-template",
    "terraform",
    "ssm-document",
    "image-builder",
    "packer",
)

COMMANDS = (
    Command("install", "turn on SOCI's parallel pull on this node; what userData runs"),
    Command("bake", "the same into an image: nothing is started, and each boot tunes and wires"),
    Command("plan", "what install would do here, as steps and diffs; exit 0 nothing, 3 changes pending"),
    Command("doctor", "is this node pulling with SOCI, and if not, why; exit 0 where it is"),
    Command("rollback", "put the node back as it was before the first install"),
    Command("render", "a document that installs it where nodes start", "KIND", KINDS),
    Command("mirror", "fetch and verify the pinned releases into a directory or an s3:// prefix", "DEST"),
    Command("config", "print the config.toml that this node, or another, would get"),
    Command("completion", "print a completion script", "SHELL", ("bash", "zsh")),
    Command("man", "print the manual page"),
)
COMMAND_NAMES = tuple(command.name for command in COMMANDS)

UNPRIVILEGED = ("plan", "doctor", "render", "mirror", "config")
"""Commands for everybody: what they can't see is marked as such."""


def command(name: str) -> Command | None:
    """Find the command of that name."""
    return next((known for known in COMMANDS if known.name == name), None)

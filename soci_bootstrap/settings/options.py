"""Every command and option, once: flags, environment, file, help, completion and man page read this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from soci_bootstrap.settings import values

ENVIRONMENT_PREFIX = "SOCI_BOOTSTRAP_"
STUB_ENVIRONMENT = ("SOCI_BOOTSTRAP_ZIPAPP_URL", "SOCI_BOOTSTRAP_ZIPAPP_SHA256")
"""The stub's: every command but `render`, which has options of these names, ignores them."""


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


@dataclass(frozen=True)
class Option:
    """One option, under the same name in every source.

    Attributes:
        name: the flag without its dashes, which is the file's key too; the environment's name is
            upper case with underscores and a prefix.
        help: one sentence of help.
        parse: text, or a TOML value, to a typed value; raises ``ValueError`` with what was found
            and expected.
        commands: those that take it as a flag; elsewhere the environment's and the file's are ignored.
        metavar: what its value is called, empty for a switch.
        short: a letter that stands for it.
        choices: what shells complete it with; ``values.FILES`` or ``values.DIRECTORIES`` for paths.
        filed: whether the environment and the file may give it; for ``--config`` and ``--root``
            the environment alone can, since they say where the file is.
    """

    name: str
    help: str
    parse: Callable[[object], object]
    commands: tuple[str, ...]
    metavar: str = ""
    short: str = ""
    choices: tuple[str, ...] = ()
    filed: bool = True

    @property
    def flag(self) -> str:
        """``--name``."""
        return f"--{self.name}"

    @property
    def attribute(self) -> str:
        """Its name in ``Settings``."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return ENVIRONMENT_PREFIX + self.attribute.upper()


WIRINGS = ("auto", "nodeadm", "direct", "none")
ARCHITECTURES = ("amd64", "arm64")
DECOMPRESSORS = ("auto", "igzip", "isal", "unpigz", "none")
RENDER_KINDS = (
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
    Command(
        "doctor", "is this node pulling with SOCI, and if not, why; exit 0, 1 broken, 2 degraded or pending"
    ),
    Command("rollback", "put the node back as it was before the first install"),
    Command("render", "a document that installs it where nodes start", "KIND", RENDER_KINDS),
    Command("mirror", "fetch and verify the pinned releases into a directory or an s3:// prefix", "DEST"),
    Command("config", "print the config.toml that this node, or another, would get"),
    Command("completion", "print a completion script", "SHELL", ("bash", "zsh")),
    Command("man", "print the manual page"),
)
COMMAND_NAMES = tuple(command.name for command in COMMANDS)

UNPRIVILEGED = ("plan", "doctor", "render", "mirror", "config")
"""Commands for everybody: what they can't see is marked as such."""

_WORKING = ("install", "bake", "plan", "doctor", "rollback", "render", "mirror", "config")
_NODE = ("install", "bake", "plan", "config", "render")
_ROOTED = ("install", "bake", "plan", "doctor", "rollback", "config")
_MACHINE = ("install", "bake", "plan", "config")

OPTIONS = (
    Option(
        "root",
        "work below DIR instead of /, without ever talking to a running systemd",
        values.directory,
        _ROOTED,
        "DIR",
        choices=values.DIRECTORIES,
        filed=False,
    ),
    Option(
        "soci-version",
        "release of SOCI, 0.11.0 or newer (the newest pinned one)",
        values.version,
        (*_NODE, "mirror"),
        "V",
    ),
    Option(
        "mirror",
        "take the release from below URL, DIR or s3://bucket/prefix, as `mirror` lays it out",
        values.mirror,
        (*_NODE, "mirror"),
        "URL|DIR",
        choices=values.DIRECTORIES,
    ),
    Option("tarball", "take the release from this archive", values.text, _NODE, "FILE", choices=values.FILES),
    Option(
        "sha256", "the archive's digest; overrides the pinned one", values.digest, (*_NODE, "mirror"), "HEX"
    ),
    Option(
        "arch",
        "architecture to install for; only with --root, or with mirror",
        values.choice(ARCHITECTURES),
        (*_MACHINE, "mirror"),
        "ARCH",
        choices=ARCHITECTURES,
    ),
    Option(
        "wiring",
        "how containerd and kubelet are pointed at SOCI (auto)",
        values.choice(WIRINGS),
        _NODE,
        "HOW",
        choices=WIRINGS,
    ),
    Option("snapshotter-root", "SOCI's root directory on the node", values.node_path, _NODE, "DIR"),
    Option(
        "set",
        "set one of SOCI's parallel-pull keys; may be repeated",
        values.text,
        _NODE,
        "KEY=VALUE",
        choices=values.SET_KEYS,
    ),
    Option(
        "decompressor",
        "what inflates layers: auto, igzip, isal, unpigz, none, or a path, called with -d -c (auto)",
        values.decompressor(DECOMPRESSORS),
        _NODE,
        "WHICH",
        choices=DECOMPRESSORS,
    ),
    Option(
        "deadline",
        "seconds that all waiting may take together (120)",
        values.seconds,
        ("install", "bake", "plan", "rollback", "mirror", "render"),
        "SECONDS",
    ),
    Option("vcpus", "tune for a node of N vCPUs; with config or --root", values.count, _MACHINE, "N"),
    Option(
        "memory-gib",
        "tune for a node of N GiB of memory; with config or --root",
        values.gibibytes,
        _MACHINE,
        "N",
    ),
    Option("strict", "fail with 1 instead of failing open with 2", values.boolean, _NODE),
    Option(
        "force",
        "go on where it is refused for the sake of workloads, images or edits",
        values.boolean,
        (*_NODE, "rollback"),
    ),
    Option(
        "bundle",
        "also write what a bug report needs to FILE, without secrets",
        values.text,
        ("doctor",),
        "FILE",
        choices=values.FILES,
    ),
    Option(
        "zipapp-url",
        "https:// or s3:// URL that nodes fetch the zipapp from",
        values.zipapp_url,
        ("render",),
        "URL",
    ),
    Option("zipapp-sha256", "the zipapp's digest (the running one's)", values.digest, ("render",), "HEX"),
    Option(
        "node-config",
        "carry this NodeConfig document too",
        values.text,
        ("render",),
        "FILE",
        choices=values.FILES,
    ),
    Option(
        "instance-store-policy",
        "what an EC2NodeClass does with local disks",
        values.choice(("RAID0",)),
        ("render",),
        "RAID0",
        choices=("RAID0",),
    ),
    Option("name", "what the rendered object is called", values.object_name, ("render",), "NAME"),
    Option("cluster-name", "the cluster of an EC2NodeClass", values.cluster_name, ("render",), "NAME"),
    Option(
        "ami-version",
        "the AL2023 AMI of an EC2NodeClass: latest or vYYYYMMDD",
        values.ami_version,
        ("render",),
        "VERSION",
    ),
    Option(
        "config",
        "read settings from FILE (/etc/soci-bootstrap/config.toml)",
        values.text,
        _WORKING,
        "FILE",
        choices=values.FILES,
        filed=False,
    ),
    Option("json", "print one JSON object on stdout", values.boolean, _WORKING),
    Option("verbose", "every detail on stderr", values.boolean, _WORKING, short="v"),
    Option("quiet", "errors and warnings only", values.boolean, _WORKING, short="q"),
)


def command(name: str) -> Command | None:
    """The command of that name."""
    return next((known for known in COMMANDS if known.name == name), None)


def options_of(name: str) -> tuple[Option, ...]:
    """The options that a command takes, in the order of help."""
    return tuple(option for option in OPTIONS if name in option.commands)

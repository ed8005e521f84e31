"""Every option, once: flags, environment, file, record, rendered documents, help and completion read this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from soci_bootstrap.fetch.release import ARCHITECTURES
from soci_bootstrap.settings import values
from soci_bootstrap.settings.commands import KINDS

ENVIRONMENT_PREFIX = "SOCI_BOOTSTRAP_"
STUB_ENVIRONMENT = ("SOCI_BOOTSTRAP_ZIPAPP_URL", "SOCI_BOOTSTRAP_ZIPAPP_SHA256")
"""The stub's: every command but `render`, which has options of these names, ignores them."""
BUILD_ENVIRONMENT = ("SOCI_BOOTSTRAP_COMMIT",)
"""For scripts/build: every command ignores it."""


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
        lasting: whether the record keeps it, since the boot-time unit goes on doing it.
        for_nodes: whether `render` passes it on to the nodes' agents, since it changes what they do.
        kinds: documents that have a place for it, empty for all; a flag of another kind is refused.
    """

    name: str
    help: str
    parse: Callable[[object], object]
    commands: tuple[str, ...]
    metavar: str = ""
    short: str = ""
    choices: tuple[str, ...] = ()
    filed: bool = True
    lasting: bool = False
    for_nodes: bool = False
    kinds: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """``--name``."""
        return f"--{self.name}"

    @property
    def attribute(self) -> str:
        """Its name among the values that were given."""
        return self.name.replace("-", "_")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of ``Settings`` that hold its value."""
        return ("parallel_pull", "decompressor_args") if self.name == "set" else (self.attribute,)

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return ENVIRONMENT_PREFIX + self.attribute.upper()


WIRINGS = ("auto", "nodeadm", "direct", "none")
DECOMPRESSORS = ("auto", "igzip", "isal", "unpigz", "none")
_WITH_USER_DATA = ("userdata", "ec2nodeclass", "launch-template", "terraform")
_NODE_CLASS = ("ec2nodeclass",)

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
        lasting=True,
        for_nodes=True,
    ),
    Option(
        "mirror",
        "take the release from below URL, DIR or s3://bucket/prefix, as `mirror` lays it out",
        values.mirror,
        (*_NODE, "mirror"),
        "URL|DIR",
        choices=values.DIRECTORIES,
        for_nodes=True,
    ),
    Option(
        "tarball",
        "take the release from this archive",
        values.text,
        _NODE,
        "FILE",
        choices=values.FILES,
        for_nodes=True,
    ),
    Option(
        "sha256",
        "the archive's digest; overrides the pinned one",
        values.digest,
        (*_NODE, "mirror"),
        "HEX",
        for_nodes=True,
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
        lasting=True,
        for_nodes=True,
    ),
    Option(
        "snapshotter-root",
        "SOCI's root directory on the node",
        values.node_path,
        _NODE,
        "DIR",
        lasting=True,
        for_nodes=True,
    ),
    Option(
        "decompressor",
        "what inflates layers: auto, igzip, isal, unpigz, none, or a path, called with -d -c (auto)",
        values.decompressor(DECOMPRESSORS),
        _NODE,
        "WHICH",
        choices=DECOMPRESSORS,
        lasting=True,
        for_nodes=True,
    ),
    Option(
        "deadline",
        "seconds that all waiting may take together (120)",
        values.seconds,
        ("install", "bake", "plan", "rollback", "mirror", "render"),
        "SECONDS",
        for_nodes=True,
    ),
    Option(
        "set",
        "set one of SOCI's parallel-pull keys; may be repeated",
        values.text,
        _NODE,
        "KEY=VALUE",
        choices=values.SET_KEYS,
        lasting=True,
        for_nodes=True,
    ),
    Option("vcpus", "tune for a node of N vCPUs; with config or --root", values.count, _MACHINE, "N"),
    Option(
        "memory-gib",
        "tune for a node of N GiB of memory; with config or --root",
        values.gibibytes,
        _MACHINE,
        "N",
    ),
    Option("strict", "fail with 1 instead of failing open with 2", values.boolean, _NODE, for_nodes=True),
    Option(
        "force",
        "go on where it is refused for the sake of workloads, images or edits",
        values.boolean,
        (*_NODE, "rollback"),
        lasting=True,
        for_nodes=True,
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
        "wait",
        "look again until the node is healthy, for at most SECONDS",
        values.seconds,
        ("doctor",),
        "SECONDS",
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
        kinds=_WITH_USER_DATA,
    ),
    Option(
        "instance-store-policy",
        "what an EC2NodeClass does with local disks",
        values.choice(("RAID0",)),
        ("render",),
        "RAID0",
        choices=("RAID0",),
        kinds=_NODE_CLASS,
    ),
    Option(
        "name",
        "what the rendered object is called",
        values.object_name,
        ("render",),
        "NAME",
        kinds=tuple(kind for kind in KINDS if kind != "userdata"),
    ),
    Option(
        "cluster-name",
        "the cluster of an EC2NodeClass",
        values.cluster_name,
        ("render",),
        "NAME",
        kinds=("ec2nodeclass", "ssm-document"),
    ),
    Option(
        "ami-version",
        "the AL2023 AMI of an EC2NodeClass: latest or vYYYYMMDD",
        values.ami_version,
        ("render",),
        "VERSION",
        kinds=_NODE_CLASS,
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
    Option(
        "verbose", "every detail on stderr; `doctor` lists every check", values.boolean, _WORKING, short="v"
    ),
    Option("quiet", "errors and warnings only", values.boolean, _WORKING, short="q"),
)


def options_of(name: str) -> tuple[Option, ...]:
    """Select the options that a command takes, in the order of help."""
    return tuple(option for option in OPTIONS if name in option.commands)

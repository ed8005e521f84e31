"""A node with its mirror, `install` run on it, and what is compared before and after."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.node.lab import tree
from tests.node.lab.eks import NODECONFIG, Ami, eks_node
from tests.node.lab.mirror import HOST, Mirror
from tests.node.lab.node import Node
from tests.node.lab.soci import build
from tests.node.lab.soci.build import Release
from tests.node.matrix import RECORD
from tests.node.zipapp import ZIPAPP, zipapp

PROGRAM = "/opt/soci-bootstrap.pyz"
URL = f"https://{HOST}:8443"
UNITS = (
    "soci-snapshotter.service",
    "soci-snapshotter.socket",
    "soci-bootstrap.service",
    "containerd.service",
    "kubelet.service",
    "nodeadm-run.service",
)
KEYS = {"outcome", "reason", "steps", "soci_version", "arch", "sha256", "wiring", "seconds"}
"""Of the contract's object."""
LEFT_BEHIND = (
    "/usr/local/sbin/soci-bootstrap",
    "/etc/systemd/system/soci-bootstrap.service",
    "/etc/systemd/system/multi-user.target.wants/soci-bootstrap.service",
    "/var/lib/soci-bootstrap",
    "/var/lib/soci-bootstrap/record.json",
    "/var/lib/soci-bootstrap/state.json",
)
"""All that a failed install on a node may leave."""
NOT_OURS = ("/var/lib/containerd", "/var/lib/containerd/*", "/var/lib/systemd/*", "/var/log*", "/opt*")
"""What changes on a running node by itself, and what the tests put there."""
# Every inode of these, with the times that any write to it changes.
_EVERYTHING = (
    "find /etc /usr /var/lib -path /var/lib/containerd -prune -o -path /var/lib/systemd -prune"
    r" -o -printf '%p\t%i %y %m %U %G %s %T@ %C@ %l\n'"
)
_MEASURE = """\
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=open("/opt/install.rss", "w"))
sys.exit(status)
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """How one run of the agent ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one object that ``--json`` prints, checked for its shape."""
        found: dict[str, Any] = json.loads(self.stdout)
        assert set(found) == KEYS
        for step in found["steps"]:
            assert {"name", "changed"} <= set(step) <= {"name", "path", "changed"}
            assert isinstance(step["changed"], bool)
        assert isinstance(found["seconds"], float)
        return found

    @property
    def outcome(self) -> str:
        """Of the object."""
        return str(self.document["outcome"])

    @property
    def changed(self) -> list[str]:
        """Every path, or name of an action, that changed."""
        return [step.get("path", step["name"]) for step in self.document["steps"] if step["changed"]]

    @property
    def last_line(self) -> str:
        """Of stderr."""
        return (self.stderr.splitlines() or [""])[-1]


class Machine:
    """A node and its mirror. Commands are the agent's, on the node.

    Args:
        node: made, not necessarily booted.
        mirror: in its network.
        release: what the mirror serves.
    """

    def __init__(self, node: Node, mirror: Mirror, release: Release) -> None:
        self.node, self.mirror, self.release = node, mirror, release
        self.source = f"--mirror {URL} --sha256 {release.sha256}"

    def install(
        self,
        words: str | None = None,
        *,
        before: str = "",
        program: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Run:
        """`install --json`, by default from the mirror.

        Args:
            words: its other options.
            before: shell words before the command.
            program: one for python3 that runs the agent.
            environment: more of it.
        """
        options = self.source if words is None else words
        line = f"{before} python3 {program} {PROGRAM} install --json {options}"
        done = self.node.run(line, check=False, environment=environment)
        return Run(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def installing(self, words: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """An install that goes on meanwhile; its process id on the node is in /run/installing."""
        line = f"echo $$ >/run/installing; exec python3 {PROGRAM} install --json {self.source} {words}"
        with self.node.popen(["sh", "-c", line]) as process:
            yield process

    def sh(self, script: str) -> str:
        """A shell script's stdout."""
        return self.node.run(script).stdout

    def record(self) -> dict[str, Any]:
        """record.json."""
        found: dict[str, Any] = json.loads(self.node.read(RECORD))
        return found

    def everything(self) -> dict[str, str]:
        """Each path of /etc, /usr and /var/lib but containerd's and systemd's state, and its inode."""
        return dict(line.split("\t", 1) for line in self.sh(_EVERYTHING).splitlines())

    def units(self) -> dict[str, dict[str, str]]:
        """What systemd says of each unit that matters."""
        properties = (
            "ActiveState",
            "SubState",
            "UnitFileState",
            "NeedDaemonReload",
            "MainPID",
            "InvocationID",
        )
        return {unit: self.node.show(unit, *properties) for unit in UNITS}

    def connections(self) -> list[str]:
        """Everything the node's network has seen going out, and the mirror's requests."""
        counters = self.sh("grep -E '^(Tcp|Udp):' /proc/net/snmp").splitlines()
        found = []
        for names, values in zip(counters[::2], counters[1::2]):
            table = dict(zip(names.split(), values.split()))
            found += [f"{name} {table[name]}" for name in ("ActiveOpens", "OutDatagrams") if name in table]
        return [*found, f"{len(self.mirror.log)} requests"]

    def wait(self, what: Callable[[], object], seconds: float = 60) -> None:
        """Until it is true."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.02)


@dataclasses.dataclass(frozen=True)
class Before:
    """A node as it was, to compare with."""

    disk: tree.Tree
    units: dict[str, dict[str, str]]

    @classmethod
    def of(cls, machine: Machine) -> Before:
        """Now."""
        return cls(machine.node.snapshot_tree(), machine.units())

    def assert_unchanged(self, machine: Machine, *, left: tuple[str, ...] = LEFT_BEHIND) -> None:
        """No file but ``left`` is another or was written again; every unit is as it was."""
        ignored = [*NOT_OURS, *left]
        found = tree.differences(self.disk, machine.node.snapshot_tree(), ignore=ignored, mtimes=True)
        assert not found, "\n".join(found)
        units = machine.units()
        for shown in (units, self.units):
            if left:
                shown["soci-bootstrap.service"] = {}
        changed = {unit: (self.units[unit], now) for unit, now in units.items() if now != self.units[unit]}
        assert not changed, changed


@contextlib.contextmanager
def machine(
    ami: Ami,
    *,
    size: int = 0,
    install: bool = False,
    cloud_init: bool = False,
    patches: tuple[tuple[str, str], ...] = (),
) -> Iterator[Machine]:
    """A booted node.

    Args:
        ami: which.
        size: of the daemon in bytes, see ``build.release``.
        install: have userData install; its peak memory in KiB is in /opt/install.rss, its output beside that.
        cloud_init: by the real cloud-init.
        patches: see ``zipapp``.
    """
    release = build.release(size=size)
    command = f"install --json --mirror {URL} --sha256 {release.sha256} >/opt/install.json 2>/opt/install.err"
    script = f"#!/bin/sh\npython3 /opt/measure.py python3 {PROGRAM} {command}\necho $? >/opt/install.rc\n"
    with (
        eks_node(ami, scripts=[script] if install else [], cloud_init=cloud_init) as node,
        Mirror(node) as mirror,
    ):
        mirror.release(release)
        node.write(PROGRAM, zipapp(patches), 0o755)
        node.write("/opt/measure.py", _MEASURE)
        node.boot()
        yield Machine(node, mirror, release)


def rendered(*words: str) -> str:
    """A userData document from `render`, with the lab's NodeConfig in it."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as document:
        document.write(NODECONFIG)
        document.flush()
        command = [sys.executable, "-I", ZIPAPP, "render", "userdata", "--node-config", document.name, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

"""The fault matrix's harness: what a row is, how its node is run, and what is then asked of the node itself.

Nothing here takes the installer's word: containerd, kubelet, the pulled image's container and the
files of the record are looked at on the node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from tests.node.lab import images
from tests.node.lab.cri import Container, Cri
from tests.node.lab.eks import NODECONFIG, Ami, eks_node
from tests.node.lab.mirror import Mirror, Registry
from tests.node.lab.soci import build
from tests.node.zipapp import zipapp

AGENT = "/usr/local/sbin/soci-bootstrap"
RECORD, STATE = "/var/lib/soci-bootstrap/record.json", "/var/lib/soci-bootstrap/state.json"
FAULT = "/opt/lab/soci-fault"
SOCI, OVERLAYFS = "soci", "overlayfs"
GUARD, VERIFY, PREFLIGHT = "hooks.guard.guard", "hooks.verify.verify", "apply.preflight.run"
HOOKS = (GUARD, VERIFY)
"""Either unwires from a SOCI that does not answer: the second where the first was cut off."""
_UP_SECONDS = 60.0
"""A node that joins is up long before; one that doesn't is given up then."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is to be on record.

    Attributes:
        status: ``install``'s exit status, None where it never ended.
        record: record.json's outcome, empty for no record.
        degraded: a pattern found in state.json's reason and, where install failed open, in stderr's last
            line and in the JSON; empty: the state says that nothing is wrong.
    """

    status: int | None = 0
    record: str = "installed"
    degraded: str = ""


HEALTHY = Outcome()


def refused(reason: str) -> Outcome:
    """Install itself failed open."""
    return Outcome(2, "failed", reason)


def guarded(reason: str) -> Outcome:
    """Installed; a hook found out later."""
    return Outcome(degraded=reason)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the matrix.

    Attributes:
        name: the fault.
        via: the snapshotter that a pull goes through in the end.
        outcome: what is on record in the end.
        ami: the node.
        nodeconfig: its NodeConfig.
        options: of ``install``; ``{mirror}`` and ``{sha256}`` are filled in. Empty for no install.
        release: what ``--tarball`` and the mirror hold.
        prepare: on the node before its first boot, with ``bench.mirror`` serving already.
        before: a shell script in the userData before install.
        after: and one after it.
        first: how the node is switched on.
        act: what happens once the node is up, and checks of the row's own.
        saved_by: what keeps this node joining, as MODULE.FUNCTION: without all of these it doesn't.
        patches: source to append to modules of the product, by name.
    """

    name: str
    via: str = SOCI
    outcome: Outcome = HEALTHY
    ami: Ami = dataclasses.field(default_factory=Ami)
    nodeconfig: str = NODECONFIG
    options: str = "--tarball /opt/soci.tgz --sha256 {sha256}"
    release: Callable[[], build.Release] = build.release
    prepare: Callable[[Bench], object] = lambda _: None
    before: str = ""
    after: str = ""
    first: Callable[[Bench], object] = lambda bench: bench.boot()
    act: Callable[[Bench], object] = lambda _: None
    saved_by: tuple[str, ...] = ()
    patches: tuple[tuple[str, str], ...] = ()


class Bench:
    """A row's node with its mirror and registry. A context manager.

    Args:
        row: what to run.
        patches: as a row's, in its stead.
    """

    def __init__(self, row: Row, patches: tuple[tuple[str, str], ...]) -> None:
        self.row = row
        self.release = row.release()
        self._stack = contextlib.ExitStack()
        self.seconds = _UP_SECONDS
        self._pulls = 0
        options = row.options.format(mirror="https://mirror.test:8443", sha256=self.release.sha256)
        install = f"/usr/bin/python3 /opt/soci-bootstrap.pyz install {options} --json"
        install += " >/opt/install.json 2>/opt/install.err"
        scripts = [row.before, f"{install}; echo $? >/opt/install.rc" if options else "", row.after]
        self.node = self._stack.enter_context(
            eks_node(row.ami, nodeconfig=row.nodeconfig, scripts=[f"#!/bin/sh\n{s}\n" for s in scripts if s])
        )
        try:
            self.mirror: Mirror = self._stack.enter_context(Mirror(self.node))  # type: ignore[assignment]
            self.registry: Registry = self._stack.enter_context(Registry(self.node))  # type: ignore[assignment]
            self.node.write("/opt/soci.tgz", self.release.data)
            self.node.write("/opt/soci-bootstrap.pyz", zipapp(patches), 0o755)
            row.prepare(self)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Bench:  # noqa: PYI034 - typing has no Self on 3.9
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # --- doing

    def boot(self) -> None:
        """Until every job has ended, or the time is up."""
        self.node.boot(wait=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.node.wait_booted(timeout=self.seconds)

    def reboot(self) -> None:
        """Pull the plug, and boot."""
        self.node.kill()
        self.boot()

    def sh(self, script: str) -> str:
        """A shell script on the node; its stdout."""
        return self.node.run(script, check=False).stdout

    def agent(self, *words: str) -> str:
        """The agent on the node; stdout and stderr."""
        done = self.node.run([AGENT, *words], check=False)
        return done.stdout + done.stderr

    def start(self, image: images.Image | None = None) -> tuple[Container, str]:
        """Pull a new image through kubelet's image endpoint, and run it: the container, its snapshotter."""
        self._pulls += 1
        reference = self.registry.push(image or images.app(seed=b"%d" % self._pulls), f"app{self._pulls}")
        return self.start_reference(reference)

    def start_reference(self, reference: str, *, pull: bool = True) -> tuple[Container, str]:
        """As ``start`` does, of an image in the registry, or one that is here already."""
        with Cri(self.node, self.image_endpoint()) as cri:
            if pull:
                cri.pull(reference, timeout=self.seconds)
            container = cri.run(reference, timeout=self.seconds)
            if not cri.running(container):
                raise AssertionError(f"the container of {reference} ended")
        info = json.loads(self.node.run(f"ctr -n k8s.io containers info {container.id}").stdout)
        return container, info["Snapshotter"]

    def runs(self, container: Container) -> bool:
        """Whether the container's process lives."""
        return container.id in self.sh("ctr -n k8s.io tasks ls | grep RUNNING")

    def image_endpoint(self) -> str:
        """The socket that kubelet asks for images."""
        return str(self.kubelet()["image"]).replace("unix://", "")

    # --- looking

    def kubelet(self) -> dict[str, Any]:
        """What kubelet says of both its endpoints, said anew."""
        script = "rm -f $0; until [ -e $0 ]; do sleep 0.05; done; cat $0".replace(
            "$0", "/run/lab/kubelet.json"
        )
        try:
            state: dict[str, Any] = json.loads(self.node.run(script, timeout=self.seconds).stdout)
        except subprocess.TimeoutExpired:
            return {"ready": False, "image": "", "errors": [f"kubelet is {self.node.state('kubelet')}"]}
        return state

    def json(self, path: str) -> dict[str, Any]:
        """A JSON document on the node; empty where there is none."""
        return json.loads(self.node.read(path)) if self.node.exists(path) else {}

    def snapshotter(self) -> str:
        """The one in containerd's effective configuration."""
        found = re.findall(r"^\s*snapshotter = [\"'](\w+)", self.sh("containerd config dump"), re.MULTILINE)
        return str(found[0]) if found else OVERLAYFS

    def config(self) -> dict[str, Any]:
        """SOCI's parallel pull settings."""
        import tomllib

        text = self.node.read("/etc/soci-snapshotter-grpc/config.toml")
        settings: dict[str, Any] = tomllib.loads(text)["pull_modes"]["parallel_pull_unpack"]
        return settings

    def wait(self, what: Callable[[], object]) -> None:
        """Until ``what`` is true."""
        end = time.monotonic() + self.seconds
        while not what():
            if time.monotonic() > end:
                raise AssertionError(f"not within {self.seconds} s\n{self.report()}")
            time.sleep(0.1)

    def problems(self, via: str) -> list[str]:
        """Why this node is not one that joins and runs new images through ``via``; empty where it is."""
        state = self.node.state("containerd")
        if state != "active":
            return [f"containerd is {state}"]
        kubelet = self.kubelet()
        if not kubelet["ready"]:
            return [f"kubelet: {error}" for error in kubelet["errors"]]
        try:
            container, snapshotter = self.start()
        except (grpc.RpcError, AssertionError) as error:
            return [f"pull and run: {brief(error)}"]
        with Cri(self.node) as cri:
            cri.stop(container)
        return [] if snapshotter == via else [f"the image lies in {snapshotter}, not {via}"]

    def lies(self, expected: Outcome) -> list[str]:
        """What is on record and not true."""
        found = []
        status = int(self.node.read("/opt/install.rc")) if self.node.exists("/opt/install.rc") else None
        if status != expected.status:
            found.append(f"install ended with {status}, not {expected.status}")
        record, reason = self.json(RECORD), self.json(STATE).get("degraded", "")
        if record.get("outcome", "") != expected.record:
            found.append(f"record.json says {record.get('outcome')!r}, not {expected.record!r}")
        reasons = {"state.json": reason}
        if expected.status == 2 and expected.record == "failed":
            reasons["stderr's last line"] = (self.node.read("/opt/install.err").splitlines() or [""])[-1]
            reasons["install's JSON"] = str(self.json("/opt/install.json").get("reason"))
        for place, text in reasons.items():
            if bool(text) != bool(expected.degraded) or not re.search(expected.degraded, text):
                found.append(f"{place} says {text!r}, not {expected.degraded!r}")
        return found

    def report(self) -> str:
        """What helps where a row fails."""
        commands = (
            "cat /opt/install.err /opt/install.json",
            f"cat {STATE}; grep -o '\"outcome.*' {RECORD}",
            "systemctl list-jobs --no-pager; systemctl --failed --no-legend",
            "ls /etc/eks/nodeadm.d; cat /etc/kubernetes/kubelet/config.json.d/*",
            "journalctl -b --no-pager -o short-monotonic | grep -vE 'level=(info|warn)' | tail -60",
        )
        if not self.node.pid:
            return "the node is off"
        return "\n".join(f"$ {command}\n{self.sh(command + ' 2>&1')}" for command in commands)


def assert_joined(bench: Bench, via: str, outcome: Outcome) -> None:
    """The node joins, new images run through ``via``, and what is on record is true."""
    wrong = bench.problems(via) + bench.lies(outcome)
    if wrong:
        raise AssertionError("\n".join([*wrong, bench.report()]))


def brief(error: BaseException) -> str:
    details = error.details() if isinstance(error, grpc.RpcError) else str(error)
    return str(details).splitlines()[0]

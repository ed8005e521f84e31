"""A node to converge, as its programs and our own checks of it answer."""

from __future__ import annotations

import io
from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.apply import preflight
from soci_bootstrap.apply.context import Context, Mode
from soci_bootstrap.apply.run import Report, run
from soci_bootstrap.errors import BootstrapError, DecompressorError
from soci_bootstrap.paths import NODEADM_DROPIN
from soci_bootstrap.plan import decompressor
from soci_bootstrap.runtime import self_test as self_test_
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Outcome, load
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from tests.support import trees
from tests.support.nodes import Node, write

SHOW = """\
Id=soci-snapshotter.service
ActiveState=inactive
LoadState=loaded

Id=soci-snapshotter.socket
ActiveState={socket}
LoadState=loaded

Id=containerd.service
ActiveState=inactive
LoadState=loaded
"""
CERTS = "/etc/containerd/certs.d"
CONFIG_PATH = "\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n"


class Machine:
    """An EKS node before its first containerd, and what its programs and our own checks say."""

    def __init__(self, tmp_path, monkeypatch) -> None:
        self.root = trees.eks(tmp_path / "node")
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.said = io.StringIO()
        self.tarball, self.sha256 = trees.archive(tmp_path / "soci.tgz")
        self.settings = Settings(command="install", tarball=self.tarball, sha256=self.sha256)
        self.node = Node(self.root, {"systemctl": b"", "systemctl show": self.show})
        self.node.programs["containerd --version"] = b"containerd x v2.1.4 y\n"
        self.preflights: list[dict[str, str]] = []
        self.tested: list[str] = []
        self.broken: set[str] = set()
        self.refusal: BootstrapError | None = None
        monkeypatch.setattr(paths, "JOURNAL", str(tmp_path / "no journal"))
        monkeypatch.setattr(preflight, "run", self.preflight)
        monkeypatch.setattr(self_test_, "self_test", self.self_test)
        monkeypatch.setattr(decompressor, "carried", lambda arch, python: None)

    def show(self, argv: list[str]) -> bytes:
        started = any(call.endswith(" start soci-snapshotter.socket") for call in self.node.calls)
        return SHOW.format(socket="active" if started else "inactive").encode()

    def preflight(self, daemon, config, deadline, environment) -> None:
        self.preflights.append(dict(environment))
        if self.refusal is not None:
            raise self.refusal

    def self_test(self, path, args, system) -> None:
        self.tested.append(path)
        if path in self.broken:
            raise DecompressorError(f"{path} failed its self-test")

    def run(self, mode: Mode = Mode.NODE, **changes) -> Report:
        settings = replace(self.settings, **changes)
        console, deadline = Console(1, self.said), Deadline(60)
        return run(Context(self.node, settings, console, deadline, trees.AGENT, load(self.node), mode))

    def install(self, **changes) -> tuple[str, str | None]:
        """Install, which must not fail: the outcome, and why it takes effect later."""
        report = self.run(**changes)
        assert report.outcome not in {Outcome.FAILED, Outcome.DEGRADED}, report.reason
        return report.outcome.value, report.reason

    def fail_open(self, **changes) -> str:
        """Install, which must fail and fail open: why."""
        report = self.run(**changes)
        assert report.outcome is Outcome.DEGRADED
        assert "could not be put back" not in self.said.getvalue()
        return str(report.reason)

    def boots(self) -> None:
        """A reboot empties /run, and nodeadm-config writes its cache anew."""
        (self.root / "run/soci-bootstrap/planned").unlink(missing_ok=True)
        self.node.calls.clear()
        self.preflights.clear()

    def put(self, **files: str) -> None:
        write(self.root, files)

    def certs(self, name: str, hosts: str = "skip_verify = true\n") -> None:
        trees.put(self.root, "/etc/containerd/config.toml", trees.CONTAINERD_TOML + CONFIG_PATH)
        write(self.root, {f"{CERTS}/{name}/hosts.toml": hosts})

    def wired(self) -> bool:
        return b'snapshotter = \\"soci\\"' in (self.node.read(NODEADM_DROPIN) or b"")

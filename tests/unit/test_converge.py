from __future__ import annotations

import io
import json
from contextlib import ExitStack
from dataclasses import replace

import pytest
import trees
from corpus import servers
from nodes import Node, captured, write

from soci_bootstrap import (
    boot,
    decompressor,
    facts,
    install,
    journal,
    memo,
    nodeconfig,
    preflight,
    registries,
    resources,
    state,
)
from soci_bootstrap.console import Console
from soci_bootstrap.converge import Convergence
from soci_bootstrap.deadline import Deadline
from soci_bootstrap.desired import CONFIG
from soci_bootstrap.errors import (
    BootstrapError,
    CommandError,
    DecompressorError,
    PreflightError,
    StateError,
    WiringError,
)
from soci_bootstrap.facts import SERVICE
from soci_bootstrap.nodeconfig import CACHE, DROPIN
from soci_bootstrap.record import RECORD, ROLLING_BACK, load, save
from soci_bootstrap.settings import Settings, to_json

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
        self.said = io.StringIO()
        self.tarball, self.sha256 = trees.archive(tmp_path / "soci.tgz")
        self.settings = Settings(command="install", tarball=self.tarball, sha256=self.sha256)
        self.node = Node(self.root, {"systemctl": b"", "systemctl show": self.show})
        self.node.programs["containerd --version"] = b"containerd x v2.1.4 y\n"
        self.preflights: list[dict[str, str]] = []
        self.tested: list[str] = []
        self.broken: set[str] = set()
        self.refusal: BootstrapError | None = None
        monkeypatch.setattr(memo, "PLANNED", str(self.root / "run/soci-bootstrap/planned"))
        monkeypatch.setattr(journal, "_SOCKET", str(tmp_path / "no journal"))
        monkeypatch.setattr(preflight, "run", self.preflight)
        monkeypatch.setattr(decompressor, "self_test", self.self_test)
        monkeypatch.setattr(decompressor, "carried", lambda arch, python: None)

    def show(self, argv: list[str]) -> bytes:
        started = "systemctl start soci-snapshotter.socket" in self.node.calls
        return SHOW.format(socket="active" if started else "inactive").encode()

    def preflight(self, daemon, config, deadline, environment) -> None:
        self.preflights.append(dict(environment))
        if self.refusal is not None:
            raise self.refusal

    def self_test(self, path, args, system) -> None:
        self.tested.append(path)
        if path in self.broken:
            raise DecompressorError(f"{path} failed its self-test")

    def run(self, *, boots: bool = False, **changes) -> Convergence:
        settings = replace(self.settings, **changes)
        console, deadline = Console(1, self.said), Deadline(60)
        return Convergence(self.node, settings, console, deadline, trees.AGENT, load(self.node), boot=boots)

    def install(self, **changes) -> tuple[str, str | None]:
        return self.run(**changes).install()

    def fail_open(self, **changes) -> str:
        """As install does it."""
        run = self.run(**changes)
        with pytest.raises(BootstrapError) as caught:
            run.install()
        left = run.undo(everything=False)
        left += run.fall_back(str(caught.value), undone=not left)
        assert left == []
        return str(caught.value)

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
        return b'snapshotter = \\"soci\\"' in (self.node.read(DROPIN) or b"")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def registry():
    """A registry that answers, and its name."""
    with ExitStack() as stack:
        server = stack.enter_context(servers.Server(lambda exchange: exchange.reply(401)))
        yield server.origin.partition("://")[2]


# -- the way it goes ----------------------------------------------------------------------------


def test_installed_then_unchanged(machine) -> None:
    assert machine.install() == ("installed", None)
    assert machine.wired()
    assert machine.tested == ["/usr/bin/unpigz"]
    assert "systemctl daemon-reload" in machine.node.calls
    assert "systemctl start soci-snapshotter.socket" in machine.node.calls
    assert not any("start soci-snapshotter.service" in call for call in machine.node.calls)
    record = load(machine.node)
    assert record is not None
    assert (record.outcome, record.registries) == ("installed", {})
    calls = len(machine.node.calls)
    assert machine.install() == ("unchanged", None)
    assert all("show" in call or "--version" in call for call in machine.node.calls[calls:])


def test_the_daemon_is_proven_before_anything_is_wired(machine) -> None:
    machine.refusal = PreflightError("it does not run", found="status 3")
    assert "it does not run" in machine.fail_open()
    assert not machine.wired()
    assert machine.node.read("/usr/local/bin/soci-snapshotter-grpc") is None
    assert (machine.root / "etc/soci-snapshotter-grpc/config.toml").read_text() == "# someone's own\n"
    assert "it does not run" in state.load(machine.node).degraded
    record = load(machine.node)
    assert record is not None
    assert (record.outcome, record.wiring) == ("degraded", {})
    # The agent and its unit stay for the next boot.
    assert machine.node.read("/usr/local/sbin/soci-bootstrap") == trees.AGENT
    machine.refusal = None
    assert machine.install() == ("installed", None)
    assert state.load(machine.node).degraded == ""


def test_proxies_of_containerd_reach_the_preflight_and_the_fetch(machine, monkeypatch) -> None:
    environment = '[Service]\nEnvironment="HTTPS_PROXY=http://u:p%%40@proxy.test:1" "PATH=/mine"\n'
    write(machine.root, {"/etc/systemd/system/containerd.service.d/environment.conf": environment})
    given: list[dict[str, str]] = []

    def no_network(request, staged, deadline, console, environ, **_):
        given.append(dict(environ))
        raise CommandError("stop here")

    machine.install()
    assert machine.preflights[0]["HTTPS_PROXY"] == "http://u:p%40@proxy.test:1"
    assert "/usr/bin" in machine.preflights[0]["PATH"]
    monkeypatch.setattr("soci_bootstrap.fetch.fetch_binary", no_network)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(CommandError, match="stop here"):
        machine.install(soci_version="0.11.1", sha256="0" * 64)
    assert given[0]["HTTPS_PROXY"] == "http://u:p%40@proxy.test:1"


# -- decompressors ------------------------------------------------------------------------------


def test_the_next_best_takes_a_failed_ones_place(machine) -> None:
    trees.put(machine.root, "/usr/bin/igzip", "", 0o755)
    machine.broken = {"/usr/bin/igzip"}
    machine.install()
    assert machine.tested == ["/usr/bin/igzip", "/usr/bin/unpigz"]
    config = machine.node.read("/etc/soci-snapshotter-grpc/config.toml") or b""
    assert b'path = "/usr/bin/unpigz"' in config
    assert "igzip is not used" in machine.said.getvalue()
    record = load(machine.node)
    assert record is not None
    assert record.excluded == ("igzip",)


def test_with_all_of_them_broken_there_is_none(machine) -> None:
    machine.broken = {"/usr/bin/unpigz"}
    assert machine.install()[0] == "installed"
    assert b"decompress_streams" not in (machine.node.read("/etc/soci-snapshotter-grpc/config.toml") or b"")


def test_the_one_that_was_asked_for_has_no_substitute(machine) -> None:
    machine.broken = {"/usr/bin/unpigz"}
    assert "failed its self-test" in machine.fail_open(decompressor="unpigz")


# -- registries ---------------------------------------------------------------------------------


def test_a_registry_that_answers(machine, registry) -> None:
    machine.certs(registry)
    assert machine.install()[0] == "installed"
    assert machine.wired()
    assert f"names skip_verify for {registry}" in machine.said.getvalue()
    record = load(machine.node)
    assert record is not None
    assert record.registries == {registry: ""}


def test_a_registry_that_does_not(machine) -> None:
    machine.certs("127.0.0.1:1")
    reason = machine.fail_open()
    assert "http://127.0.0.1:1/v2/" in reason
    assert f"{CERTS}/127.0.0.1:1" in reason
    assert not machine.wired()
    assert machine.preflights == []
    record = load(machine.node)
    assert record is not None
    assert "refused" in record.registries["127.0.0.1:1"]


def test_one_that_does_not_with_force(machine) -> None:
    machine.certs("127.0.0.1:1")
    assert machine.install(force=True)[0] == "installed"
    assert machine.wired()


def test_a_default_has_no_host_to_ask(machine) -> None:
    machine.certs("_default")
    assert machine.install()[0] == "installed"
    assert "every registry itself" in machine.said.getvalue()


@pytest.mark.parametrize(
    ("known", "words"),
    [
        # As an install found out, and as after a bake, which asks nobody either.
        ({"registries": {"127.0.0.1:1": "no answer in 2 s"}}, "no answer in 2 s"),
        ({"outcome": "baked", "wiring": {}}, "it has not been asked yet"),
    ],
)
def test_a_boot_asks_nobody(machine, monkeypatch, known, words) -> None:
    def nobody(*_):
        raise AssertionError

    machine.install()
    record = load(machine.node)
    assert record is not None
    save(machine.node, replace(record, **known))
    machine.certs("127.0.0.1:1")
    machine.boots()
    monkeypatch.setattr(registries, "ask", nobody)
    with pytest.raises(WiringError, match=words):
        machine.run(boots=True).install()


def test_a_boot_of_a_wired_node_gives_a_new_one_the_benefit_of_the_doubt(machine, registry) -> None:
    machine.certs(registry)
    machine.install()
    machine.boots()
    machine.certs("127.0.0.1:1")
    assert machine.run(boots=True).install()[0] == "changed"
    assert machine.wired()


# -- boots --------------------------------------------------------------------------------------


def test_a_boot_fetches_nothing(machine) -> None:
    machine.refusal = PreflightError("not yet")
    machine.fail_open()
    machine.boots()
    machine.refusal = None
    with pytest.raises(StateError, match="a boot fetches nothing") as caught:
        machine.run(boots=True).install()
    assert "soci-bootstrap install" in caught.value.remedy


def test_a_boot_of_a_healthy_node_starts_no_preflight(machine) -> None:
    machine.install()
    machine.boots()
    machine.run(boots=True).install()
    assert machine.preflights == []
    assert machine.wired()


# -- failing open where others wire SOCI --------------------------------------------------------


def static(machine) -> None:
    trees.put(machine.root, CACHE, captured("nodeadm-cache-static-soci.json").decode())


def overridden(machine) -> bool:
    spec = json.loads(machine.node.read(DROPIN) or b"{}").get("spec", {})
    config = spec.get("containerd", {}).get("config", "")
    endpoint = spec.get("kubelet", {}).get("config", {}).get("imageServiceEndpoint", "")
    return 'snapshotter = "overlayfs"' in config and endpoint == "unix:///run/containerd/containerd.sock"


def test_the_published_recipe_is_overridden(machine) -> None:
    static(machine)
    machine.refusal = PreflightError("it does not run")
    machine.fail_open()
    assert overridden(machine)


def test_it_is_where_no_plan_came_about(machine) -> None:
    """Images pre-pulled on overlayfs: nothing was planned, and the recipe leads to no SOCI."""
    static(machine)
    write(machine.root, {"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1": None})
    assert "pre-pulled on overlayfs" in machine.fail_open()
    assert overridden(machine)


def test_it_is_where_the_recipe_is_a_drop_in(machine) -> None:
    recipe = json.loads(captured("nodeadm-cache-static-soci.json"))["spec"]["containerd"]
    write(machine.root, {"/etc/eks/nodeadm.d/10-soci.json": json.dumps({"spec": {"containerd": recipe}})})
    machine.refusal = PreflightError("it does not run")
    machine.fail_open()
    assert overridden(machine)


def test_it_is_where_the_run_ended_before_it_looked(machine) -> None:
    """/usr/local is read-only: not even the agent could be put there."""
    static(machine)
    machine.node.refused = ("/usr/local",)
    assert "/usr/local" in machine.fail_open()
    assert overridden(machine)


def test_it_is_where_the_wiring_asked_for_does_not_fit(tmp_path, machine) -> None:
    machine.root = trees.eks(tmp_path / "old", dropins=False)
    machine.node = Node(machine.root, machine.node.programs)
    trees.put(machine.root, "/etc/containerd/config.toml", captured("containerd-nodeadm-static-soci.toml"))
    assert "does not read drop-ins" in machine.fail_open(wiring="nodeadm")
    assert b"snapshotter = 'overlayfs'" in (machine.node.read("/etc/containerd/config.toml") or b"")


def test_it_is_where_kubelets_file_is_none_of_ours(tmp_path, machine) -> None:
    machine.root = trees.eks(tmp_path / "old", dropins=False)
    machine.node = Node(machine.root, machine.node.programs)
    trees.put(machine.root, "/etc/containerd/config.toml", captured("containerd-nodeadm-static-soci.toml"))
    trees.put(machine.root, "/etc/kubernetes/kubelet/config.json", "kind: KubeletConfiguration\n")
    assert "is not a JSON object" in machine.fail_open()
    assert b"snapshotter = 'overlayfs'" in (machine.node.read("/etc/containerd/config.toml") or b"")


def test_the_outcome_is_recorded_although_it_can_not_be_overridden(machine, monkeypatch) -> None:
    static(machine)
    machine.refusal = PreflightError("it does not run")
    run = machine.run()
    with pytest.raises(PreflightError):
        run.install()
    assert run.undo(everything=False) == []
    machine.node.refused = (DROPIN,)
    (failure,) = run.fall_back("it does not run", undone=True)
    assert DROPIN in failure
    assert state.load(machine.node).degraded == "it does not run"
    record = load(machine.node)
    assert record is not None
    assert record.outcome == "degraded"


def test_the_gates_drop_in_goes(machine) -> None:
    cache = {"spec": {"featureGates": {nodeconfig.GATE: True}}}
    trees.put(machine.root, CACHE, json.dumps(cache))
    dropin = "/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf"
    write(machine.root, {dropin: "[Unit]\nRequires=soci-snapshotter.service\n"})
    machine.refusal = PreflightError("it does not run")
    machine.fail_open()
    assert machine.node.read(dropin) is None
    assert json.loads(machine.node.read(DROPIN) or b"")["spec"]["featureGates"] == {nodeconfig.GATE: False}


# -- the boot-time unit -------------------------------------------------------------------------


@pytest.fixture
def at_boot(machine, monkeypatch):
    """`hook boot`, with the agent's bytes and without the fast way round."""
    monkeypatch.setattr(memo, "boots_unchanged", lambda: None)
    monkeypatch.setattr(resources, "agent_bytes", lambda: trees.AGENT)
    monkeypatch.setattr("soci_bootstrap.lock.PATH", str(machine.root / "lock"))
    return machine


def test_boot_without_a_record(at_boot) -> None:
    boot.run(at_boot.node)
    assert at_boot.node.calls == []


def test_boot_converges(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(DROPIN)
    boot.run(at_boot.node)
    assert at_boot.wired()
    assert state.load(at_boot.node).degraded == ""


@pytest.mark.parametrize("staged", [False, True])
def test_the_next_boot_takes_the_short_way(at_boot, monkeypatch, staged) -> None:
    """After one that wrote something too, on a node that was baked, or whose install failed or was staged."""
    at_boot.install()
    if staged:
        record = load(at_boot.node)
        assert record is not None
        save(at_boot.node, replace(record, outcome="staged"))
    at_boot.boots()
    at_boot.node.remove(DROPIN)
    boot.run(at_boot.node)
    known = json.loads(at_boot.node.read(memo.PATH) or b"{}")
    assert memo._as_it_was(str(at_boot.root), known)
    assert known["inflater"] == ["/usr/bin/unpigz", "-d", "-c"]
    # It has no report for any install.
    assert known["settings"] == memo._settings([], {})
    at_boot.node.remove(DROPIN)
    assert not memo._as_it_was(str(at_boot.root), known)


def test_what_was_staged_is_the_boots_and_then_the_installs(at_boot, monkeypatch) -> None:
    info = json.dumps({"Labels": {"io.kubernetes.pod.name": "web-0"}, "Snapshotter": "overlayfs"}).encode()
    words = {
        "namespaces ls": b"k8s.io\n",
        "tasks ls": b"TASK PID STATUS\na 7 RUNNING\n",
        "containers info": info,
    }
    at_boot.node.programs.update({f"ctr -n k8s.io {word}": said for word, said in words.items()})
    at_boot.node.programs["systemctl show -p LoadState"] = b"LoadState=not-found\n"
    at_boot.node.programs["systemctl show -p Id"] = (
        SHOW.replace("inactive", "active").format(socket="active").encode()
    )
    monkeypatch.setattr(install, "System", lambda root: at_boot.node)
    monkeypatch.setattr("sys.argv", ["soci-bootstrap", "install", "--set", "x=y"])
    assert install.run(at_boot.settings, trees.QUIET).outcome == "staged"
    root = str(at_boot.root)
    known = json.loads(at_boot.node.read(memo.PATH) or b"{}")
    assert not memo._as_it_was(root, known)
    del at_boot.node.programs["systemctl show -p Id"]
    at_boot.boots()
    boot.run(at_boot.node)
    after = json.loads(at_boot.node.read(memo.PATH) or b"{}")
    assert memo._as_it_was(root, after)
    assert after["settings"] == known["settings"] == memo._settings(["install", "--set", "x=y"], {})
    assert after["document"]["outcome"] == "unchanged"
    assert after["document"]["reason"] is None


def test_a_memo_that_cannot_be_made_is_none(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.refused = (memo.PATH,)
    boot.run(at_boot.node)
    assert at_boot.wired()
    assert state.load(at_boot.node).degraded == ""


def test_boot_goes_on_with_no_rollback_and_undoes_none(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(DROPIN)
    record = load(at_boot.node)
    assert record is not None
    save(at_boot.node, replace(record, outcome=ROLLING_BACK))
    before = trees.content(at_boot.root)
    boot.run(at_boot.node)
    assert trees.differences(before, trees.content(at_boot.root)) == []


def test_boot_fails_open(at_boot) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove("/usr/local/bin/soci-snapshotter-grpc")
    boot.run(at_boot.node)
    assert not at_boot.wired()
    assert "a boot fetches nothing" in state.load(at_boot.node).degraded
    record = load(at_boot.node)
    assert record is not None
    assert record.outcome == "degraded"


ON_SOCI = {
    "/proc/self/mountinfo": "5 3 0:6 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs rw - "
    "overlay overlay rw,upperdir=/var/lib/containerd/io.containerd.snapshotter.v1.soci/snapshots/9/fs\n"
}


@pytest.mark.parametrize("containerd", ["active", "inactive"])
def test_boot_unwires_nothing_under_containers(at_boot, containerd) -> None:
    """Started by hand, on a node that is up."""
    at_boot.install()
    at_boot.boots()
    write(at_boot.root, ON_SOCI)
    show = SHOW.format(socket="active").replace(
        "Id=containerd.service\nActiveState=inactive", f"Id=containerd.service\nActiveState={containerd}"
    )
    at_boot.node.programs["systemctl show"] = show.encode()
    at_boot.node.remove("/usr/local/bin/soci-snapshotter-grpc")
    boot.run(at_boot.node)
    assert at_boot.wired()
    assert "a boot fetches nothing" in state.load(at_boot.node).degraded


def test_boot_waits_for_no_unit(at_boot) -> None:
    """The service comes after the boot-time unit, and would never start while that waits for it."""
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove(CONFIG)
    show = SHOW.format(socket="active").replace("inactive", "active")
    at_boot.node.programs["systemctl show"] = show.encode()
    boot.run(at_boot.node)
    jobs = [call for call in at_boot.node.calls if SERVICE in call and " show " not in call]
    assert jobs == [f"systemctl --no-block restart {SERVICE}"]


def test_boot_is_told_although_it_can_not_be_recorded(at_boot, monkeypatch) -> None:
    at_boot.install()
    at_boot.boots()
    at_boot.node.remove("/usr/local/bin/soci-snapshotter-grpc")
    at_boot.node.refused = (state.PATH,)
    said = []
    monkeypatch.setattr(journal, "error", said.append)
    with pytest.raises(StateError):
        boot.run(at_boot.node)
    assert "a boot fetches nothing" in said[0]


@pytest.mark.parametrize(
    ("inflater", "broken", "converges"),
    [([], set(), False), (["/x", "-d"], set(), False), (["/x", "-d"], {"/x"}, True)],
)
def test_the_fast_way_round(at_boot, monkeypatch, inflater, broken, converges) -> None:
    ran = []
    monkeypatch.setattr(memo, "boots_unchanged", lambda: inflater)
    monkeypatch.setattr(boot, "_converge", ran.append)
    at_boot.broken = broken
    boot.run(at_boot.node)
    assert bool(ran) is converges
    assert (at_boot.root / "run/soci-bootstrap/planned").exists() is not converges


def test_options_that_change_nothing_now_are_the_next_boots(machine) -> None:
    machine.install()
    assert machine.install(decompressor="unpigz") == ("unchanged", None)
    record = load(machine.node)
    assert record is not None
    assert record.settings["decompressor"] == "unpigz"
    before = machine.node.entry(RECORD)
    assert machine.install(decompressor="unpigz") == ("unchanged", None)
    assert machine.node.entry(RECORD) == before


def test_settings_of_the_record_are_those_of_the_boot(machine) -> None:
    machine.install(parallel_pull={"max_concurrent_downloads": 7})
    record = load(machine.node)
    assert record is not None
    assert record.settings == to_json(
        replace(machine.settings, parallel_pull={"max_concurrent_downloads": 7})
    )
    assert facts.SERVICE in record.units_active

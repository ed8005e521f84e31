from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace

import pytest

from soci_bootstrap import paths
from soci_bootstrap.apply.context import Mode
from soci_bootstrap.errors import CommandError, PreflightError
from soci_bootstrap.fetch import binary, reachable
from soci_bootstrap.paths import RECORD
from soci_bootstrap.settings import to_json
from soci_bootstrap.state import health
from soci_bootstrap.state.record import Outcome, load, save
from tests.support import trees
from tests.support.corpus import servers
from tests.support.machines import CERTS, SHOW, Machine
from tests.support.nodes import write


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
    assert (record.outcome, record.registries) == (Outcome.INSTALLED, {})
    calls = len(machine.node.calls)
    assert machine.install() == ("unchanged", None)
    assert all("show" in call or "--version" in call for call in machine.node.calls[calls:])


def test_the_daemon_is_proven_before_anything_is_wired(machine) -> None:
    machine.refusal = PreflightError("it does not run", found="status 3")
    assert "it does not run" in machine.fail_open()
    assert not machine.wired()
    assert machine.node.read("/usr/local/bin/soci-snapshotter-grpc") is None
    assert (machine.root / "etc/soci-snapshotter-grpc/config.toml").read_text() == "# someone's own\n"
    assert "it does not run" in health.load(machine.node).degraded
    record = load(machine.node)
    assert record is not None
    assert (record.outcome, record.wiring) == (Outcome.FAILED, {})
    # The agent and its unit stay for the next boot.
    assert machine.node.read("/usr/local/sbin/soci-bootstrap") == trees.AGENT
    machine.refusal = None
    assert machine.install() == ("installed", None)
    assert health.load(machine.node).degraded == ""


def test_a_failed_run_reports_what_stayed_alone(machine) -> None:
    machine.refusal = PreflightError("it does not run", found="status 3")
    report = machine.run()
    assert {"self-test", "preflight", "daemon-reload"} <= {step.name for step in report.steps}
    names = {step.name for step in report.steps if step.changed}
    assert names == {"agent", "boot-unit", "boot-unit-enabled"}


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
    monkeypatch.setattr("soci_bootstrap.fetch.binary.fetch_binary", no_network)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    report = machine.run(soci_version="0.11.1", sha256="0" * 64)
    assert (report.outcome, report.reason) == (Outcome.FAILED, "stop here")
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


@pytest.mark.parametrize("outcome", [Outcome.INSTALLED, Outcome.STAGED])
def test_one_that_this_boot_proved_is_not_tried_again(machine, outcome) -> None:
    machine.install()
    record = load(machine.node)
    assert record is not None
    save(machine.node, replace(record, outcome=outcome))
    machine.tested.clear()
    report = machine.run()
    assert (machine.tested, [step.name for step in report.steps if step.changed]) == ([], [])


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
        ({"outcome": Outcome.BAKED, "wiring": {}}, "it has not been asked yet"),
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
    monkeypatch.setattr(reachable, "ask", nobody)
    report = machine.run(Mode.BOOT)
    assert report.outcome is Outcome.DEGRADED
    assert words in str(report.reason)


def test_a_boot_of_a_wired_node_gives_a_new_one_the_benefit_of_the_doubt(machine, registry) -> None:
    machine.certs(registry)
    machine.install()
    machine.boots()
    machine.certs("127.0.0.1:1")
    assert machine.run(Mode.BOOT).outcome is Outcome.CHANGED
    assert machine.wired()


# -- what is recorded ---------------------------------------------------------------------------


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
    assert paths.SOCI_SERVICE in record.units_active


def test_what_kept_it_from_looking_is_said_once(machine) -> None:
    machine.node.programs["systemctl show"] = 1
    reason = machine.fail_open()
    assert health.load(machine.node).degraded == reason


def test_an_image_is_baked_without_a_systemd_to_ask(machine) -> None:
    del machine.node.programs["systemctl"], machine.node.programs["systemctl show"]
    (machine.root / "usr/bin/systemctl").unlink()
    assert machine.run(Mode.BAKE, command="bake").outcome is Outcome.INSTALLED
    assert [call for call in machine.node.calls if call.startswith("systemctl")] == []


# -- a node that is already running -------------------------------------------------------------

UP = SHOW.replace("inactive", "active").format(socket="active").encode()
WEB = json.dumps({"Labels": {"io.kubernetes.pod.name": "web-0"}, "Snapshotter": "overlayfs"}).encode()


@pytest.fixture
def running(machine):
    """A node whose containerd and kubelet run, and nothing else."""
    machine.node.programs.update(
        {
            "systemctl show -p Id": UP,
            "systemctl show -p ActiveState": b"ActiveState=active\n",
            "systemctl show -p LoadState": b"LoadState=not-found\n",
            "ctr -n k8s.io namespaces ls": b"k8s.io\n",
            "ctr -n k8s.io tasks ls": b"TASK PID STATUS\n",
            "ctr -n k8s.io containers info": WEB,
            "ctr -n k8s.io": b"",
        }
    )
    return machine


def test_a_workload_that_came_while_the_release_was_fetched_is_not_stopped(running, monkeypatch) -> None:
    fetch = binary.fetch_binary

    def slowly(*arguments):
        running.node.programs["ctr -n k8s.io tasks ls"] = b"TASK PID STATUS\na 7 RUNNING\n"
        return fetch(*arguments)

    monkeypatch.setattr(binary, "fetch_binary", slowly)
    report = running.run()
    assert (report.outcome, report.reason) == (Outcome.STAGED, "takes effect at the next boot")
    assert "not switched now" in running.said.getvalue()
    assert not any(" kill " in call or " rm " in call for call in running.node.calls)
    jobs = [call for call in running.node.calls if "kubelet.service" in call and " show " not in call]
    assert jobs == ["systemctl stop kubelet.service", "systemctl start kubelet.service"]
    assert not any("restart containerd" in call for call in running.node.calls)
    assert running.wired()


@pytest.mark.parametrize("fails", [False, True])
def test_a_kubelet_that_a_killed_run_stopped_runs_again_whatever_comes_of_this_one(machine, fails) -> None:
    machine.install()
    write(machine.root, {paths.KUBELET_STOPPED: ""})
    report = machine.run(**({"soci_version": "0.11.1", "tarball": "/nowhere"} if fails else {}))
    assert report.outcome is (Outcome.FAILED if fails else Outcome.UNCHANGED)
    assert "systemctl start kubelet.service" in machine.node.calls
    assert machine.node.read(paths.KUBELET_STOPPED) is None


def test_a_failed_change_of_a_node_that_works_leaves_it_as_it_was(machine) -> None:
    machine.install()
    before = trees.content(machine.root)
    report = machine.run(soci_version="0.11.1", tarball="/nowhere")
    assert report.outcome is Outcome.FAILED
    assert machine.wired()
    assert health.load(machine.node).degraded == ""
    assert trees.differences(before, trees.content(machine.root)) == []
    assert machine.install() == ("unchanged", None)

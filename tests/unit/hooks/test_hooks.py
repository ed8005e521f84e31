from __future__ import annotations

import json
import subprocess
import sys

import pytest

from soci_bootstrap import errors, paths
from soci_bootstrap import hooks as hook_command
from soci_bootstrap.hooks import boot, fail_open, guard, verify
from soci_bootstrap.paths import NODEADM_DROPIN
from soci_bootstrap.state import health
from soci_bootstrap.state.health import State
from soci_bootstrap.system.programs import Completed
from tests.support.daemons import SETTINGS
from tests.support.hooks import (
    CONFIG,
    CTR,
    IN_USE,
    KUBELET,
    OVERLAYFS,
    STATIC,
    STOPPED,
    WORKS,
    run_guard,
    run_verify,
    unwired,
    wired,
)
from tests.support.nodes import CAPTURED, captured, write

# -- guard --------------------------------------------------------------------------------------


def test_guard_where_soci_answers(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node()
    run_guard(node)
    assert wired(node)
    assert health.load(node) == State()
    assert node.calls == []


@pytest.mark.parametrize("said", [None, ()])
def test_guard_unwires_where_it_does_not(hook, said, capsys) -> None:
    if said is not None:
        hook.daemon(*said)  # as systemd holds an activated socket
    node = hook.node()
    run_guard(node)
    assert unwired(node)
    assert "did not answer before containerd's start" in health.load(node).degraded
    error = capsys.readouterr().err
    assert error.startswith("soci-bootstrap: DEGRADED SOCI did not answer")
    assert error.count("\n") == 1
    assert "run `soci-bootstrap doctor`" in error
    assert node.calls == ["systemctl --no-block try-restart kubelet.service"]
    assert not hook.owed.exists()


def test_guard_where_only_kubelet_leads_to_soci(hook) -> None:
    node = hook.node(config=OVERLAYFS)
    run_guard(node)
    assert unwired(node)


def test_guard_never_unwires_under_containers(hook) -> None:
    node = hook.node(**IN_USE)
    run_guard(node)
    assert wired(node)
    assert hook.owed.exists()
    assert "containers run on it" in health.load(node).degraded
    assert node.calls == []


def test_guard_waits_for_containers_on_soci(hook, monkeypatch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(verify.probe, "answers", lambda *_: next(answers))
    node = hook.node(**IN_USE)
    run_guard(node)
    assert not hook.owed.exists()
    assert health.load(node) == State()


def test_guard_says_what_could_not_be_unwired(hook, capsys) -> None:
    node = hook.node()
    node.refused = (CONFIG,)
    run_guard(node)
    assert "config.toml: can't be written" in health.load(node).degraded
    assert "config.toml: can't be written" in capsys.readouterr().err


def test_guard_tells_the_journal_although_nothing_can_be_written(hook, capsys) -> None:
    node = hook.node()
    node.refused = ("write",)
    run_guard(node)
    said = capsys.readouterr().err
    assert "DEGRADED SOCI did not answer" in said
    assert "overlayfs" not in said
    assert "state.json: can't be written" in said
    assert node.calls == ["systemctl --no-block try-restart kubelet.service"]


@pytest.mark.parametrize("record", [None, b"{}", b'{"wiring": {}}', b'{"wiring": null}'])
@pytest.mark.parametrize("run", [run_guard, run_verify])
def test_a_node_that_was_never_wired(hook, record, run) -> None:
    node = hook.node()
    node.remove(paths.RECORD)
    if record is not None:
        write(hook.root, {paths.RECORD: record})
    run(node)
    assert wired(node)
    assert node.calls == []


@pytest.mark.parametrize(
    "record", [b"", b"[]", b'{"schema": 1, "wir', b"\xff", b'{"wiring": 3}', b'{"wiring": {"of": "another"}}']
)
def test_a_record_that_can_not_be_read_leaves_the_well_known_paths(hook, record) -> None:
    node = hook.node(**{NODEADM_DROPIN: "wired"})
    hook.put_endpoint("/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock")
    write(hook.root, {paths.RECORD: record})
    run_guard(node)
    assert unwired(node)
    assert node.read(NODEADM_DROPIN) is None
    assert "did not answer" in health.load(node).degraded
    run_verify(node)


def test_a_record_that_is_a_directory(hook) -> None:
    node = hook.node()
    node.remove(paths.RECORD)
    write(hook.root, {paths.RECORD: None})
    run_guard(node)
    assert b"snapshotter = 'overlayfs'" in (node.read(CONFIG) or b"")


def test_a_record_of_another_version_is_read_as_far_as_it_goes(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node()
    wiring = {**hook.wired.to_json(), "newer": 1, "fallback": None}
    write(hook.root, {paths.RECORD: json.dumps({"schema": 99, "wiring": wiring})})
    run_guard(node)
    assert wired(node)


def test_guard_where_nothing_leads_to_soci(hook) -> None:
    node = hook.node(config=OVERLAYFS)
    write(hook.root, {KUBELET: "{}"})
    run_guard(node)
    assert health.load(node) == State()


# -- verify -------------------------------------------------------------------------------------


def test_verify_a_first_start_on_soci(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node()
    run_verify(node)
    words = [call.removeprefix(CTR).split()[:2] for call in node.calls]
    assert sorted(words[:3]) == [
        ["images", "import"],
        ["snapshots", "--snapshotter"],
        ["snapshots", "--snapshotter"],
    ]
    assert words[3:] == [["images", "ls"], ["images", "check"], ["images", "rm"]]
    assert node.calls[-1] == f"{CTR}images rm b:1"
    assert health.load(node) == State("soci")


def test_verify_again_looks_at_no_image(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node()
    health.save(node, State("soci", degraded="earlier"))
    run_verify(node)
    assert not any("check" in call for call in node.calls)
    assert health.load(node) == State("soci")


def test_verify_where_all_images_fit(hook, capsys) -> None:
    hook.daemon(SETTINGS)
    node = hook.node({**WORKS, f"{CTR}images check": b"REF UNPACKED\na:1 true\n"})
    run_verify(node)
    assert not any("images rm" in call for call in node.calls)
    assert health.load(node).snapshotter == "soci"
    assert capsys.readouterr().err == ""


def test_verify_where_soci_died_since_the_guard(hook) -> None:
    """Or the guard was cut off: nobody else is going to find out."""
    node = hook.node()
    run_verify(node)
    assert unwired(node)
    assert "does not answer after containerd's start: this node pulls with overlayfs" in (
        health.load(node).degraded
    )
    assert node.calls == [
        "systemctl --no-block try-restart kubelet.service",
        "systemctl --no-block restart containerd.service",
    ]


def test_verify_where_soci_died_since_the_guard_under_containers(hook) -> None:
    node = hook.node(**IN_USE)
    run_verify(node)
    assert wired(node)
    assert hook.owed.exists()
    assert "is restarted once when SOCI answers" in health.load(node).degraded
    assert node.calls == []


def test_verify_has_nothing_to_add_to_what_the_guard_found(hook, capsys) -> None:
    node = hook.node(**IN_USE)
    run_guard(node)
    capsys.readouterr()
    run_verify(node)
    assert capsys.readouterr().err == ""
    assert hook.owed.exists()
    assert node.calls == []


def test_no_restart_after_restart_where_soci_comes_and_goes(hook, monkeypatch) -> None:
    node = hook.node(**IN_USE)
    run_guard(node)
    # As SOCI's unit does it with the restart.
    hook.owed.replace(hook.owed.with_name("restarted"))
    run_guard(node)
    assert not hook.owed.exists()
    assert "not restarted for it again so soon" in health.load(node).degraded
    assert wired(node)
    monkeypatch.setattr(fail_open, "_PAUSE", 0.0)
    run_guard(node)
    assert hook.owed.exists()


def test_no_restart_where_another_start_would_end_here_again(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node({**WORKS, f"{CTR}images import": STOPPED})
    node.refused = (CONFIG,)
    run_verify(node)
    assert "could not unwire it all: write /etc/containerd/config.toml" in health.load(node).degraded
    assert node.calls[-1] == "systemctl --no-block try-restart kubelet.service"


def test_containerd_is_restarted_though_the_record_can_not_be_written(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node({**WORKS, f"{CTR}images import": STOPPED})
    node.refused = (paths.HEALTH,)
    run_verify(node)
    assert unwired(node)
    assert node.calls[-1] == "systemctl --no-block restart containerd.service"


def test_verify_restarts_containerd_once_where_that_is_owed(hook) -> None:
    hook.daemon(SETTINGS)
    hook.owe_a_restart()
    node = hook.node()
    run_verify(node)
    assert node.calls == ["systemctl --no-block restart containerd.service"]
    assert not hook.owed.exists()
    run_verify(node)
    assert "systemctl" not in " ".join(node.calls[1:])


@pytest.mark.parametrize(
    "broken",
    [
        {f"{CTR}images import": Completed(1, b"", b"error getting header info")},
        {f"{CTR}snapshots --snapshotter soci prepare": STOPPED},
        {f"{CTR}images import": errors.BootstrapError("ctr did not end")},
    ],
)
def test_verify_fails_open_after_the_start(hook, broken) -> None:
    hook.daemon(SETTINGS)
    node = hook.node({**WORKS, **broken})
    run_verify(node)
    assert unwired(node)
    assert "failed its check after containerd's start" in health.load(node).degraded
    assert node.calls[-2:] == [
        "systemctl --no-block try-restart kubelet.service",
        "systemctl --no-block restart containerd.service",
    ]


def test_verify_stays_wired_under_containers(hook) -> None:
    hook.daemon(SETTINGS)
    node = hook.node({**WORKS, f"{CTR}images import": STOPPED}, **IN_USE)
    run_verify(node)
    assert wired(node)
    assert "stays wired" in health.load(node).degraded
    assert "systemctl" not in " ".join(node.calls)


def test_verify_after_failing_open_makes_images_fit_overlayfs(hook, capsys) -> None:
    node = hook.node(config=OVERLAYFS)
    health.save(node, State("soci", degraded="SOCI did not answer"))
    run_verify(node)
    assert node.calls[0].startswith(f"{CTR}images import --snapshotter overlayfs")
    assert node.calls[-1] == f"{CTR}images rm b:1"
    assert "1 images that overlayfs lacks" in capsys.readouterr().err
    assert health.load(node) == State("overlayfs", degraded="SOCI did not answer")


def test_images_are_looked_at_again_where_that_failed(hook, capsys) -> None:
    node = hook.node({**WORKS, f"{CTR}images check": STOPPED}, config=OVERLAYFS)
    health.save(node, State("soci", degraded="x"))
    run_verify(node)
    assert health.load(node).snapshotter == "soci"
    assert "the next start tries again: ctr images check" in capsys.readouterr().err


def test_verify_where_another_file_overrides_the_wiring(hook) -> None:
    shadow = "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n"
    node = hook.node(**{"/etc/containerd/conf.d/99-nvidia.toml": shadow})
    run_verify(node)
    assert unwired(node)
    assert "names overlayfs after our wiring" in health.load(node).degraded


RUNTIME = "/etc/containerd/conf.d/99-nvidia.toml"
SECTION = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
"""


@pytest.mark.parametrize(
    ("dump", "shadowed"),
    [
        (b'[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "overlayfs"\n', True),
        (b"[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'soci'\n", False),
        (STOPPED, False),
    ],
)
def test_verify_where_an_imported_file_replaces_the_section(hook, dump, shadowed) -> None:
    """Without a word of a snapshotter: only containerd tells what it makes of the two."""
    hook.daemon(SETTINGS)
    node = hook.node({**WORKS, "containerd": dump}, **{RUNTIME: SECTION})
    run_verify(node)
    assert f"containerd --config {CONFIG} config dump" in node.calls
    assert wired(node) is not shadowed
    assert bool(health.load(node).degraded) is shadowed


@pytest.mark.parametrize(
    ("outcome", "config", "found"),
    [
        ("staged", STATIC.replace(b"snapshotter = 'soci'", b"snapshotter = 'overlayfs'"), State()),
        ("installed", captured("containerd-nodeadm-v3.toml"), State()),
        ("installed", OVERLAYFS, State(degraded="earlier")),
    ],
)
def test_overlayfs_that_is_as_it_should_be(hook, outcome, config, found) -> None:
    node = hook.node(outcome=outcome, config=config)
    if found.degraded:
        health.save(node, found)
    run_verify(node)
    assert health.load(node).degraded == found.degraded
    assert node.calls == []


def test_a_node_without_systemctl(hook) -> None:
    hook.daemon(SETTINGS)
    hook.owe_a_restart()
    node = hook.node({f"{CTR}images": b""})
    run_verify(node)
    assert node.calls == []


# -- main ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["none"], ["guard", "verify"]])
def test_a_name_that_is_none(hook, arguments, capsys) -> None:
    assert hook_command.main(arguments) == 1
    assert "expected one of guard, verify, boot" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("anything"), OSError("a disk"), errors.BootstrapError("ours")]
)
@pytest.mark.parametrize("name", ["guard", "verify", "boot"])
def test_whatever_happens_it_ends_with_0(hook, monkeypatch, capsys, name, error) -> None:
    def fail(system, *_) -> None:
        assert system.tag == "hook"
        raise error

    monkeypatch.setattr(
        *{"boot": (boot, "run"), "guard": (guard, "guard"), "verify": (verify, "verify")}[name], fail
    )
    assert hook_command.main([name]) == 0
    assert f"{name}: {type(error).__name__}: {error}" in capsys.readouterr().err


def test_boot_is_bootss(hook, monkeypatch) -> None:
    ran = []
    monkeypatch.setattr(boot, "run", ran.append)
    assert hook_command.main(["boot"]) == 0
    assert len(ran) == 1


@pytest.mark.subprocess
def test_guard_and_verify_import_nothing_heavy() -> None:
    """They have milliseconds: nothing that isn't the standard library's, and little of that."""
    code = (
        "import sys\nfrom soci_bootstrap import hooks\n"
        "print(*sorted(set(sys.modules) & {'requests', 'tomli', 'tomllib', 'tomli_w', 'subprocess',"
        " 'argparse', 'ssl', 'logging', 'soci_bootstrap.facts', 'soci_bootstrap.settings',"
        " 'soci_bootstrap.system.programs'}))"
    )
    repository = CAPTURED.parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=repository, check=True, text=True
    )
    assert done.stdout.split() == []

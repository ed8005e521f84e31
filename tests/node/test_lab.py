"""The lab itself: nodes boot, containerd works on them, the stand-ins do what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from tests.node.lab import images, recipe, tree
from tests.node.lab.cri import CONTAINERD, SOCI, Cri
from tests.node.lab.eks import NODECONFIG, Ami, eks_node, with_containerd
from tests.node.lab.mirror import Mirror, Registry
from tests.node.lab.node import Node
from tests.node.lab.server import Fault
from tests.node.lab.soci import build

ROOTS = ("bullseye", "bookworm", "trixie-containerd2")
CAPTURED = Path(__file__).parents[1] / "fixtures" / "captured"
Boot = Callable[..., Node]


def toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


# --- nodes


@pytest.mark.parametrize("root", ROOTS)
def test_a_node_boots_and_joins(root: str, boot: Boot, capsys: pytest.CaptureFixture[str]) -> None:
    node = boot(
        Ami(root),
        scripts=["#!/bin/sh\necho first\n", "#!/bin/sh\nsystemctl is-active nodeadm-config kubelet || :\n"],
    )
    with capsys.disabled():
        print(f" {root}: whole first boot {node.boot_seconds:.2f} s", end="")  # noqa: T201
    assert node.state("containerd") == "active"
    assert kubelet(node)["ready"]
    # After nodeadm-config (a oneshot that has ended), before kubelet.
    assert node.read("/var/log/cloud-init-output.log").split() == ["first", "inactive", "inactive"]
    assert node.run("systemctl --failed --no-legend").stdout == ""
    assert not node.exists("/usr/bin/igzip"), "stock AMIs have none"
    assert node.exists("/usr/bin/unpigz")


@pytest.mark.parametrize("root", ROOTS)
def test_a_pulled_image_runs_on_overlayfs(root: str, boot: Boot) -> None:
    node = boot(Ami(root))
    with Registry(node) as registry, Cri(node) as cri:
        image = registry.push(images.app(1_000_000))
        cri.pull(image)
        container = cri.run(image)
        assert cri.running(container)
        assert_unpacked_well(node, container.id)
        cri.stop(container)


@pytest.mark.parametrize("root", ROOTS)
def test_a_pulled_image_runs_through_soci(root: str, boot: Boot) -> None:
    node = boot(Ami(root), nodeconfig=recipe.nodeconfig(), prepare=recipe.install)
    assert kubelet(node) == {
        "ready": True,
        "runtime": f"unix://{CONTAINERD}",
        "image": f"unix://{SOCI}",
        "errors": [],
    }
    with Registry(node) as registry, Cri(node, SOCI) as cri:
        app = images.app(1_000_000)
        image = registry.push(app)
        cri.pull(image)
        container = cri.run(image)
        assert cri.running(container)
        assert_unpacked_well(node, container.id)
        assert container.id in node.run("ctr -n k8s.io snapshots --snapshotter soci ls").stdout
        assert app.diff_ids[0] not in node.run("ctr -n k8s.io snapshots ls").stdout
        cri.stop(container)


def assert_unpacked_well(node: Node, container: str) -> None:
    pid = node.run(f"ctr -n k8s.io task ls | grep {container} | awk '{{print $2}}'").stdout.strip()
    root = Path(f"/proc/{node.pid}/root/proc/{pid}/root")
    script = (
        f"cd /proc/{pid}/root && stat -c '%n %a %u:%g' setuid setgid owned && getcap capable && ls . kept"
    )
    assert node.run(script).stdout.split("\n") == [
        "setuid 4755 0:0",
        "setgid 2755 0:50",
        "owned 600 1000:1001",
        "capable cap_net_bind_service=ep",
        *[
            ".:",
            "app",
            "capable",
            "dev",
            "etc",
            "filling",
            "kept",
            "labelled",
            "owned",
            "proc",
            "seed",
            "setgid",
            "setuid",
            "symbolic",
            "sys",
            "",
            "kept:",
            "new",
            "",
        ],
    ], root


def test_a_reboot_keeps_disks_and_loses_run(boot: Boot) -> None:
    node = boot()
    before = node.read("/proc/sys/kernel/random/boot_id"), node.pid
    node.run("echo kept > /root/file; echo kept > /var/lib/file; echo lost > /run/file")
    node.reboot()
    assert node.pid != before[1]
    assert [node.exists(f"{place}/file") for place in ("/root", "/var/lib", "/run")] == [True, True, False]
    assert kubelet(node)["ready"]
    assert node.read("/var/log/cloud-init-output.log") == "", "userData runs once per instance"


def test_a_killed_node_leaves_nothing(boot: Boot) -> None:
    node = boot()
    place = str(node.directory)
    pid = node.pid
    node.close()
    assert not Path(f"/proc/{pid}").exists()
    assert place not in Path("/proc/self/mountinfo").read_text()
    assert not Path(place).exists()


def test_a_killed_test_run_takes_its_nodes_along() -> None:
    script = """
import os
from tests.node.lab.node import Node
print(Node().boot().pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=False
    )
    pid = int(done.stdout)
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_a_private_network_reaches_nothing(boot: Boot) -> None:
    assert "unreachable" in boot().run("ip route get 192.0.2.1 2>&1", check=False).stdout


def test_a_tree_comparison_finds_what_changed(boot: Boot) -> None:
    node = boot()
    before = node.snapshot_tree()
    node.run(
        "cd /etc; chmod 600 fstab; echo x > /var/lib/new; rm hostname; ln -s a link; touch debian_version"
    )
    found = tree.differences(before, node.snapshot_tree(), ignore=["/var/log/*", "/var/lib/containerd/*"])
    assert [line.split(" Entry")[0] for line in found] == [
        "+ /etc/fstab",
        "+ /etc/hostname",
        "+ /etc/link",
        "+ /var/lib/new",
    ]


def test_real_cloud_init_runs_the_userdata_before_nodeadm(
    boot: Boot, capsys: pytest.CaptureFixture[str]
) -> None:
    node = boot(
        scripts=["#!/bin/sh\necho from userdata $(systemctl is-active containerd)\n"], cloud_init=True
    )
    with capsys.disabled():
        print(f" with cloud-init {node.boot_seconds:.2f} s", end="")  # noqa: T201
    assert "from userdata inactive" in node.read("/var/log/cloud-init-output.log")
    assert kubelet(node)["ready"]


# --- nodeadm


def kubelet(node: Node) -> dict[str, Any]:
    """What the kubelet stand-in says, once it has said so twice."""
    node.wait_for("kubelet")
    node.run("rm -f /run/lab/kubelet.json; until [ -e /run/lab/kubelet.json ]; do sleep 0.05; done")
    state: dict[str, Any] = json.loads(node.read("/run/lab/kubelet.json"))
    return state


def captured_config(name: str) -> str:
    """The NodeConfig behind a captured cache."""
    spec = json.loads((CAPTURED / name).read_text())["spec"]
    return json.dumps({"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec})


DEFAULTS = re.compile(r"/imports = \[\],|/plugins/io.containerd.snapshotter.v1.(btrfs|devmapper)/")


@pytest.mark.parametrize(
    ("cache", "config"),
    [
        ("nodeadm-cache.json", "containerd-nodeadm-v3.toml"),
        ("nodeadm-cache-user-v2.json", "containerd-nodeadm-user-v2-migrated.toml"),
        ("nodeadm-cache-static-soci.json", "containerd-nodeadm-static-soci.toml"),
    ],
)
def test_nodeadm_writes_what_was_captured(cache: str, config: str, boot: Boot) -> None:
    node = boot(nodeconfig=captured_config(cache), prepare=recipe.install if "soci" in cache else str)
    assert node.read("/run/eks/nodeadm/config.json") == (CAPTURED / cache).read_text()
    found, wanted = toml(node.read("/etc/containerd/config.toml")), toml((CAPTURED / config).read_text())
    if "v3" in config:
        assert found == wanted
    # `config migrate` lists every default, and those differ between this containerd and the captured run's.
    assert [line for line in beyond(found, wanted) if not DEFAULTS.match(line)] == []
    if "soci" in cache:
        dropin = node.read("/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf")
        assert dropin == (CAPTURED / "kubelet-40-nodeadm.conf").read_text()


def beyond(found: dict[str, Any], wanted: dict[str, Any], path: str = "") -> list[str]:
    """Paths in ``found`` that are not, or otherwise, in ``wanted``."""
    lines = []
    for key, value in found.items():
        here = f"{path}/{key}"
        if isinstance(value, dict):
            lines += beyond(value, wanted.get(key, {}), here)
        elif wanted.get(key) != value:
            lines.append(f"{here} = {value!r}, not {wanted.get(key)!r}")
    return lines


V2 = '[plugins."io.containerd.grpc.v1.cri"]\nmax_container_log_line_size = 99999\n'
V3 = '[plugins."io.containerd.cri.v1.runtime"]\nmax_container_log_line_size = 99999\n'
LINE_SIZE = "max_container_log_line_size = 99999"


@pytest.mark.parametrize(
    ("root", "config"), [("bookworm", V2), ("trixie-containerd2", V2), ("trixie-containerd2", V3)]
)
def test_a_user_s_keys_take_effect(root: str, config: str, boot: Boot) -> None:
    assert (
        LINE_SIZE in boot(Ami(root), nodeconfig=with_containerd(config)).run("containerd config dump").stdout
    )


def test_v3_keys_fail_on_containerd_1(boot: Boot) -> None:
    node = boot(Ami("bookworm"), nodeconfig=with_containerd(V3))
    assert node.show("nodeadm-config", "Result")["Result"] == "exit-code"
    assert node.state("containerd") == "inactive"


def dropin(config: str) -> str:
    document = {
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "spec": {"containerd": {"config": config}},
    }
    return f"#!/bin/sh\ncat > /etc/eks/nodeadm.d/50-test.json <<'E'\n{json.dumps(document)}\nE\n"


def test_mixed_dialects_lose_the_user_s_keys(boot: Boot) -> None:
    v3 = "[plugins.'io.containerd.cri.v1.images']\ndisable_snapshot_annotations = false\n"
    node = boot(nodeconfig=with_containerd(V2), scripts=[dropin(v3)])
    assert LINE_SIZE in node.read("/etc/containerd/config.toml")
    assert LINE_SIZE not in node.run("containerd config dump").stdout


def test_dropins_override_userdata_and_reach_the_cache(boot: Boot) -> None:
    node = boot(scripts=[dropin(V3)])
    assert LINE_SIZE in node.run("containerd config dump").stdout
    assert "max_container_log_line_size" in node.read("/run/eks/nodeadm/config.json")


def test_older_amis_do_not_read_dropins(boot: Boot) -> None:
    script = dropin(V3).replace("cat >", "mkdir -p /etc/eks/nodeadm.d; cat >")
    node = boot(Ami(generation=20251016), scripts=[script])
    assert LINE_SIZE not in node.run("containerd config dump").stdout
    assert kubelet(node)["ready"]


@pytest.mark.parametrize("name", ["60-broken.yaml", ".hidden.json"])
def test_a_dropin_that_does_not_parse_is_fatal(name: str, boot: Boot) -> None:
    node = boot(scripts=[f"#!/bin/sh\necho '{{ nonsense' > /etc/eks/nodeadm.d/{name}\n"])
    assert node.show("nodeadm-run", "Result")["Result"] == "exit-code"
    assert node.state("kubelet") == "inactive"


def test_nodeadm_waits_for_ever_for_containerd(boot: Boot) -> None:
    script = """#!/bin/sh
place=/etc/systemd/system/containerd.service.d
mkdir -p $place
printf '[Service]\\nExecStartPre=/bin/false\\n' > $place/x.conf
systemctl daemon-reload
"""
    node = eks_node(scripts=[script])
    with node:
        node.boot(wait=False)
        node.wait_for("nodeadm-run", "activating")
        time.sleep(3)
        assert node.state("nodeadm-run") == "activating"
        assert node.state("kubelet") == "inactive"


def test_environment_reaches_containerd(boot: Boot) -> None:
    config = f"{NODECONFIG}  instance:\n    environment:\n      default: {{HTTPS_PROXY: 'http://proxy.test:3128'}}\n"
    node = boot(nodeconfig=config)
    pid = node.show("containerd", "MainPID")["MainPID"]
    assert "HTTPS_PROXY=http://proxy.test:3128" in node.read(f"/proc/{pid}/environ").split("\0")


@pytest.mark.parametrize(("generation", "moved"), [(20251016, False), (20260724, True)])
def test_raid_moves_state_to_the_array(generation: int, moved: bool, boot: Boot) -> None:
    config = f"{NODECONFIG}  instance:\n    localStorage: {{strategy: RAID0}}\n"
    node = boot(Ami(generation=generation), nodeconfig=config)
    for _ in range(2):
        targets = node.run("findmnt -rno TARGET").stdout.split()
        assert "/var/lib/containerd" in targets
        assert ("/var/lib/soci-snapshotter-grpc" in targets) is moved
        assert (node.disk.array / "containerd/io.containerd.metadata.v1.bolt").is_dir()
        assert kubelet(node)["ready"]
        with Cri(node) as cri:
            assert cri.images() == {images.PAUSE: True}
        node.reboot()


GATE = NODECONFIG + "    FastImagePull: true\n"


@pytest.mark.parametrize(
    ("ami", "wired", "imported"),
    [
        (Ami(), True, True),
        (Ami(generation=20251208), True, False),
        (Ami(vcpus=2), False, False),
        (Ami(memory_gib=6.9), False, False),
        (Ami(generation=20250701), False, False),
    ],
    ids=["newest", "before the import", "2 vCPU", "6.9 GiB", "no SOCI"],
)
def test_the_fast_image_pull_gate(ami: Ami, wired: bool, imported: bool, boot: Boot) -> None:
    node = boot(ami, nodeconfig=GATE)
    assert ("snapshotter = 'soci'" in node.run("containerd config dump").stdout.replace('"', "'")) is wired
    assert node.exists("/etc/soci-snapshotter-grpc/config.toml") is wired
    assert node.exists("/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf") is imported
    state = kubelet(node)
    assert state["ready"]
    assert (SOCI in state["image"]) is wired
    if wired:
        held = node.run("ctr -n k8s.io snapshots --snapshotter soci ls").stdout
        assert (images.pause().diff_ids[0] in held) is imported


def test_the_gate_with_a_dead_soci_keeps_kubelet_down(boot: Boot) -> None:
    node = eks_node(nodeconfig=GATE)
    with node:
        node.write("/opt/lab/soci-fault", "exit")
        node.boot(wait=False)
        node.wait_for("nodeadm-run", "activating")
        time.sleep(3)
        assert (node.state("containerd"), node.state("kubelet")) == ("inactive", "inactive")


def test_the_static_recipe_without_soci_pulls_nothing(boot: Boot) -> None:
    node = boot(Ami(generation=20250701), nodeconfig=recipe.nodeconfig())
    assert node.state("containerd") == "active"
    assert re.search(r"soci\s+\S+\s+ok", node.run("ctr plugins ls").stdout)
    assert not kubelet(node)["ready"]
    with Registry(node) as registry, Cri(node) as cri, pytest.raises(grpc.RpcError):
        cri.pull(registry.push(images.app()))


# --- the daemon


GZIP = '[pull_modes.parallel_pull_unpack.decompress_streams."gzip"]\npath = "{}"\n'


@pytest.mark.parametrize(
    ("config", "starts"),
    [
        (recipe.CONFIG, True),
        ("nonsense_key = 1\n", True),
        ('[pull_modes.parallel_pull_unpack]\nconcurrent_download_chunk_size = "16 MB"\n', True),
        ('[pull_modes.parallel_pull_unpack]\nconcurrent_download_chunk_size = "8MiB"\n', False),
        (GZIP.format("/usr/bin/unpigz"), True),
        (GZIP.format("unpigz"), False),
        (GZIP.format("/usr/bin/none"), False),
        (GZIP.format("/etc/fstab"), False),
        (GZIP.format("/usr/bin"), False),
        ("= nonsense", False),
    ],
)
def test_the_daemon_refuses_what_soci_refuses(config: str, starts: bool) -> None:
    with Node() as node:
        node.write("/usr/local/bin/soci-snapshotter-grpc", build.daemon(), 0o755)
        node.write("/root/config.toml", config)
        node.boot()
        options = "--config /root/config.toml --root /var/lib/x --address /run/x.sock"
        limit = 1 if starts else 60
        done = node.run(f"timeout {limit} /usr/local/bin/soci-snapshotter-grpc {options}", check=False)
        assert (done.returncode == 124) is starts, done.stderr
        assert node.run("/usr/local/bin/soci-snapshotter-grpc --version").stdout.startswith(
            "soci-snapshotter-grpc version v0.15.0 "
        )


@pytest.mark.parametrize(
    ("fault", "state", "ready"),
    [
        ("exit", "failed", False),
        ("exit unit", "failed", False),
        ("never-ready", "activating", False),
        ("mute", "active", False),
        ("slow=1", "active", True),
        ("die-after=1", "failed", False),
    ],
)
def test_faults_of_the_daemon(fault: str, state: str, ready: bool, boot: Boot) -> None:
    def prepare(node: Node) -> None:
        recipe.install(node, import_pause=False)
        node.write("/opt/lab/soci-fault", fault)

    node = boot(nodeconfig=recipe.nodeconfig(), prepare=prepare)
    node.run("systemctl start --no-block soci-snapshotter")
    node.wait_for("soci-snapshotter", state)
    end = time.monotonic() + 60
    # One that died is started again for whoever dials, so it answers for a second now and then.
    while kubelet(node)["ready"] is not ready:
        assert time.monotonic() < end


def test_release_tarballs(tmp_path: Path) -> None:
    release = build.release(size=3_000_000)
    (tmp_path / "r").write_bytes(release.data)
    listing = subprocess.run(
        ["tar", "tzf", tmp_path / "r"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert sorted(listing) == ["NOTICE.md", "THIRD_PARTY_LICENSES", "soci", "soci-snapshotter-grpc"]
    assert len(release.binary) == 3_000_000
    other = build.release(arch="arm64" if build.this_arch() == "amd64" else "amd64")
    assert other.binary[:4] == b"\x7fELF"
    assert other.binary[18:20] != release.binary[18:20]


# --- the mirror


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.NONE, 0),
        (Fault.NOT_FOUND, 22),
        (Fault.SERVER_ERROR, 22),
        (Fault.HANG, 28),
        (Fault.TRUNCATE, 56),
        (Fault.RESET, 56),
    ],
)
def test_the_mirror(fault: Fault, status: int, boot: Boot) -> None:
    node = boot(scripts=())
    with Mirror(node) as mirror:
        release = build.release()
        mirror.release(release)
        mirror.fault = fault
        done = node.run(
            f"curl -fsSm2 -o r {mirror.url}/{release.path}; s=$?; sha256sum r; exit $s",
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert (release.sha256 in done.stdout) is (fault is Fault.NONE)
        assert [entry.path for entry in mirror.log] == [f"/{release.path}"]


def test_the_mirror_serves_ranges_and_recovers(boot: Boot) -> None:
    node = boot()
    with Mirror(node) as mirror:
        url = mirror.put("file", b"0123456789")
        assert node.run(["curl", "-sS", "-r", "3-5", url]).stdout == "345"
        mirror.fault = Fault.BUSY
        assert node.run(["curl", "-fsS", "--retry", "3", url]).stdout == "0123456789"
        assert len(mirror.log) == 4

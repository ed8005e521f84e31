from __future__ import annotations

import json
from dataclasses import replace

import pytest

from soci_bootstrap import paths
from soci_bootstrap.paths import CONTAINERD_ENDPOINT, NODEADM_DROPIN
from soci_bootstrap.runtime import originals, unwire
from soci_bootstrap.runtime.unwire import config_files, leads_to_soci, snapshotter
from soci_bootstrap.state import health
from soci_bootstrap.state.wiring import Wired, WiringMode, from_json
from soci_bootstrap.system import System
from tests.support.nodes import Node, captured, write

CONFIG = "/etc/containerd/config.toml"
KUBELET = "/etc/kubernetes/kubelet/config.json"
ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
WIRED = Wired(
    mode=WiringMode.NODEADM,
    dialect="v3",
    address=ADDRESS,
    root="/var/lib/containerd/io.containerd.snapshotter.v1.soci",
    static=False,
    containerd_config=CONFIG,
    kubelet_config=KUBELET,
    kubelet_dir=f"{KUBELET}.d",
    fallback='{"spec": {}}\n',
)
DIRECT = replace(WIRED, mode=WiringMode.DIRECT, fallback="")
STATIC = captured("containerd-nodeadm-static-soci.toml")
ENDPOINT = captured("kubelet-40-nodeadm.conf")
V2 = '[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "{}"\n'


def text(tmp_path, path: str) -> str:
    return (tmp_path / path.lstrip("/")).read_text()


def test_record_round_trip() -> None:
    assert from_json(json.loads(json.dumps(WIRED.to_json()))) == WIRED


@pytest.mark.parametrize("document", [{}, {"mode": "direct"}, {**WIRED.to_json(), "newer": 1}])
def test_a_record_that_says_nothing_of_use(document) -> None:
    assert from_json(document) is None


@pytest.mark.parametrize(
    ("files", "active"),
    [
        ({}, "overlayfs"),
        ({CONFIG: STATIC}, "soci"),
        ({CONFIG: captured("containerd-nodeadm-v3.toml")}, "overlayfs"),
        ({CONFIG: captured("containerd-nodeadm-user-v2-migrated.toml")}, "overlayfs"),
        ({CONFIG: V2.format("stargz")}, "stargz"),
        # An imported file wins, the last of several.
        ({CONFIG: STATIC, "/etc/containerd/conf.d/99-nvidia.toml": V2.format("overlayfs")}, "overlayfs"),
        ({CONFIG: STATIC, "/etc/containerd/conf.d/99-nvidia.toml": "x = 1\n"}, "soci"),
        (
            {
                CONFIG: STATIC,
                "/etc/containerd/conf.d/1.toml": V2.format("overlayfs"),
                "/etc/containerd/conf.d/2.toml": V2.format("soci"),
            },
            "soci",
        ),
        ({CONFIG: STATIC, "/etc/containerd/conf.d/99-nvidia.conf": V2.format("overlayfs")}, "soci"),
        ({CONFIG: V2.format("soci"), "/etc/containerd/conf.d/9.toml": V2.format("overlayfs")}, "soci"),
        ({CONFIG: '  imports = ["more/*.toml"]\n', "/etc/containerd/more/a.toml": V2.format("soci")}, "soci"),
        ({CONFIG: "imports = [\n'/etc/a.toml',\n'/etc/b.toml']\n", "/etc/b.toml": V2.format("soci")}, "soci"),
        ({CONFIG: b"x = '\xff'\n" + V2.format("soci").encode()}, "soci"),
    ],
)
def test_snapshotter(tmp_path, files, active) -> None:
    assert snapshotter(System(str(write(tmp_path, files))), WIRED) == active


def test_files_in_the_order_they_are_read(tmp_path) -> None:
    files = {CONFIG: STATIC, "/etc/containerd/conf.d/b.toml": "b", "/etc/containerd/conf.d/a.toml": "a"}
    found = config_files(System(str(write(tmp_path, files))), WIRED)
    assert [path.rsplit("/", 1)[1] for path, _ in found] == ["config.toml", "a.toml", "b.toml"]


@pytest.mark.parametrize(
    ("files", "leads"),
    [
        ({}, False),
        ({CONFIG: STATIC}, True),
        ({KUBELET: ENDPOINT}, True),
        ({f"{KUBELET}.d/40-nodeadm.conf": ENDPOINT}, True),
        ({f"{KUBELET}.d/40-nodeadm.conf.bak": ENDPOINT}, False),
        ({KUBELET: "{}"}, False),
    ],
)
def test_leads_to_soci(tmp_path, files, leads) -> None:
    assert leads_to_soci(System(str(write(tmp_path, files))), WIRED) is leads


def test_nodeadms_node(tmp_path) -> None:
    files = {
        CONFIG: STATIC,
        f"{KUBELET}.d/40-nodeadm.conf": ENDPOINT,
        KUBELET: '{"maxPods": 42}',
        NODEADM_DROPIN: "wired",
    }
    node = Node(write(tmp_path, files))
    (tmp_path / CONFIG.lstrip("/")).chmod(0o600)
    assert unwire.unwire(node, WIRED) == []
    assert text(tmp_path, CONFIG) == STATIC.decode().replace(
        "snapshotter = 'soci'", "snapshotter = 'overlayfs'"
    )
    assert node.entry(CONFIG).mode == 0o600
    endpoint = json.loads(text(tmp_path, f"{KUBELET}.d/40-nodeadm.conf"))
    assert endpoint == {**json.loads(ENDPOINT), "imageServiceEndpoint": CONTAINERD_ENDPOINT}
    assert text(tmp_path, KUBELET) == '{"maxPods": 42}'
    assert text(tmp_path, NODEADM_DROPIN) == WIRED.fallback
    assert not leads_to_soci(node, WIRED)
    # A second time there is nothing to do.
    before = {path: node.entry(path).inode for path in (CONFIG, KUBELET, NODEADM_DROPIN)}
    assert unwire.unwire(node, WIRED) == []
    assert before == {path: node.entry(path).inode for path in before}


@pytest.mark.parametrize(
    ("wired", "dropin"),
    [
        (replace(WIRED, fallback=""), None),
        (replace(WIRED, mode=WiringMode.DIRECT), "wired"),
        (replace(WIRED, mode=WiringMode.NONE), "wired"),
    ],
)
def test_the_drop_in(tmp_path, wired, dropin) -> None:
    node = Node(write(tmp_path, {NODEADM_DROPIN: "wired"}))
    assert unwire.unwire(node, wired) == []
    assert node.read(NODEADM_DROPIN) == (dropin.encode() if dropin else None)


def test_links_are_followed(tmp_path) -> None:
    files = {
        CONFIG: "-> real.toml",
        "/etc/containerd/real.toml": V2.format("soci"),
        KUBELET: "-> k",
        f"{KUBELET[:-11]}k": ENDPOINT,
    }
    node = Node(write(tmp_path, files))
    assert unwire.unwire(node, DIRECT) == []
    assert (node.entry(CONFIG).kind, node.entry(KUBELET).kind) == ("link", "link")
    assert text(tmp_path, "/etc/containerd/real.toml") == V2.format("overlayfs")


@pytest.mark.parametrize(
    "kubelet",
    [
        '{"imageServiceEndpoint": "unix:///run/other.sock"}',
        f'{{"note": "{ADDRESS}"}}',
        f'["{ADDRESS}"]',
        "",
    ],
)
def test_kubelets_that_are_left_alone(tmp_path, kubelet) -> None:
    node = Node(write(tmp_path, {KUBELET: kubelet}))
    assert unwire.unwire(node, DIRECT) == []
    assert text(tmp_path, KUBELET) == kubelet


def test_no_kubelet(tmp_path) -> None:
    node = Node(write(tmp_path, {KUBELET: ENDPOINT}))
    assert unwire.unwire(node, replace(DIRECT, kubelet_config="", kubelet_dir="")) == []
    assert text(tmp_path, KUBELET) == ENDPOINT.decode()


def test_as_far_as_it_goes(tmp_path) -> None:
    """Each of the three fails for itself; what can be unwired is."""
    files = {
        NODEADM_DROPIN + "/in the way": "",
        KUBELET: f'{{"broken": "{ADDRESS}"',
        CONFIG: V2.format("soci"),
    }
    failures = unwire.unwire(Node(write(tmp_path, files)), WIRED)
    assert len(failures) == 2
    assert NODEADM_DROPIN in failures[0]
    assert text(tmp_path, CONFIG) == V2.format("overlayfs")


def test_a_disk_that_can_not_be_written_to(tmp_path) -> None:
    node = Node(write(tmp_path, {CONFIG: V2.format("soci"), KUBELET: ENDPOINT, NODEADM_DROPIN: "wired"}))
    node.refused = ("write",)
    assert len(unwire.unwire(node, WIRED)) == 3
    assert text(tmp_path, CONFIG) == V2.format("soci")


# -- originals ----------------------------------------------------------------------------------

USERS = "/etc/containerd/conf.d/99-nvidia.toml"
MINE = f"# mine \xff\nimports = ['{USERS}']\n".encode("latin-1") + V2.format("soci").encode()


def failed_open(tmp_path) -> Node:
    files = {CONFIG: MINE, USERS: V2.format("soci"), KUBELET: ENDPOINT}
    node = Node(write(tmp_path, files))
    (tmp_path / USERS[1:]).chmod(0o640)
    assert unwire.unwire(node, replace(DIRECT, mode=WiringMode.NONE)) == []
    assert not leads_to_soci(node, DIRECT)
    return node


def test_what_failing_open_changes_is_kept_first_and_put_back(tmp_path) -> None:
    node = failed_open(tmp_path)
    health.degraded(node, "why")
    assert originals.restorable(node) == {CONFIG: MINE, USERS: V2.format("soci").encode(), KUBELET: ENDPOINT}
    assert originals.restore_unwired(node) == []
    assert (node.read(CONFIG), node.read(KUBELET)) == (MINE, ENDPOINT)
    assert node.entry(USERS).mode == 0o640
    assert health.load(node).unwired == ()
    assert health.load(node).degraded == "why"
    assert originals.restore_unwired(node) == []


def test_nothing_is_changed_before_its_original_is_kept(tmp_path) -> None:
    changed: list[str] = []

    class Watched(Node):
        def before_change(self, what: str) -> None:
            changed.append(what)

    node = Watched(write(tmp_path, {CONFIG: MINE, USERS: V2.format("soci")}))
    assert unwire.unwire(node, DIRECT) == []
    writes = [what for what in changed if what.startswith("write")]
    assert writes == [f"write {paths.HEALTH}", f"write {CONFIG}", f"write {USERS}"]


def test_what_somebody_changed_since_is_theirs(tmp_path) -> None:
    node = failed_open(tmp_path)
    write(tmp_path, {USERS: "x = 1\n"})
    assert originals.restore_unwired(node) == []
    assert text(tmp_path, USERS) == "x = 1\n"
    assert node.read(CONFIG) == MINE
    assert health.load(node).unwired == ()


def test_what_can_not_be_put_back_is_kept(tmp_path) -> None:
    node = failed_open(tmp_path)
    node.refused = (f"write {USERS}",)
    (failure,) = originals.restore_unwired(node)
    assert USERS in failure
    assert [one.path for one in health.load(node).unwired] == [USERS]
    node.refused = ()
    assert originals.restore_unwired(node) == []
    assert text(tmp_path, USERS) == V2.format("soci")


def test_a_second_failing_open_keeps_the_first_ones_originals(tmp_path) -> None:
    node = failed_open(tmp_path)
    write(tmp_path, {USERS: V2.format("soci") + "# new\n"})
    assert unwire.unwire(node, DIRECT) == []
    assert originals.restore_unwired(node) == []
    assert text(tmp_path, USERS) == V2.format("soci") + "# new\n"
    assert node.read(CONFIG) == MINE


def test_a_disk_without_room_for_the_originals_still_fails_open(tmp_path) -> None:
    node = Node(write(tmp_path, {CONFIG: MINE}))
    node.refused = (paths.HEALTH,)
    assert unwire.unwire(node, DIRECT) == []
    assert not leads_to_soci(node, DIRECT)

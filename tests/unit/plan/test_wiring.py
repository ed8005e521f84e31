from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from soci_bootstrap.configfiles import toml
from soci_bootstrap.configfiles.containerd import NamedSoci
from soci_bootstrap.errors import StateError, WiringError
from soci_bootstrap.facts import AmiSoci
from soci_bootstrap.facts.containerd import Containerd
from soci_bootstrap.facts.kubelet import Kubelet
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.facts.registries import Registry
from soci_bootstrap.paths import CONTAINERD_ENDPOINT, KUBELET_DROPINS, NODEADM_DROPIN
from soci_bootstrap.plan.items import Absent, File
from soci_bootstrap.plan.wiring import Wiring, choose, for_hooks
from soci_bootstrap.state.record import Phase
from tests.support.known import FACTS, OTHER, facts
from tests.support.nodes import captured

ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
V2 = b'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nx = 1\n'
STATIC = NamedSoci("/run/user.sock", "/mnt/soci")
IN_USE = NamedSoci("/run/hand.sock", "/var/lib/soci-snapshotter-grpc")


def file(chosen: Wiring, name: str) -> File:
    return next(item for item in chosen.items if item.name == name and isinstance(item, File))


def spec(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    assert (document["apiVersion"], document["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    return document["spec"]


def tables(data: bytes) -> dict[str, Any]:
    return toml.loads(spec(data)["containerd"]["config"], "x")


# -- which --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found", "mode"),
    [
        ("auto", FACTS, "nodeadm"),
        ("nodeadm", FACTS, "nodeadm"),
        ("direct", FACTS, "direct"),
        ("none", FACTS, "none"),
        ("auto", OTHER, "direct"),
        ("none", OTHER, "none"),
        ("auto", replace(FACTS, nodeadm_dropins=False), "direct"),
        # An image may get its containerd later on.
        ("auto", replace(OTHER, live=False, containerd=Containerd(False, None)), "direct"),
    ],
)
def test_mode(asked, found, mode) -> None:
    assert choose(asked, found, None).mode == mode


@pytest.mark.parametrize(
    ("asked", "found", "words"),
    [
        ("nodeadm", OTHER, "an EKS AMI of 2025-10-20 or newer"),
        ("auto", replace(OTHER, containerd=Containerd(False, None)), "no containerd on this node"),
    ],
)
def test_no_mode(asked, found, words) -> None:
    with pytest.raises(WiringError, match=words):
        choose(asked, found, None)


@pytest.mark.parametrize(
    ("version", "config", "dialect"),
    [
        ((2, 2, 6), NodeConfig(), "v3"),
        ((2, 0, 0), NodeConfig(), "v3"),
        ((1, 7, 27), NodeConfig(), "v2"),
        (None, NodeConfig(), "v2"),
        # That nodeadm would refuse on containerd 1.
        (None, NodeConfig(containerd=True, v3=True), "v3"),
        # As the user's configuration speaks: one without any name of schema 3 means 2.
        ((2, 2, 6), NodeConfig(containerd=True), "v2"),
        ((2, 2, 6), NodeConfig(containerd=True, v3=True), "v3"),
        ((1, 7, 27), NodeConfig(containerd=True, v3=True), "v2"),
    ],
)
def test_dialect(version, config, dialect) -> None:
    chosen = choose("auto", facts(containerd={"version": version}, node_config=config), None)
    assert chosen.dialect == dialect
    plugins = tables(file(chosen, "wiring").data)["plugins"]
    assert list(plugins) == [
        "io.containerd.cri.v1.images" if dialect == "v3" else "io.containerd.grpc.v1.cri"
    ]


@pytest.mark.parametrize(
    ("found", "asked", "address", "root"),
    [
        (FACTS, None, ADDRESS, ROOT),
        (FACTS, "/mnt/asked", ADDRESS, "/mnt/asked"),
        (facts(containerd={"root": "/mnt/c"}), None, ADDRESS, "/mnt/c/io.containerd.snapshotter.v1.soci"),
        (facts(ami=AmiSoci(socket=True, address="/run/ami.sock")), None, "/run/ami.sock", ROOT),
        (facts(node_config=NodeConfig(static=STATIC)), None, "/run/user.sock", "/mnt/soci"),
        (facts(node_config=NodeConfig(static=STATIC)), "/mnt/asked", "/run/user.sock", "/mnt/asked"),
        (facts(node_config=NodeConfig(static=NamedSoci("", ""))), None, ADDRESS, ROOT),
        # A root alone, as those name it who use the gate.
        (
            facts(node_config=NodeConfig(gate=True, static=NamedSoci("", "/mnt/soci", False))),
            None,
            ADDRESS,
            "/mnt/soci",
        ),
        # Images that lie elsewhere already stay usable, whoever wired that: the gate, or someone by hand.
        (facts(containerd={"soci": IN_USE}), None, "/run/hand.sock", "/var/lib/soci-snapshotter-grpc"),
        (facts(containerd={"soci": IN_USE}), "/mnt/asked", "/run/hand.sock", "/mnt/asked"),
        (
            facts(node_config=NodeConfig(static=STATIC), containerd={"soci": IN_USE}),
            None,
            "/run/user.sock",
            "/mnt/soci",
        ),
        (
            facts(node_config=NodeConfig(static=STATIC), ami=AmiSoci(socket=True, address="/run/ami.sock")),
            None,
            "/run/user.sock",
            "/mnt/soci",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "direct", "none"])
def test_address_and_root(mode, found, asked, address, root) -> None:
    chosen = choose(mode, found, asked)
    assert (chosen.address, chosen.root) == (address, root)


# -- nodeadm ------------------------------------------------------------------------------------


def test_the_drop_in() -> None:
    chosen = choose("auto", FACTS, None)
    (item,) = chosen.items
    assert (item.path, item.phase) == (NODEADM_DROPIN, Phase.WIRING)
    wired = file(chosen, "wiring")
    assert spec(wired.data)["kubelet"] == {"config": {"imageServiceEndpoint": f"unix://{ADDRESS}"}}
    assert "featureGates" not in spec(wired.data)
    assert tables(wired.data) == {
        "plugins": {
            "io.containerd.cri.v1.images": {"snapshotter": "soci", "disable_snapshot_annotations": False}
        },
        "proxy_plugins": {"soci": {"type": "snapshot", "address": ADDRESS, "exports": {"root": ROOT}}},
    }
    # What is left after failing open: containerd goes on knowing SOCI.
    assert wired.unwired == chosen.fallback
    left, kept = tables(wired.data), tables(chosen.fallback)
    del left["plugins"]["io.containerd.cri.v1.images"]["snapshotter"]
    # The dialect's plugin is still named: by that nodeadm chooses its template.
    assert kept == left
    assert list(spec(chosen.fallback)) == ["containerd"]


@pytest.mark.parametrize("config", [NodeConfig(), NodeConfig(containerd=True), NodeConfig(True, v3=True)])
@pytest.mark.parametrize("version", [(2, 2, 6), (1, 7, 27), None])
def test_failing_open_keeps_the_dialect(version, config) -> None:
    chosen = choose("auto", facts(containerd={"version": version}, node_config=config), None)
    plugins = list(tables(chosen.fallback or b"")["plugins"])
    assert plugins == list(tables(file(chosen, "wiring").data)["plugins"])


@pytest.mark.parametrize(
    ("config", "endpoint"),
    [
        (NodeConfig(static=STATIC, image_endpoint="unix:///run/user.sock"), None),
        (NodeConfig(static=STATIC), "unix:///run/user.sock"),
        (
            NodeConfig(static=STATIC, image_endpoint="unix:///run/containerd/containerd.sock"),
            "unix:///run/user.sock",
        ),
    ],
)
def test_a_static_wiring_is_not_duplicated(config, endpoint) -> None:
    chosen = choose("auto", facts(node_config=config), None)
    assert chosen.static
    (item,) = chosen.items
    if endpoint is None:
        # And what overrode it after failing open goes.
        assert isinstance(item, Absent)
        assert item.path == NODEADM_DROPIN
    else:
        assert spec(file(chosen, "wiring").data) == {
            "kubelet": {"config": {"imageServiceEndpoint": endpoint}}
        }


@pytest.mark.parametrize(
    ("static", "asked"),
    [
        (STATIC, "/mnt/asked"),
        (NamedSoci("", ""), None),
        (NamedSoci("/run/user.sock", ""), None),
        # containerd's default keeps SOCI from what it needs to know.
        (replace(STATIC, annotated=False), None),
    ],
)
def test_a_static_wiring_that_would_not_work_is_completed(static, asked) -> None:
    config = NodeConfig(containerd=True, v3=True, static=static, image_endpoint="unix:///run/user.sock")
    chosen = choose("auto", facts(node_config=config), asked)
    found = tables(file(chosen, "wiring").data)
    image = {"snapshotter": "soci", "disable_snapshot_annotations": False}
    assert found["plugins"]["io.containerd.cri.v1.images"] == image
    plugin = {"type": "snapshot", "address": chosen.address, "exports": {"root": chosen.root}}
    assert found["proxy_plugins"]["soci"] == plugin
    assert chosen.static
    # It is the user's all the same, so that failing open has to override it.
    kept = tables(chosen.fallback or b"")
    assert kept["plugins"]["io.containerd.cri.v1.images"]["snapshotter"] == "overlayfs"
    assert kept["proxy_plugins"]["soci"] == plugin


def test_a_root_alone_is_no_wiring() -> None:
    static = NamedSoci("", "/mnt/soci", snapshotter=False, annotated=False)
    chosen = choose("auto", facts(node_config=NodeConfig(containerd=True, static=static)), None)
    assert not chosen.static
    assert "kubelet" not in spec(chosen.fallback or b"")


@pytest.mark.parametrize(
    ("v3", "plugin"), [(True, "io.containerd.cri.v1.images"), (False, "io.containerd.grpc.v1.cri")]
)
def test_a_static_wiring_is_overridden_on_failure(v3, plugin) -> None:
    config = NodeConfig(containerd=True, v3=v3, static=STATIC, image_endpoint="unix:///run/user.sock")
    fallback = choose("auto", facts(node_config=config), None).fallback
    assert fallback is not None
    assert spec(fallback)["kubelet"] == {"config": {"imageServiceEndpoint": CONTAINERD_ENDPOINT}}
    found = tables(fallback)
    image = found["plugins"][plugin] if v3 else found["plugins"][plugin]["containerd"]
    assert image["snapshotter"] == "overlayfs"
    assert list(found) == ["plugins"]


def test_the_gate_is_turned_off() -> None:
    chosen = choose("auto", facts(node_config=NodeConfig(gate=True)), None)
    assert spec(file(chosen, "wiring").data)["featureGates"] == {"FastImagePull": False}
    assert chosen.fallback is not None
    assert spec(chosen.fallback)["featureGates"] == {"FastImagePull": False}
    gone = next(item for item in chosen.items if isinstance(item, Absent))
    assert gone.path == "/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf"
    assert gone.phase < Phase.WIRING


# -- direct -------------------------------------------------------------------------------------


def test_merged_into_containerds_file() -> None:
    found = facts(OTHER, containerd={"config": V2, "config_path": "/etc/c.toml", "config_mode": 0o600})
    chosen = choose("auto", found, None)
    item = file(chosen, "wiring")
    assert (item.path, item.mode, item.merged) == ("/etc/c.toml", 0o600, True)
    plugin = toml.loads(item.data, "x")["plugins"]["io.containerd.grpc.v1.cri"]
    assert plugin == {"x": 1, "containerd": {"snapshotter": "soci", "disable_snapshot_annotations": False}}
    unwired = toml.loads(item.unwired, "x")
    assert unwired["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["snapshotter"] == "overlayfs"
    assert unwired["proxy_plugins"]["soci"]["address"] == ADDRESS
    assert chosen.fallback is None


def test_no_configuration_yet() -> None:
    item = file(choose("auto", facts(OTHER, containerd={"config": b""}), None), "wiring")
    assert toml.loads(item.data, "x")["version"] == 3


@pytest.mark.parametrize(
    ("config", "error"),
    [(b"[", StateError), (b"version = 1\n", WiringError), (b"version = 2\nplugins = 1\n", WiringError)],
)
def test_a_configuration_that_is_not_touched(config, error) -> None:
    with pytest.raises(error):
        choose("direct", facts(OTHER, containerd={"config": config}), None)


def test_kubelets_drop_in() -> None:
    item = file(
        choose("auto", facts(OTHER, kubelet=Kubelet(True, config_dir="/etc/k.d")), None), "kubelet-wiring"
    )
    assert item.path == "/etc/k.d/50-soci-bootstrap.conf"
    assert json.loads(item.data)["imageServiceEndpoint"] == f"unix://{ADDRESS}"
    assert json.loads(item.unwired)["imageServiceEndpoint"] == CONTAINERD_ENDPOINT
    assert not item.merged


@pytest.mark.parametrize("config", [b"", b'{"maxPods": 42, "imageServiceEndpoint": "unix:///x"}'])
def test_kubelets_config(config) -> None:
    item = file(
        choose("auto", facts(OTHER, kubelet=Kubelet(True, config=config, config_mode=0o640)), None),
        "kubelet-wiring",
    )
    assert (item.path, item.mode, item.merged) == ("/etc/kubernetes/kubelet/config.json", 0o640, True)
    for data, endpoint in ((item.data, f"unix://{ADDRESS}"), (item.unwired, CONTAINERD_ENDPOINT)):
        assert json.loads(data) == {**json.loads(config or b"{}"), "imageServiceEndpoint": endpoint}


def test_no_kubelet() -> None:
    chosen = choose("auto", facts(OTHER, kubelet=Kubelet(False)), None)
    assert [item.name for item in chosen.items] == ["wiring"]


def test_a_kubelet_config_that_is_not_touched() -> None:
    with pytest.raises(WiringError, match="is not a JSON object"):
        choose("auto", facts(OTHER, kubelet=Kubelet(True, config=b"kind: x")), None)


def test_none_changes_nothing() -> None:
    chosen = choose("none", FACTS, None)
    assert (chosen.items, chosen.fallback) == ((), None)


# -- warnings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "mode", "words"),
    [
        (
            facts(node_config=NodeConfig(later=("/etc/eks/nodeadm.d/60-x.yaml",))),
            "auto",
            ["60-x.yaml sorts after ours"],
        ),
        (facts(node_config=NodeConfig(later=("/etc/eks/nodeadm.d/60-x.yaml",))), "direct", []),
        (
            facts(containerd={"version": (1, 7, 15)}),
            "auto",
            ["containerd 1.7.15 does not count SOCI's disk use"],
        ),
        (facts(containerd={"version": (1, 7, 16)}), "auto", []),
        (facts(containerd={"version": None}), "auto", []),
        (
            facts(
                containerd={
                    "config": b"[plugins.'io.containerd.transfer.v1.local']\nmax_concurrent_unpacks = 4\n"
                }
            ),
            "auto",
            ["max_concurrent_unpacks = 4", "13264"],
        ),
        (facts(containerd={"config": captured("containerd-nodeadm-static-soci.toml")}), "auto", []),
        (
            facts(kubelet=Kubelet(True, endpoint="unix:///run/x.sock")),
            "auto",
            ["the image endpoint unix:///run/x"],
        ),
        (facts(registries=(Registry("r.test", "a mirror", "/d"),)), "auto", ["/d names a mirror for r.test"]),
    ],
)
def test_warnings(found, mode, words) -> None:
    warnings = choose(mode, found, None).warnings
    assert len(warnings) == bool(words)
    assert all(word in warnings[0] for word in words)


AGREES = f"""version = 3
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'soci'
disable_snapshot_annotations = false
[proxy_plugins.soci]
address = '{ADDRESS}'
[proxy_plugins.soci.exports]
root = '/mnt/soci'
"""
ENDPOINT = f'{{"imageServiceEndpoint": "unix://{ADDRESS}"}}'


@pytest.mark.parametrize(
    ("config", "kubelet", "asked", "words"),
    [
        (AGREES, ENDPOINT, None, []),
        (AGREES.replace("'soci'", "'overlayfs'"), ENDPOINT, None, ["does not name soci as the snapshotter"]),
        (AGREES.replace("false", "true"), ENDPOINT, None, ["disable_snapshot_annotations is not false"]),
        (AGREES, ENDPOINT, "/mnt/other", ["exports has SOCI's root /mnt/other"]),
        (AGREES, "{}", None, ["kubelet's imageServiceEndpoint is not unix:///run/soci"]),
        (
            "",
            "",
            None,
            ["as the snapshotter", "annotations", f"SOCI's socket {ADDRESS}", f"root {ROOT}", "credentials"],
        ),
    ],
)
def test_what_the_user_wired_otherwise(config, kubelet, asked, words) -> None:
    found = facts(containerd={"config": config.encode()}, kubelet=Kubelet(True, config=kubelet.encode()))
    warnings = choose("none", found, asked).warnings
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings))


def test_the_user_wired_in_the_node_config() -> None:
    config = NodeConfig(static=STATIC, image_endpoint="unix:///run/user.sock")
    assert choose("none", facts(node_config=config), None).warnings == ()


@pytest.mark.parametrize(
    ("found", "mode", "kubelet_config", "kubelet_dir"),
    [
        (FACTS, "nodeadm", "/etc/kubernetes/kubelet/config.json", "/etc/kubernetes/kubelet/config.json.d"),
        (facts(kubelet=Kubelet(present=True, config_path="/k", config_dir="/d")), "nodeadm", "/k", "/d"),
        (facts(kubelet=Kubelet(present=False, config_path="/k")), "nodeadm", "/k", KUBELET_DROPINS),
        (facts(OTHER, kubelet=Kubelet(present=True, config_path="/k")), "direct", "/k", ""),
        (facts(OTHER, kubelet=Kubelet(present=False, config_path="/k")), "direct", "", ""),
    ],
)
def test_what_the_hooks_get_to_know(found, mode, kubelet_config, kubelet_dir) -> None:
    chosen = choose("auto", found, None)
    wired = for_hooks(chosen, found)
    assert (wired.mode, wired.dialect, wired.address, wired.root) == (mode, *wired_with(chosen))
    assert (wired.kubelet_config, wired.kubelet_dir) == (kubelet_config, kubelet_dir)
    assert wired.containerd_config == "/etc/containerd/config.toml"
    assert wired.fallback == (chosen.fallback.decode() if chosen.fallback else "")
    assert bool(wired.fallback) is (mode == "nodeadm")
    assert not wired.static


def wired_with(chosen: Wiring) -> tuple[str, str, str]:
    return chosen.dialect, chosen.address, chosen.root

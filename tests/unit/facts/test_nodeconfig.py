from __future__ import annotations

import json

import pytest

from soci_bootstrap.configfiles.containerd import NamedSoci
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts import nodeconfig
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.paths import NODEADM_DROPIN, NODECONFIG_CACHE
from soci_bootstrap.system import System
from tests.support.nodes import captured, write

ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
STATIC_TOML = (
    f'[proxy_plugins.soci]\ntype = "snapshot"\naddress = "{ADDRESS}"\n'
    f'[proxy_plugins.soci.exports]\nroot = "{ROOT}"\n'
    "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = \"soci\"\ndisable_snapshot_annotations = false\n"
)
NAMED = STATIC_TOML.partition("[plugins.")[0]
V3 = "plugins.'io.containerd.cri.v1.images'"


def cache(config: str | None = None, **spec) -> str:
    """Nodeadm's cache, with a containerd configuration."""
    return json.dumps({"spec": {"containerd": {} if config is None else {"config": config}, **spec}})


def seen(tmp_path, files, **how) -> NodeConfig:
    return nodeconfig.read(System(str(write(tmp_path, files))), **how)


def dropin(name: str) -> str:
    return f"/etc/eks/nodeadm.d/{name}"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, NodeConfig()),
        ({NODECONFIG_CACHE: captured("nodeadm-cache.json")}, NodeConfig()),
        ({NODECONFIG_CACHE: captured("nodeadm-cache-user-v2.json")}, NodeConfig(containerd=True)),
        (
            {NODECONFIG_CACHE: captured("nodeadm-cache-static-soci.json")},
            NodeConfig(containerd=True, static=NamedSoci(ADDRESS, ROOT), image_endpoint=f"unix://{ADDRESS}"),
        ),
        ({NODECONFIG_CACHE: cache("")}, NodeConfig()),
        ({NODECONFIG_CACHE: cache(" \n")}, NodeConfig()),
        (
            {NODECONFIG_CACHE: cache("[plugins.'io.containerd.cri.v1.runtime']\n")},
            NodeConfig(containerd=True, v3=True),
        ),
        ({NODECONFIG_CACHE: cache(f"[{V3}]\n")}, NodeConfig(containerd=True, v3=True)),
        # Nodeadm's own test is a text test: a comment counts.
        ({NODECONFIG_CACHE: cache("# io.containerd.cri.v1.images\n")}, NodeConfig(containerd=True, v3=True)),
        ({NODECONFIG_CACHE: cache("oom_score = 1\n")}, NodeConfig(containerd=True)),
        ({NODECONFIG_CACHE: cache(featureGates={"FastImagePull": True})}, NodeConfig(gate=True)),
        ({NODECONFIG_CACHE: cache(featureGates={"FastImagePull": False})}, NodeConfig()),
        ({NODECONFIG_CACHE: cache(featureGates=[1])}, NodeConfig()),
        (
            {NODECONFIG_CACHE: cache(instance={"localStorage": {"strategy": "RAID0"}})},
            NodeConfig(raid="raid0"),
        ),
        ({NODECONFIG_CACHE: cache(kubelet={"config": {"imageServiceEndpoint": 1}})}, NodeConfig()),
        ({NODECONFIG_CACHE: json.dumps({"spec": {"containerd": {"config": {"not": "text"}}}})}, NodeConfig()),
        ({NODECONFIG_CACHE: json.dumps({"spec": None})}, NodeConfig()),
        ({NODECONFIG_CACHE: "{}"}, NodeConfig()),
    ],
)
def test_cache(tmp_path, files, expected) -> None:
    assert seen(tmp_path, files) == expected


@pytest.mark.parametrize(
    ("config", "static"),
    [
        (STATIC_TOML, NamedSoci(ADDRESS, ROOT)),
        (STATIC_TOML.replace("/run/", "unix:///run/"), NamedSoci(ADDRESS, ROOT)),
        (STATIC_TOML.replace("false", "true"), NamedSoci(ADDRESS, ROOT, annotated=False)),
        (
            '[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "soci"\n',
            NamedSoci("", "", annotated=False),
        ),
        # As users of the gate do it, who want its root elsewhere.
        (NAMED, NamedSoci(ADDRESS, ROOT, snapshotter=False, annotated=False)),
        ("# soci \ud800\n", None),
        (f"[{V3}]\nsnapshotter = 'stargz'\nx = 'soci'\n", None),
        (
            f"[{V3}]\nsnapshotter = 'soci'\n[proxy_plugins]\nsoci = 1\n",
            NamedSoci("", "", annotated=False),
        ),
    ],
)
def test_static_wiring(tmp_path, config, static) -> None:
    assert seen(tmp_path, {NODECONFIG_CACHE: cache(config)}).static == static


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("", "Expecting value"),
        ("[]", "found list"),
        ("{", "Expecting property name"),
        (b"\xff", "decode"),
        (cache("soci = ["), "containerd.config is not TOML"),
        ("[" * 200_000, "recursion"),
    ],
)
def test_a_cache_that_can_not_be_used(tmp_path, data, found) -> None:
    with pytest.raises(StateError, match=found):
        seen(tmp_path, {NODECONFIG_CACHE: data})


def test_an_image_has_no_user_data(tmp_path) -> None:
    files = {
        NODECONFIG_CACHE: cache(f"[{V3}]\n"),
        dropin("10-a.json"): '{"spec": {"featureGates": {"FastImagePull": true}}}',
    }
    assert seen(tmp_path, files, cached=False) == NodeConfig(gate=True)


YAML = "spec:\n  containerd:\n    config: |\n      {}\n"


@pytest.mark.parametrize(
    ("name", "text", "containerd", "v3"),
    [
        ("10-a.yaml", YAML.format("[plugins.'io.containerd.cri.v1.runtime']"), True, True),
        ("10-a.yml", YAML.format('[plugins."io.containerd.grpc.v1.cri"]'), True, False),
        ("10-a.json", json.dumps({"spec": {"containerd": {"config": f"[{V3}]\n"}}}), True, True),
        (".hidden.json", json.dumps({"spec": {"containerd": {"config": f"[{V3}]\n"}}}), True, True),
        ("90-z.yaml", YAML.format(f"[{V3}]"), True, True),
        ("10-a.yaml", "spec:\n  kubelet:\n    config:\n      maxPods: 5\n", False, False),
        ("10-a.conf", YAML.format(f"[{V3}]"), False, False),
        ("10-a.yaml", f"# [{V3}]\nspec: {{}}\n", False, False),
        (
            "50-soci-bootstrap.json",
            json.dumps({"spec": {"containerd": {"config": f"[{V3}]\n"}}}),
            False,
            False,
        ),
    ],
)
def test_the_dialect_of_other_drop_ins(tmp_path, name, text, containerd, v3) -> None:
    found = seen(tmp_path, {dropin(name): text, NODECONFIG_CACHE: cache()})
    assert (found.containerd, found.v3) == (containerd, v3)


@pytest.mark.parametrize(
    ("cached", "text", "gate"),
    [
        (False, "featureGates:\n  FastImagePull: true\n", True),
        (False, '{"featureGates": {"FastImagePull": true}}', True),
        (False, '{"featureGates":{"FastImagePull":true}}', True),
        (True, "featureGates:\n  FastImagePull: false\n", False),
        (True, "featureGates:\n  FastImagePull: FALSE\n", False),
        (True, "featureGates:\n  Other: false\n", True),
        (True, "featureGates:\n  # FastImagePull: false\n", True),
        (True, "featureGates: {FastImagePull: maybe}\n", True),
    ],
)
def test_the_gate_in_other_drop_ins(tmp_path, cached, text, gate) -> None:
    files = {NODECONFIG_CACHE: cache(featureGates={"FastImagePull": cached}), dropin("10-a.yaml"): text}
    assert seen(tmp_path, files).gate is gate


@pytest.mark.parametrize(
    ("text", "static"),
    [
        (json.dumps({"spec": {"containerd": {"config": STATIC_TOML}}}), NamedSoci(ADDRESS, ROOT)),
        (
            "spec:\n  containerd:\n    config: |\n" + STATIC_TOML.replace("[", "      ["),
            NamedSoci(ADDRESS, ROOT),
        ),
        (YAML.format("snapshotter='soci'"), NamedSoci("", "", annotated=False)),
        (
            YAML.format(
                "[proxy_plugins.other]\n      address = '/run/o.sock'\n      [proxy_plugins.soci]\n"
                "      address = 'unix:///run/s.sock'\n      [proxy_plugins.third.exports]\n"
                "      root = '/mnt/third'"
            ),
            NamedSoci("/run/s.sock", "", snapshotter=False, annotated=False),
        ),
        (YAML.format("[proxy_plugins.soci-next]\n      address = '/run/o.sock'"), None),
        (YAML.format("# snapshotter = 'soci'"), None),
        (YAML.format("snapshotter = 'overlayfs'"), None),
        (YAML.format("disable_snapshotter = 'soci'"), None),
    ],
)
def test_static_wiring_in_other_drop_ins(tmp_path, text, static) -> None:
    assert seen(tmp_path, {dropin("10-a.yaml"): text}).static == static


def test_soci_as_several_name_it(tmp_path) -> None:
    files = {
        NODECONFIG_CACHE: cache(STATIC_TOML),
        dropin("10-a.yaml"): YAML.format("[proxy_plugins.soci.exports]\n      root = '/mnt/soci'"),
    }
    assert seen(tmp_path, files).static == NamedSoci(ADDRESS, "/mnt/soci")


@pytest.mark.parametrize(
    ("name", "text", "later"),
    [
        ("60-a.yaml", YAML.format("snapshotter = 'overlayfs'"), True),
        ("50-soci-bootstrap.yaml", "imageServiceEndpoint: x", True),
        ("60-a.yaml", YAML.format("[proxy_plugins.soci.exports]"), True),
        ("60-a.yaml", YAML.format("[proxy_plugins.other]"), False),
        ("60-a.yaml", "featureGates: {FastImagePull: true}", True),
        ("60-a.yaml", "featureGates: {FastImagePull: false}", False),
        ("40-a.yaml", YAML.format("snapshotter = 'overlayfs'"), False),
        ("60-a.yaml", "spec: {}\n", False),
    ],
)
def test_what_sorts_after_ours(tmp_path, name, text, later) -> None:
    assert seen(tmp_path, {dropin(name): text}).later == ((dropin(name),) if later else ())


def test_ours_is_not_the_users(tmp_path) -> None:
    assert seen(tmp_path, {NODEADM_DROPIN: YAML.format("snapshotter = 'soci'")}) == NodeConfig()


OURS = {
    "containerd": {"config": STATIC_TOML},
    "kubelet": {"config": {"imageServiceEndpoint": f"unix://{ADDRESS}"}},
    "featureGates": {"FastImagePull": False},
}


@pytest.mark.parametrize(
    ("cached", "expected"),
    [
        # Once nodeadm-run has merged it, the cache says what we said; with nothing remembered, that shows.
        (OURS, NodeConfig(containerd=True, v3=True, gate=True, static=NamedSoci(ADDRESS, ROOT, False))),
        # Before that it is all the user's.
        ({"featureGates": {"FastImagePull": True}}, NodeConfig(gate=True)),
        ({}, NodeConfig()),
        (
            {
                "containerd": {"config": STATIC_TOML.replace(ROOT, "/mnt/soci")},
                "kubelet": {"config": {"imageServiceEndpoint": "unix:///run/other.sock"}},
            },
            NodeConfig(
                containerd=True,
                v3=True,
                static=NamedSoci(ADDRESS, "/mnt/soci"),
                image_endpoint="unix:///run/other.sock",
            ),
        ),
    ],
)
def test_the_cache_without_ours(tmp_path, cached, expected) -> None:
    files = {NODECONFIG_CACHE: json.dumps({"spec": cached}), NODEADM_DROPIN: json.dumps({"spec": OURS})}
    assert seen(tmp_path, files) == expected


@pytest.mark.parametrize("data", ["", "[]", "{", "[" * 100_000, '{"spec": 1}'])
def test_a_drop_in_of_our_name_that_is_none(tmp_path, data) -> None:
    assert seen(tmp_path, {NODECONFIG_CACHE: cache(STATIC_TOML), NODEADM_DROPIN: data}).static == NamedSoci(
        ADDRESS, ROOT
    )

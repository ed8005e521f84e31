from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soci_bootstrap.configfiles import containerd as containerd_
from soci_bootstrap.configfiles import containerd_text, toml
from soci_bootstrap.errors import CommandError, StateError, WiringError
from soci_bootstrap.facts import containerd
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.system import System
from tests.support.nodes import Node, captured, write

UNIT = "/usr/lib/systemd/system/containerd.service"
ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
V3 = ("plugins", "io.containerd.cri.v1.images")
V2 = ("plugins", "io.containerd.grpc.v1.cri", "containerd")


def seen(tmp_path, files) -> containerd.Containerd:
    system = System(str(write(tmp_path, files)))
    return containerd.observe(system, read_unit(system, "containerd.service"))


@pytest.mark.parametrize(
    ("output", "version"),
    [
        (
            b"containerd github.com/containerd/containerd/v2 2.2.6 1c4457e00facac03ce1d75f7b6777a7a851e5c41",
            (2, 2, 6),
        ),
        (b"containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", (1, 7, 27)),
        (b"containerd github.com/containerd/containerd v1.4.13", (1, 4, 13)),
        (b"containerd github.com/containerd/containerd 2.1.0-rc.1 x", (2, 1, 0)),
        (b"soci-snapshotter-grpc version v0.15.0 96e1a3e", (0, 15, 0)),
        (b"1.7.16", (1, 7, 16)),
        (b"", None),
        (b"containerd unknown", None),
        (b"1.7", None),
    ],
)
def test_version(output, version) -> None:
    assert containerd.parse_version(output) == version


@pytest.mark.parametrize(
    ("answer", "version"),
    [(b"containerd github.com 2.2.6 x", (2, 2, 6)), (CommandError("it hangs"), None), (b"?", None)],
)
def test_a_running_node_asks_the_program(tmp_path, answer, version) -> None:
    write(tmp_path, {"/etc/eks/containerd-version.txt": "containerd x 1.7.1 y"})
    node = Node(tmp_path, {"containerd --version": answer})
    found = containerd.observe(node, read_unit(node, "containerd.service"))
    assert (found.version, found.present) == (version, True)


@pytest.mark.parametrize(
    ("files", "present", "version"),
    [
        ({}, False, None),
        ({"/usr/bin/containerd": ""}, True, None),
        ({UNIT: "[Service]\n"}, True, None),
        ({"/etc/containerd/config.toml": "version = 2\n"}, True, None),
        ({"/etc/eks/containerd-version.txt": "containerd github.com/x 2.2.6 y\n"}, True, (2, 2, 6)),
    ],
)
def test_presence_below_a_root(tmp_path, files, present, version) -> None:
    found = seen(tmp_path, files)
    assert (found.present, found.version) == (present, version)


@pytest.mark.parametrize(
    ("start", "path"),
    [
        ("", "/etc/containerd/config.toml"),
        ("/usr/bin/containerd", "/etc/containerd/config.toml"),
        ("/usr/bin/containerd --config /etc/c.toml", "/etc/c.toml"),
        ("/usr/bin/containerd -c /etc/c.toml --log-level debug", "/etc/c.toml"),
        ("/usr/bin/containerd --config=/etc/c.toml", "/etc/c.toml"),
        ("/usr/bin/containerd '--config=/etc/c d.toml'", "/etc/c d.toml"),
        ("/usr/bin/containerd --config $CONFIG", "/etc/containerd/config.toml"),
        ("/usr/bin/containerd --config", "/etc/containerd/config.toml"),
        ("/usr/bin/containerd 'unclosed", "/etc/containerd/config.toml"),
        ("/usr/bin/containerd --config /etc/link.toml", "/etc/real.toml"),
    ],
)
def test_configuration_path(tmp_path, start, path) -> None:
    files = {
        UNIT: f"[Service]\nExecStart={start}\n",
        "/etc/link.toml": "-> real.toml",
        "/etc/real.toml": "version = 2\n",
    }
    assert seen(tmp_path, files).config_path == path


@pytest.mark.parametrize(
    ("config", "root"),
    [
        (b"", "/var/lib/containerd"),
        (captured("containerd-nodeadm-v3.toml"), "/var/lib/containerd"),
        (b'root = "/mnt/containerd"\n', "/mnt/containerd"),
        (b'root = "relative"\n', "/var/lib/containerd"),
        (b"root = 1\n", "/var/lib/containerd"),
        (b'[x]\nroot = "/mnt/x"\n', "/var/lib/containerd"),
    ],
)
def test_root(tmp_path, config, root) -> None:
    assert seen(tmp_path, {"/etc/containerd/config.toml": config}).root == root


PROXY = f"[proxy_plugins.soci]\naddress = '{ADDRESS}'\n[proxy_plugins.soci.exports]\nroot = '/mnt/soci'\n"


@pytest.mark.parametrize(
    ("config", "below", "root"),
    [
        (PROXY, "/mnt/soci/snapshotter/snapshots/1", "/mnt/soci"),
        (PROXY, "/mnt/soci/snapshots/1", "/mnt/soci"),
        (PROXY.replace("/mnt/soci", "/mnt/soci/"), "/mnt/soci/snapshots/1", "/mnt/soci"),
        (PROXY, "/mnt/soci/snapshotter/snapshots", None),
        (PROXY, "/mnt/other", None),
        (PROXY.replace("/mnt/soci", "/mnt/a b"), "/mnt/a b/snapshots/1", None),
        (PROXY.replace("/mnt/soci", ""), "/snapshots/1", None),
        ("version = 3\n", "/mnt/soci/snapshots/1", None),
    ],
)
def test_soci_in_use(tmp_path, config, below, root) -> None:
    found = seen(tmp_path, {"/etc/containerd/config.toml": config, below: None}).soci
    assert (found.root if found else None) == root


def test_a_configuration_that_is_not_toml(tmp_path) -> None:
    with pytest.raises(StateError, match=r"/etc/containerd/config\.toml is not TOML"):
        seen(tmp_path, {"/etc/containerd/config.toml": "root = [\n"})


@pytest.mark.parametrize("root", ["/a b", "/a/../b", "/", "/a%n"])
def test_a_root_that_systemd_would_not_take(tmp_path, root) -> None:
    with pytest.raises(WiringError, match="names a root"):
        seen(tmp_path, {"/etc/containerd/config.toml": f'root = "{root}"\n'})


def test_environment_lines_that_count(tmp_path) -> None:
    dropin = "/etc/systemd/system/containerd.service.d/environment.conf"
    files = {
        UNIT: "[Service]\nEnvironment=GONE=1\nEnvironmentFile=-/etc/c.env\n",
        dropin: '[Service]\nEnvironment=\nEnvironment="HTTPS_PROXY=http://u:p%%40@proxy:3128"\n',
        "/etc/c.env": "FROM_FILE=1\n",
    }
    found = seen(tmp_path, files)
    assert found.environment == (
        'Environment="HTTPS_PROXY=http://u:p%%40@proxy:3128"',
        "EnvironmentFile=-/etc/c.env",
    )
    assert found.variables == {"HTTPS_PROXY": "http://u:p%40@proxy:3128", "FROM_FILE": "1"}


def test_mode_is_kept(tmp_path) -> None:
    write(tmp_path, {"/etc/containerd/config.toml": "version = 2\n"})
    (tmp_path / "etc/containerd/config.toml").chmod(0o600)
    assert seen(tmp_path, {}).config_mode == 0o600


@pytest.mark.parametrize(
    ("config", "unpacks"),
    [
        (b"", 1),
        (captured("containerd-nodeadm-static-soci.toml"), 1),
        (b"[plugins.'io.containerd.transfer.v1.local']\nmax_concurrent_unpacks = 4\n", 4),
        (b"[plugins.'io.containerd.transfer.v1.local']\nmax_concurrent_unpacks = 'x'\n", 1),
        (b"[plugins.other]\nmax_concurrent_unpacks = 4\n", 1),
        (b"plugins = 1 # max_concurrent_unpacks\n", 1),
    ],
)
def test_concurrent_unpacks(config, unpacks) -> None:
    assert containerd_.concurrent_unpacks(config, "c") == unpacks


def test_concurrent_unpacks_of_no_toml() -> None:
    with pytest.raises(StateError):
        containerd_.concurrent_unpacks(b"max_concurrent_unpacks = [", "c")


def wire(config: bytes, dialect: str = "v3", root: str = ROOT) -> bytes:
    return containerd_.with_soci(config, dialect, ADDRESS, root, "/etc/containerd/config.toml")


def at(document, path):
    for name in path:
        document = document[name]
    return document


@pytest.mark.parametrize(
    ("config", "dialect", "path", "version"),
    [
        (b"", "v3", V3, 3),
        (b"", "v2", V2, 2),
        (b"version = 2\n", "v3", V2, 2),
        (b"version = 3\n", "v2", V3, 3),
        (captured("containerd-nodeadm-v3.toml"), "v2", V3, 3),
        (captured("containerd-nodeadm-user-v2-migrated.toml"), "v2", V3, 3),
    ],
)
def test_the_files_own_schema_decides(config, dialect, path, version) -> None:
    document = toml.loads(wire(config, dialect), "x")
    assert document["version"] == version
    assert at(document, path)["snapshotter"] == "soci"
    assert at(document, path)["disable_snapshot_annotations"] is False
    assert document["proxy_plugins"] == {
        "soci": {"type": "snapshot", "address": ADDRESS, "exports": {"root": ROOT}}
    }
    other = V2 if path is V3 else V3
    assert "snapshotter" not in document.get("plugins", {}).get(other[1], {}).get("containerd", {})


def test_the_users_runtimes_stay() -> None:
    before = toml.loads(captured("containerd-nodeadm-user-v2-migrated.toml"), "x")
    after = toml.loads(wire(captured("containerd-nodeadm-user-v2-migrated.toml")), "x")
    at(before, V3).update(snapshotter="soci", disable_snapshot_annotations=False)
    before["proxy_plugins"] = after["proxy_plugins"]
    assert after == before


@pytest.mark.parametrize(
    "table",
    [
        "[plugins]\n'io.containerd.cri.v1.images' = {{ snapshotter = 'soci', {} }}",
        "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = \"so\\u0063i\"\n{}",
    ],
)
def test_wired_in_a_way_that_hooks_can_not_take_back(table) -> None:
    proxy = f"type = 'snapshot'\naddress = '{ADDRESS}'\n[proxy_plugins.soci.exports]\nroot = '{ROOT}'\n"
    table = table.format("disable_snapshot_annotations = false")
    config = f"version = 3\n{table}\n[proxy_plugins.soci]\n{proxy}".encode()
    wired = containerd_.with_soci(config, "v3", ADDRESS, ROOT, "x")
    assert toml.loads(wired, "x") == toml.loads(config, "x")
    assert containerd_text.named([containerd_text.unwired(wired).decode()]) == "overlayfs"
    assert b"overlayfs" in containerd_text.unwired(wired)
    assert containerd_.with_soci(wired, "v3", ADDRESS, ROOT, "x") == wired


def test_wired_already_is_not_a_byte_different() -> None:
    config = captured("containerd-nodeadm-static-soci.toml")
    assert wire(config) is config
    once = wire(b"version = 2\n")
    assert wire(once) is once


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (b"[", StateError, "is not TOML"),
        (b"\xff = 1", StateError, "is not TOML"),
        (b"root = '/x'\n", WiringError, "found version 1"),
        (b"version = 1\n", WiringError, "found version 1"),
        (b"version = 4\n", WiringError, "found version 4"),
        (b"version = '2'\n", WiringError, "found version 2"),
        (b"version = 2\nplugins = 1\n", WiringError, "plugins = 1"),
        (b"version = 3\n[proxy_plugins]\nsoci = 'x'\n", WiringError, "soci = 'x'"),
    ],
)
def test_refused(config, error, words) -> None:
    with pytest.raises(error, match=words):
        wire(config)


NAMES = st.one_of(
    st.sampled_from(
        [
            "plugins",
            "proxy_plugins",
            "soci",
            "exports",
            "root",
            "snapshotter",
            "containerd",
            "io.containerd.grpc.v1.cri",
            "io.containerd.cri.v1.images",
        ]
    ),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.text(max_size=5),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
    st.lists(st.text(max_size=3), max_size=3),
)
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=3),
    lambda below: st.dictionaries(NAMES, st.one_of(SCALARS, below), max_size=4),
    max_leaves=10,
)


def leaves(document, path=()):
    for key, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


OURS = {dialect: dict(leaves(containerd_.keys(dialect, ADDRESS, ROOT))) for dialect in ("v2", "v3")}


@given(st.sampled_from([2, 3]), DOCUMENTS)
def test_no_value_of_the_users_is_lost(version, document) -> None:
    document = {**document, "version": version}
    config = toml.dumps(document)
    ours = OURS[f"v{version}"]
    try:
        result = wire(config)
    except WiringError:
        # Only where a value stands in the way of one of our tables.
        assert any(
            not isinstance(value, dict) and any(path == mine[: len(path)] for mine in ours)
            for path, value in leaves(document)
        )
        return
    after = dict(leaves(toml.loads(result, "x")))
    for path, value in leaves(document):
        assert after[path] == ours.get(path, value)
    assert {path: after[path] for path in ours} == ours
    assert wire(result) is result


@given(DOCUMENTS)
def test_merge_with_nothing_changes_nothing(document) -> None:
    before = copy.deepcopy(document)
    containerd_.merge(document, {}, "x")
    assert document == before

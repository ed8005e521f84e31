from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soci_bootstrap.configfiles import kubelet as kubelet_
from soci_bootstrap.errors import WiringError
from soci_bootstrap.facts import kubelet
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.system import System
from tests.support.nodes import captured, write

UNIT = "/etc/systemd/system/kubelet.service"
CONFIG = "/etc/kubernetes/kubelet/config.json"
ENDPOINT = "unix:///run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"


def seen(tmp_path, files) -> kubelet.Kubelet:
    system = System(str(write(tmp_path, files)))
    return kubelet.observe(system, read_unit(system, "kubelet.service"))


@pytest.mark.parametrize(
    ("files", "present", "path", "directory"),
    [
        ({}, False, CONFIG, ""),
        ({CONFIG: "{}"}, True, CONFIG, ""),
        ({UNIT: "[Service]\nExecStart=/usr/bin/kubelet\n"}, True, CONFIG, ""),
        # As nodeadm's unit has it: arguments in an environment file.
        (
            {
                UNIT: "[Service]\nEnvironmentFile=/etc/eks/kubelet/environment\nExecStart=kubelet $ARGS\n",
                "/etc/eks/kubelet/environment": f"ARGS='--config={CONFIG} --config-dir={CONFIG}.d --v=2'\n",
            },
            True,
            CONFIG,
            f"{CONFIG}.d",
        ),
        (
            {UNIT: "[Service]\nExecStart=/usr/bin/kubelet --config /etc/k.json --config-dir /etc/k.d\n"},
            True,
            "/etc/k.json",
            "/etc/k.d",
        ),
        ({UNIT: '[Service]\nEnvironment="ARGS=--config=/etc/k.json"\n'}, True, "/etc/k.json", ""),
        ({UNIT: "[Service]\nExecStart=k --config=$CONFIG --config-dir=../d\n"}, True, CONFIG, ""),
        ({UNIT: "[Service]\nEnvironmentFile=-/etc/none\n"}, True, CONFIG, ""),
        (
            {UNIT: "[Service]\nExecStart=k --config=/etc/l\n", "/etc/l": "-> /etc/r", "/etc/r": "{}"},
            True,
            "/etc/r",
            "",
        ),
    ],
)
def test_arguments(tmp_path, files, present, path, directory) -> None:
    found = seen(tmp_path, files)
    assert (found.present, found.config_path, found.config_dir) == (present, path, directory)
    assert path in found.sources


@pytest.mark.parametrize(
    ("arguments", "endpoint"),
    [
        ("--v=2", ""),
        (f"--image-service-endpoint={ENDPOINT}", ENDPOINT),
        ("--image-service-endpoint unix:///one --image-service-endpoint unix:///two", "unix:///two"),
    ],
)
def test_an_endpoint_among_the_arguments(tmp_path, arguments, endpoint) -> None:
    files = {
        UNIT: "[Service]\nEnvironmentFile=/etc/eks/kubelet/environment\nExecStart=kubelet $ARGS\n",
        "/etc/eks/kubelet/environment": f"ARGS='{arguments} --config={CONFIG}'\n",
        CONFIG: json.dumps({"imageServiceEndpoint": "unix:///in/the/file"}),
    }
    found = seen(tmp_path, files)
    assert (found.config_path, found.endpoint) == (CONFIG, endpoint)
    effective = kubelet.image_endpoint(System(str(tmp_path)), found)
    assert effective.address == (endpoint or "unix:///in/the/file")
    assert effective.source == (kubelet.ARGUMENTS if endpoint else CONFIG)


def test_bytes_and_mode(tmp_path) -> None:
    write(tmp_path, {CONFIG: '{"a": 1}'})
    (tmp_path / CONFIG.lstrip("/")).chmod(0o640)
    found = seen(tmp_path, {})
    assert (found.config, found.config_mode) == (b'{"a": 1}', 0o640)


def test_wired() -> None:
    before = {"kind": "KubeletConfiguration", "maxPods": 42, "imageServiceEndpoint": "unix:///run/x"}
    after = json.loads(kubelet_.with_endpoint(json.dumps(before).encode(), ENDPOINT, CONFIG))
    assert after == {**before, "imageServiceEndpoint": ENDPOINT}


def test_wired_already_is_not_a_byte_different() -> None:
    config = captured("kubelet-40-nodeadm.conf")
    assert kubelet_.with_endpoint(config, ENDPOINT, CONFIG) is config


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (b"", "Expecting value"),
        (b"kind: KubeletConfiguration\n", "Expecting value"),
        (b"[]", "found list"),
        (b"1", "found int"),
        (b"\xff", "codec can't decode"),
        (b"[" * 200_000, "recursion"),
    ],
)
def test_refused(config, found) -> None:
    with pytest.raises(WiringError, match=found) as caught:
        kubelet_.with_endpoint(config, ENDPOINT, CONFIG)
    assert CONFIG in str(caught.value)


def test_drop_in() -> None:
    assert json.loads(kubelet_.dropin(ENDPOINT)) == json.loads(captured("kubelet-40-nodeadm.conf"))


@pytest.mark.parametrize(
    ("config", "endpoint"),
    [
        (None, ""),
        (b"", ""),
        (b"{}", ""),
        (captured("kubelet-40-nodeadm.conf"), ENDPOINT),
        (b'{"imageServiceEndpoint": 1}', ""),
        (b"[]", ""),
        (b"{", ""),
    ],
)
def test_endpoint(config, endpoint) -> None:
    assert kubelet_.endpoint_in(config) == endpoint


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.text(), below, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.one_of(st.just("imageServiceEndpoint"), st.text()), VALUES))
def test_no_value_of_the_users_is_lost(document) -> None:
    once = kubelet_.with_endpoint(json.dumps(document).encode(), ENDPOINT, CONFIG)
    assert json.loads(once) == {**document, "imageServiceEndpoint": ENDPOINT}
    assert kubelet_.endpoint_in(once) == ENDPOINT
    assert kubelet_.with_endpoint(once, ENDPOINT, CONFIG) is once

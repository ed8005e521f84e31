"""kubelet's JSON and its arguments."""

from __future__ import annotations

import json

from soci_bootstrap import paths
from soci_bootstrap.configfiles import kubelet as kubelet_
from soci_bootstrap.facts import kubelet
from soci_bootstrap.facts.units import read_unit
from tests.fuzz.files import Files
from tests.support.corpus.inputs import CASES
from tests.support.corpus.node_files import KUBELET
from tests.support.nodes import captured

SEEDS = [
    captured("kubelet-40-nodeadm.conf"),
    *(
        found if isinstance(found, bytes) else str(found).encode()
        for case in CASES
        if (found := case.files.get(KUBELET)) and len(found) < 2000
    ),
    b'NODEADM_KUBELET_ARGS="--config=/etc/kubernetes/kubelet/config.json --config-dir /etc/kubelet.d"',
    b"--config --config=x --config-dir=$X --config /../x",
]
_UNIT = b"[Service]\nEnvironmentFile=-/etc/eks/kubelet/environment\nExecStart=/usr/bin/kubelet $ARGS\n"
_ENDPOINT = "unix:///run/soci.sock"


def one(data: bytes) -> None:
    """As arguments, then as configuration."""
    files = {
        "/usr/lib/systemd/system/kubelet.service": _UNIT,
        "/etc/eks/kubelet/environment": data,
        paths.KUBELET_CONFIG: data,
    }
    system = Files(files)
    found = kubelet.observe(system, read_unit(system, "kubelet.service"))
    assert found.config_path.startswith("/")
    assert not found.config_dir or found.config_dir.startswith("/")
    kubelet_.endpoint_in(data)
    made = kubelet_.with_endpoint(data, _ENDPOINT, "config.json")
    assert kubelet_.endpoint_in(made) == _ENDPOINT
    assert kubelet_.with_endpoint(made, _ENDPOINT, "config.json") == made
    before, after = json.loads(data), json.loads(made)
    assert {**before, kubelet_.ENDPOINT: 0}.keys() == after.keys()
    before.pop(kubelet_.ENDPOINT, None)
    after.pop(kubelet_.ENDPOINT)
    assert repr(before) == repr(after), "a value of the user's is another one now"

"""certs.d: the name of a directory up to the first line feed, then its hosts.toml."""

from __future__ import annotations

from soci_bootstrap.apply.preflight import refuse_unreachable
from soci_bootstrap.facts import registries
from tests.fuzz.files import Files
from tests.fuzz.targets import text

SEEDS = [
    b'docker.io\nserver = "https://docker.io"\n[host."https://mirror.test"]\ncapabilities = ["pull"]\n',
    b'registry.test_5000_\n[host."http://registry.test:5000"]\nskip_verify = true\nca = ["/a"]\n',
    b'_default\n[host."https://m".header]\nx = "y"\n',
    b'[::1]:5000\nserver = "http://[::1]:5000/v2/"\nclient = [["a", "b"]]\n',
    b"x:99999\nserver = 'https://x:y'\n",
]
_CONFIG = b"[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/c:/d'\n"


def one(data: bytes) -> None:
    """What is found says why, and can be told."""
    name, _, hosts = data.partition(b"\n")
    directory = text(name).replace("/", "").replace("\0", "") or "x"
    system = Files({f"/c/{directory}/hosts.toml": hosts, f"/d/{directory}/ca.crt": b""})
    found = registries.observe(system, _CONFIG, "config.toml", None)
    assert {one.why for one in found} <= {one.why for one in found if one.warning}
    refuse_unreachable(found, {one.name: "" for one in found}, wired=False)

"""What programs print, to every reader of it."""

from __future__ import annotations

from soci_bootstrap import facts, paths
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.facts import content_store
from soci_bootstrap.runtime import mounts, pods
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.state import health
from soci_bootstrap.system import systemd
from tests.fuzz.files import Files
from tests.support.corpus.outputs import OUTPUTS, READERS
from tests.support.nodes import captured

SEEDS = [
    *(output for output in OUTPUTS.values() if len(output) < 8000),
    captured("ctr-plugins-2.2.txt"),
    b"KEY PARENT KIND\na  Committed\nb a Active\n",
    b'{"Labels": {"io.kubernetes.pod.name": "x"}, "Spec": {"linux": {"namespaces": [{"type": "network"}]}}}',
]
_PROGRAMS = dict.fromkeys(
    ("/usr/bin/ctr", "/usr/bin/systemctl", "/usr/bin/containerd", paths.AMI_DAEMON), b"\x7fELF"
)


def one(data: bytes) -> None:
    """Each reader by itself: what one refuses another may take."""
    for name, read in READERS.items():
        if name.startswith(("doctor: ", "containerd --version")):
            _refused(lambda read=read: read(None, data))  # type: ignore[misc]
    system = Files({**_PROGRAMS, paths.HEALTH: data, "/proc/self/mountinfo": data}, data)
    for look in (
        lambda: facts.observe(system, None, arch="amd64", vcpus=2, memory_gib=4),
        lambda: pods.workloads(pods.running(system)),
        lambda: pods._container("k8s.io", "a", data).label,
        lambda: Ctr(system).unusable_images("soci"),
        lambda: Ctr(system).remove_snapshots("soci"),
        lambda: systemd.Systemd(system).nodeadm_is_due(),
        lambda: health.load(system),
        lambda: mounts.on_snapshotter(system, "/var/lib/soci"),
        lambda: mounts.mount_points(system),
        lambda: content_store.pause_members(Files({paths.PAUSE_IMAGE: data})),
    ):
        _refused(look)


def _refused(look: object) -> None:
    try:
        look()  # type: ignore[operator]
    except BootstrapError as error:
        assert str(error)

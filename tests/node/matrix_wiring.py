"""Rows: whose configuration is where: generations of AMIs, gates, users' keys, disks, registries, proxies."""

from __future__ import annotations

import json
import shutil

from tests.node.lab import recipe
from tests.node.lab.eks import NODECONFIG, Ami, with_containerd
from tests.node.matrix import (
    HEALTHY,
    HOOKS,
    OVERLAYFS,
    SOCI,
    Bench,
    Row,
    guarded,
    refused,
)
from tests.node.matrix_rows import daemon

GATE = NODECONFIG + "    FastImagePull: true\n"
RAID = f"{NODECONFIG}  instance:\n    localStorage: {{strategy: RAID0}}\n"
AMI_S_OWN = "--deadline 20"
"""No tarball, no mirror: what the AMI brings, since there is no network."""
DEAD = "does not run on this node|boot fetches nothing"
"""What install found; what a boot finds to which it left nothing."""

OVERRIDE = "apply.fail_open.starts_with_soci"

# --- the user's keys

_V3 = """\
[plugins.'io.containerd.cri.v1.runtime']
max_container_log_line_size = 99999
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.images'.registry.headers]
X-Lab = ['kept']
"""
_V2 = """\
[plugins."io.containerd.grpc.v1.cri"]
max_container_log_line_size = 99999
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".registry.headers]
X-Lab = ["kept"]
"""


def _keys_are_kept(bench: Bench) -> None:
    for _ in range(2):
        effective = bench.sh("containerd config dump").replace('"', "'")
        for key in ("max_container_log_line_size = 99999", "runtimes.nvidia]", "X-Lab = ['kept']"):
            assert key in effective, f"the user's {key} is lost"
        bench.reboot()


def dropin(name: str, config: str, kubelet: str = "") -> str:
    """A script that writes a drop-in of the user's."""
    spec: dict[str, object] = {"containerd": {"config": config}}
    if kubelet:
        spec["kubelet"] = {"config": {"imageServiceEndpoint": kubelet}}
    document = {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}
    return f"cat > /etc/eks/nodeadm.d/{name} <<'E'\n{json.dumps(document)}\nE"


KEYS = [
    Row("user's v2 keys in userData", nodeconfig=with_containerd(_V2), act=_keys_are_kept),
    Row("user's v3 keys in userData", nodeconfig=with_containerd(_V3), act=_keys_are_kept),
    Row("user's v2 keys in nodeadm.d", before=dropin("10-user.json", _V2), act=_keys_are_kept),
    Row("user's v3 keys in nodeadm.d", before=dropin("90-user.yaml", _V3), act=_keys_are_kept),
    Row(
        "user's v2 keys, containerd 1",
        ami=Ami("bookworm"),
        nodeconfig=with_containerd(_V2),
        act=_keys_are_kept,
    ),
    Row(
        "user's v3 keys, no nodeadm.d",
        ami=Ami(generation=20250812),
        nodeconfig=with_containerd(_V3),
        act=_keys_are_kept,
    ),
    Row(
        "user's v2 keys, no nodeadm.d",
        ami=Ami(generation=20250812),
        nodeconfig=with_containerd(_V2),
        act=_keys_are_kept,
    ),
    Row(
        "a later drop-in names overlayfs",
        OVERLAYFS,
        guarded("names overlayfs after our wiring"),
        before=dropin("90-user.json", "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n"),
        act=lambda bench: bench.reboot(),
    ),
    Row(
        "a GPU toolkit's conf.d shadows it",
        OVERLAYFS,
        guarded("names overlayfs after our wiring"),
        nodeconfig=with_containerd("imports = ['/etc/containerd/conf.d/*.toml']\n" + _V3),
        before="mkdir -p /etc/containerd/conf.d; "
        "printf \"version = 3\\n[plugins.'io.containerd.cri.v1.images']\\n"
        "snapshotter = 'overlayfs'\\n\" > /etc/containerd/conf.d/99-nvidia.toml",
    ),
]

# --- generations

_OLD = {generation: Ami(generation=generation) for generation in (20250812, 20251019, 20251208)}


def _twice(bench: Bench) -> None:
    assert bench.problems(bench.row.via) == []
    bench.reboot()


def _socket_was_active(bench: Bench) -> None:
    assert bench.node.read("/opt/socket") == "active\n"
    start = bench.node.show("soci-snapshotter.service", "ExecStart")["ExecStart"]
    assert start.startswith("{ path=/usr/local/bin/soci-snapshotter-grpc"), start


GENERATIONS = [
    Row("no nodeadm.d, no SOCI", ami=_OLD[20250812], act=_twice),
    Row("no nodeadm.d, the AMI's SOCI", ami=_OLD[20251019], options=AMI_S_OWN, act=_twice),
    Row(
        "no nodeadm.d, SOCI dead as a service",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        ami=_OLD[20251019],
        before=daemon("exit unit"),
        act=_twice,
        saved_by=HOOKS,
    ),
    Row(
        "AMI's socket already active",
        before="systemctl is-active soci-snapshotter.socket > /opt/socket",
        act=_socket_was_active,
    ),
    Row(
        "AMI's daemon already running",
        before="systemctl start soci-snapshotter.service soci-snapshotter.socket; "
        "systemctl is-active soci-snapshotter.socket > /opt/socket",
        act=_socket_was_active,
    ),
]

# --- the published recipe, and the gate


def _adopts(bench: Bench) -> None:
    assert recipe.ROOT in bench.node.show("soci-snapshotter.service", "ExecStart")["ExecStart"]
    _twice(bench)


def _recipe(name: str, ami: Ami, fault: str = "") -> Row:
    dead = refused(DEAD) if fault == "exit" else guarded("SOCI did not answer")
    return Row(
        f"static recipe{name}",
        OVERLAYFS if fault else SOCI,
        dead if fault else HEALTHY,
        ami=ami,
        nodeconfig=recipe.nodeconfig(),
        before=daemon(fault) if fault else "",
        act=_twice if fault else _adopts,
        saved_by={"": (), "exit": (OVERRIDE,), "exit unit": HOOKS}[fault],
    )


def _gate(name: str, ami: Ami, fault: str = "", saved_by: tuple[str, ...] = ()) -> Row:
    dead = refused(DEAD) if fault == "exit" else guarded("SOCI did not answer")
    return Row(
        f"gate on, {name}",
        OVERLAYFS if fault else SOCI,
        dead if fault else HEALTHY,
        ami=ami,
        nodeconfig=GATE,
        options=AMI_S_OWN,
        before=daemon(fault) if fault else "",
        act=_twice,
        saved_by=saved_by,
    )


_SMALL = Ami(vcpus=2)
OTHERS = [
    _recipe("", Ami()),
    _recipe(", SOCI dead", Ami(), "exit"),
    _recipe(", SOCI dead as a service", Ami(), "exit unit"),
    _recipe(", no nodeadm.d", _OLD[20250812]),
    _recipe(", no nodeadm.d, SOCI dead", _OLD[20250812], "exit"),
    _gate("newest", Ami()),
    _gate("newest, SOCI dead", Ami(), "exit", (OVERRIDE,)),
    _gate("newest, SOCI dead as a service", Ami(), "exit unit", HOOKS),
    _gate("below 4 vCPU", _SMALL),
    _gate("below 4 vCPU, SOCI dead", _SMALL, "exit"),
    _gate("before nodeadm's import", _OLD[20251208]),
    _gate("before nodeadm's import, SOCI dead", _OLD[20251208], "exit unit"),
    _gate("no nodeadm.d", _OLD[20251019]),
    _gate("no nodeadm.d, SOCI dead", _OLD[20251019], "exit", (OVERRIDE,)),
]

# --- disks


def _is_on_the_array(bench: Bench) -> None:
    assert any((bench.node.disk.array / "containerd/io.containerd.snapshotter.v1.soci").iterdir())
    where = bench.sh("findmnt -no TARGET -T /var/lib/containerd/io.containerd.snapshotter.v1.soci")
    assert where == "/var/lib/containerd\n"
    # The daemon's own view: a file that it holds open is the one that is on the array.
    pid = bench.node.show("soci-snapshotter.service", "MainPID")["MainPID"]
    assert bench.sh(f"ls -l /proc/{pid}/fd /proc/[0-9]*/fd 2>/dev/null | grep -c 'soci.*(deleted)'") == "0\n"


def _array(bench: Bench) -> None:
    _is_on_the_array(bench)
    container = bench.start()
    assert container[1] == SOCI
    bench.reboot()
    _is_on_the_array(bench)


def _empty_array(bench: Bench) -> None:
    assert bench.problems(SOCI) == []
    bench.node.kill()
    for place in bench.node.disk.array.iterdir():
        shutil.rmtree(place)
    bench.boot()
    _is_on_the_array(bench)


DISKS = [
    Row("RAID0, reboot", nodeconfig=RAID, act=_array),
    Row("RAID0 of an AMI that doesn't know SOCI", nodeconfig=RAID, ami=_OLD[20251019], act=_array),
    Row(
        "RAID0, AMI's daemon already running",
        nodeconfig=RAID,
        ami=_OLD[20251019],
        before="systemctl start soci-snapshotter.service",
        act=_array,
    ),
    Row("RAID0, stop and start with an empty array", nodeconfig=RAID, act=_empty_array),
    Row(
        "RAID0, SOCI dead",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        nodeconfig=RAID,
        before=daemon("exit unit"),
    ),
]

ROWS = [*KEYS, *GENERATIONS, *OTHERS, *DISKS]

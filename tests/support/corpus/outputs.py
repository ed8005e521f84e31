"""What programs and the kernel may print: every hostile output goes to every reader of outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from soci_bootstrap import facts, paths
from soci_bootstrap.configfiles import containerd
from soci_bootstrap.doctor.observe import outputs
from soci_bootstrap.facts.containerd import parse_version
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.runtime import mounts, pods
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.state import health
from soci_bootstrap.system import systemd
from tests.support.nodes import Node, captured, write

OUTPUTS: Mapping[str, bytes] = {
    "nothing": b"",
    "a line feed": b"\n",
    "blank lines": b"\n \n\t\n\n",
    "every byte": bytes(range(256)) * 3,
    "no UTF-8": b"REF TYPE\n\xff\xfe \x80 true\n\xc3",
    "NULs": b"\0" * 5000,
    "carriage returns": b"REF\r\na b true\r\nId=x.service\rActiveState=active\r\n",
    "a line of 1 MiB": b"x" * (1 << 20) + b"\n",
    "100,000 lines": b"x y\n" * 100_000,
    "equals signs": b"=\n==\nId\nId=\n=Id\n\n\nId=x=y\n",
    "a loop of parents": b"KEY PARENT KIND\na b Active\nb a Active\nc c Active\n",
    "5,000 digits": b"Id=x\nNRestarts=" + b"9" * 5000 + b"\nv" + b"9" * 5000 + b".1.1 " + b"9" * 5000,
    "digits of other scripts": "Id=x\nMainPID=٣\nNRestarts=²\nv٢.٣.٤\n".encode(),
    "a list": b"[]\n[1]\n",
    "a number": b"7\n",
    "null": b"null\n",
    "objects of the wrong things": b'{"Labels": [], "Spec": 7, "MESSAGE": {}, "PRIORITY": []}\n',
    "numbers for text": b'{"Labels": {"io.kubernetes.pod.name": 7}, "Snapshotter": [], "MESSAGE": 7}\n',
    "namespaces that are none": b'{"Spec": {"linux": {"namespaces": 5}}}\n{"MESSAGE": [999, -1]}\n',
    "a namespace that is none": b'{"Spec": {"linux": {"namespaces": [7]}}}\n{"MESSAGE": ["x"]}\n',
    "nested too deep": b"[" * 100_000 + b"\n",
    "nested in a message": b'{"MESSAGE": "' + b"[" * 100_000 + b'"}\n',
    "TOML of the wrong things": b'version = []\nplugins = 7\nproxy_plugins = "soci"\n',
    "TOML tables of the wrong things": b'[plugins]\n"io.containerd.cri.v1.images" = [1]\n'
    b"[proxy_plugins]\nsoci = 1\n",
    "TOML values of the wrong things": b"[plugins.'io.containerd.cri.v1.images']\n"
    b"snapshotter = []\nregistry = 7\n",
    "mounts cut short": b"1 2 3:4 / / rw - overlay\n1 2\n - \n1 2 3:4 / /x rw - \n",
    "escapes in mounts": b"1 2 3:4 / /\\040\\999\\ rw shared:1 - overlay overlay rw,upperdir=\\\n",
    "an ELF header cut short": b"\x7fELF\x02\x09",
    "real containers": captured("ctr-snapshots-soci-down.txt"),
    "a real config": captured("containerd-nodeadm-v3.toml"),
    "real units": captured("systemctl-show.txt"),
}


def _observe(root: Path, output: bytes) -> None:
    write(root, {"/usr/bin/containerd": "", "/usr/bin/soci-snapshotter-grpc": ""})
    node = Node(root, {"systemctl": output, "containerd": output, "soci-snapshotter-grpc": output})
    facts.observe(node, None, arch="amd64", vcpus=4, memory_gib=8)


def _running(root: Path, output: bytes) -> None:
    answers = {
        "ctr": output,
        "ctr -n k8s.io namespaces": b"k8s.io\n",
        "ctr -n k8s.io tasks": b"TASK PID STATUS\na 7 RUNNING\n",
    }
    pods.workloads(pods.running(Node(root, answers)))


def _unit(root: Path, output: bytes) -> None:
    read_unit(Node(write(root, {"/etc/systemd/system/x.service": output})), "x.service").values("ExecStart")


READERS: Mapping[str, Callable[[Path, bytes], object]] = {
    "systemctl and --version, of facts": _observe,
    "containerd --version": lambda _, output: parse_version(output),
    "a unit file": _unit,
    "state.json": lambda root, output: health.load(Node(write(root, {paths.HEALTH: output}))),
    "ctr namespaces, tasks and info": lambda root, output: pods.running(Node(root, {"ctr": output})),
    "ctr containers info": _running,
    "ctr images": lambda root, output: Ctr(Node(root, {"ctr": output})).unusable_images("soci"),
    "ctr snapshots": lambda root, output: Ctr(Node(root, {"ctr": output})).remove_snapshots("soci"),
    "ctr containers": lambda root, output: Ctr(Node(root, {"ctr": output})).containers(of_pods=True),
    "systemctl show of nodeadm-run": lambda root, output: systemd.Systemd(
        Node(root, {"systemctl": output})
    ).nodeadm_is_due(),
    "mountinfo": lambda root, output: mounts.on_snapshotter(
        Node(write(root, {"/proc/self/mountinfo": output})), "/var/lib/containerd/soci"
    ),
    "mountinfo, its points": lambda root, output: mounts.mount_points(
        Node(write(root, {"/proc/self/mountinfo": output}))
    ),
    "doctor: systemctl show": lambda _, output: outputs.units(
        systemd.blocks(output.decode("utf-8", "replace"))
    ),
    "doctor: containerd config dump": lambda _, output: containerd.effective(output),
    "doctor: ctr images check": lambda _, output: outputs.unpacked(output),
    "doctor: journalctl": lambda _, output: outputs.journal_errors(output),
    "doctor: mountinfo": lambda _, output: outputs.mount_of(output.decode("utf-8", "replace"), "/var/lib"),
    "doctor: /proc/PID/status": lambda _, output: outputs.resident(output.decode("utf-8", "replace")),
    "doctor: an ELF header": lambda _, output: outputs.elf_arch(output),
}

"""`scripts/try` on a node: a real boot, the rendered userData in a real cloud-init, and what became of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc

from tests.node.lab import ami, images, rootfs
from tests.node.lab.cri import SOCI, Container, Cri
from tests.node.lab.eks import NODECONFIG, Ami, eks_node
from tests.node.lab.mirror import HOST, Mirror, Registry
from tests.node.lab.node import Node
from tests.node.lab.report import Report, size
from tests.node.lab.soci import build
from tests.node.lab.soci.build import Release

SOCI_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
_AGENT = "/usr/local/sbin/soci-bootstrap"
_URL = f"https://{HOST}:8443"
_OUTPUT = "/var/log/cloud-init-output.log"
_RELEASE_BYTES, _IMAGE_BYTES = 60_000_000, 40_000_000
"""As large as the real daemon is, and an image worth waiting for."""
_UNITS = {
    "SOCI's socket": "soci-snapshotter.socket",
    "SOCI": "soci-snapshotter.service",
    "containerd": "containerd.service",
    "kubelet": "kubelet.service",
}
_STAGES = {
    "nodeadm-config": "containerd's and kubelet's configuration, from the NodeConfig",
    "cloud-final": "the real cloud-init runs userData: the stub, the zipapp, install",
    "nodeadm-run": "merges our drop-in, starts what follows",
    "soci-snapshotter": "started by containerd's start",
    "containerd": "with the guard before it, pause import and probe after it",
}
_SETTINGS = {
    "max_concurrent_downloads_per_image": "downloads",
    "concurrent_download_chunk_size": "chunks",
    "max_concurrent_unpacks_per_image": "unpacks",
    "path": "inflates them",
}
"""Of config.toml, and what to call them."""
_ONLY_OLD = ("containerd.version", "containerd.exports")
"""What doctor may warn of: containerd before 1.7.16 works, and does not count what lies in SOCI."""
T = TypeVar("T")


def boot(report: Report, zipapp: Path, root: str) -> None:
    """Build what is missing, boot a node of the named root, look at it; it is gone in the end."""
    wanted = [name for last in (root, "soci-daemon") for name in (rootfs.RECIPES[last].base, last) if name]
    for name in dict.fromkeys(wanted):
        with report.step("Debian root") as step:
            rootfs.get(name)
            step.found = name
    with report.step("AMI") as step:
        step.found = "stand-ins for nodeadm and kubelet, a pause image on overlayfs"
        ami.layer(root)
    with report.step("SOCI release") as step:
        release = build.release(size=_RELEASE_BYTES)
        step.found = f"{release.name}, {size(len(release.data))}"
    with report.step("userData") as step:
        userdata = render(zipapp, release)
        step.found = f"render userdata --zipapp-url {_URL}/… : {size(len(userdata))}"
    with eks_node(Ami(root), userdata=userdata, cloud_init=True) as node, Mirror(node) as mirror:
        mirror.release(release)
        mirror.put(zipapp.name, zipapp.read_bytes())
        report.section("Booting a node")
        with report.step("boot") as step:
            node.boot()
            step.found = f"{_versions(node)}, until every job has ended"
        show_boot(report, node)
        report.section("What became of it")
        look(report, node, mirror)
        if report.failures:
            report.section("Why")
            sys.stdout.write(node.run(f"{_AGENT} doctor; journalctl -b -p 5 --no-pager", check=False).stdout)


def render(zipapp: Path, release: Release) -> str:
    """The userData document for the mirror's zipapp and release, with the NodeConfig in it."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as document:
        document.write(NODECONFIG)
        document.flush()
        command = [sys.executable, "-I", zipapp, "render", "userdata", "--mirror", _URL]
        command += ["--zipapp-url", f"{_URL}/{zipapp.name}", "--sha256", release.sha256]
        command += ["--node-config", document.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def show_boot(report: Report, node: Node) -> None:
    """What each of the units of the boot did, and how long it took."""
    said = re.findall(r"^(?:soci-bootstrap|installed|degraded|failed): .*", node.read(_OUTPUT), re.MULTILINE)
    for unit, what in _STAGES.items():
        report.took(unit, what, _seconds(node, unit), said if unit == "cloud-final" else ())


def look(report: Report, node: Node, mirror: Mirror) -> None:
    """Ask the node itself: systemd, containerd, kubelet, a pull, and then the agent."""
    _look_at_outcome(report, node)
    _look_at_units(report, node)
    _look_at_configuration(report, node)
    with Registry(node) as registry:
        _pull_and_run(report, node, registry.push(images.app(_IMAGE_BYTES)))
    _ask_the_agent(report, node, mirror)


def _look_at_outcome(report: Report, node: Node) -> None:
    output = node.read(_OUTPUT)
    status = re.search(r"install ended with status (\d+)", output)
    outcome = re.search(r"^(\w+): (SOCI [^,]*, (?:wiring \w+|taken back))", output, re.MULTILINE)
    found = f"{outcome[1]}: {outcome[2]}" if outcome else "install did not end"
    ok = bool(outcome and status and (outcome[1], status[1]) == ("installed", "0"))
    report.check("outcome", found, ok=ok)


def _look_at_units(report: Report, node: Node) -> None:
    for name, unit in _UNITS.items():
        state = node.state(unit)
        report.check(name, state, ok=state == "active")
    failed = node.run("systemctl --failed --no-legend --plain | cut -d ' ' -f 1").stdout.split()
    report.check("failed units", ", ".join(failed) or "none", ok=not failed)


def _look_at_configuration(report: Report, node: Node) -> None:
    dump = node.run("containerd config dump", check=False).stdout
    snapshotter = next(iter(re.findall(r"^\s*snapshotter = [\"'](\w+)[\"']", dump, re.MULTILINE)), "none")
    report.check("snapshotter", f"{snapshotter}, by containerd config dump", ok=snapshotter == "soci")
    kubelet = json.loads(node.read("/run/lab/kubelet.json"))
    ready, ok = kubelet["ready"], kubelet["ready"] and kubelet["image"] == f"unix://{SOCI}"
    report.check("kubelet's pulls", f"{'' if ready else 'not '}ready, through {kubelet['image']}", ok=ok)
    config = node.run("cat /etc/soci-snapshotter-grpc/config.toml", check=False).stdout
    values = {key: re.search(rf'^{key} = "?([^"\n]+)', config, re.MULTILINE) for key in _SETTINGS}
    text = ", ".join(f"{found[1]} {_SETTINGS[key]}" for key, found in values.items() if found)
    report.check("parallel pull", text, ok=all(values.values()))


def _pull_and_run(report: Report, node: Node, reference: str) -> None:
    with Cri(node, SOCI) as cri:
        try:
            _, seconds = _timed(lambda: cri.pull(reference))
            report.check("pull", f"{reference}, {size(_IMAGE_BYTES)} in 3 layers", ok=True, seconds=seconds)
            container, seconds = _timed(lambda: cri.run(reference))
            report.check("run", f"container {container.id[:12]}", ok=cri.running(container), seconds=seconds)
        except grpc.RpcError as error:
            report.check("pull and run", str(error.details()), ok=False)
            return
        layers = _layers(node, container)
        ok = bool(layers) and all(
            place.startswith(f"{SOCI_ROOT}/") and node.exists(place) for place in layers
        )
        report.check("its snapshot", (layers or ["none"])[0], ok=ok)
        cri.stop(container)


def _ask_the_agent(report: Report, node: Node, mirror: Mirror) -> None:
    done, seconds = _timed(lambda: node.run(f"{_AGENT} doctor --json", check=False))
    document = json.loads(done.stdout)
    tally = [check["status"] for check in document["checks"]]
    text = ", ".join(f"{tally.count(status)} {status}" for status in ("ok", "warn", "fail", "skip"))
    noted = [check for check in document["checks"] if check["status"] in ("warn", "fail")]
    ok = all(check["status"] == "warn" and check["id"] in _ONLY_OLD for check in noted)
    report.check("doctor", f"{document['verdict']}: {text}", ok=ok, seconds=seconds)
    for check in noted:
        report.note(f"{check['status']}  {check['id']}: {check['found']}")
    before = len(mirror.log)
    options = re.search(r"^set -- (install .*)", node.read("/opt/lab/user-data"), re.MULTILINE)
    command = f"{_AGENT} {options[1] if options else 'install'} --json"
    done, seconds = _timed(lambda: node.run(command, check=False))
    found = json.loads(done.stdout)["outcome"], len(mirror.log) - before
    report.check(
        "install again", "{}, {} requests".format(*found), ok=found == ("unchanged", 0), seconds=seconds
    )


def _versions(node: Node) -> str:
    found = node.run("containerd --version; python3 --version").stdout
    numbers = re.findall(r"\d+\.\d+\.\d+", found)
    return f"containerd {numbers[0]}, Python {numbers[-1]}"


def _seconds(node: Node, unit: str) -> float:
    """From a unit's start job to where it was up, or had ended where it is one that ends."""
    names = [f"{state}TimestampMonotonic" for state in ("InactiveExit", "ActiveEnter", "InactiveEnter")]
    shown = node.show(f"{unit}.service", *names)
    begin, up, ended = (int(shown[name]) for name in names)
    return max((up or ended) - begin, 0) / 1e6


def _layers(node: Node, container: Container) -> list[str]:
    """The directories that a container's root file system is made of, as its snapshotter says."""
    info = json.loads(node.run(f"ctr -n k8s.io containers info {container.id}").stdout)
    by = f"--snapshotter {info['Snapshotter']}"
    mounts = node.run(f"ctr -n k8s.io snapshots {by} mounts /x {info['SnapshotKey']}").stdout
    found = re.search(r"lowerdir=([^,\s]*)", mounts)
    return found[1].split(":") if found else []


def _timed(what: Callable[[], T]) -> tuple[T, float]:
    started = time.monotonic()
    return what(), time.monotonic() - started

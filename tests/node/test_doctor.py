"""doctor on nodes broken on purpose: each time the fault itself is what it names first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from soci_bootstrap.doctor.finding import EXIT_STATUS
from tests.node.lab import tree
from tests.node.matrix import AGENT, Bench, Row
from tests.node.matrix_report import PROPERTY

BINARY, CONFIG = "/usr/local/bin/soci-snapshotter-grpc", "/etc/soci-snapshotter-grpc/config.toml"
ETC, NODEADM = "/etc/systemd/system", "/etc/eks/nodeadm.d"
CONTAINERD, KUBELET = "/etc/containerd/config.toml", "/etc/kubernetes/kubelet/config.json.d"
BLOBS = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
STATE = "/var/lib/soci-bootstrap"
SOCI_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.soci"
CERTS = "/etc/containerd/certs.d/nowhere.test"
_SHADOW = 'version = 3\\n[plugins."io.containerd.cri.v1.images"]\\nsnapshotter = "overlayfs"\\n'
_KEPT = f"/etc /usr/local {STATE} /usr/bin/unpigz"
_MEND = f"""
pkill -CONT -f '^{BINARY}'
rm -f /opt/lab/soci-fault {BLOBS}/feed* {NODEADM}/90-*
rm -rf /etc/containerd/conf.d {CERTS}
tar -C / -xpf /opt/well.tar
find {ETC} -type d -exec touch {{}} +  # systemd trusts its list of a directory whose time is the old one
systemctl daemon-reload
systemctl reset-failed
systemctl stop soci-snapshotter.service
systemctl restart soci-snapshotter.socket
systemctl restart soci-snapshotter.service containerd kubelet
"""
_LIVING = ("/var/log/*", "*/io.containerd.metadata.v1.bolt/*", f"{SOCI_ROOT}/*", "*.pyc", "*/__pycache__")
"""Databases and journals that live on without doctor, or take in its probe and forget it."""


@dataclass(frozen=True)
class Broken:
    """A fault, the check that has to name it first, and the verdict."""

    name: str
    script: str
    check: str
    verdict: str = "broken"


def edit(path: str, expression: str) -> str:
    """Change a file, and show that it did change."""
    return f"cp {path} /tmp/was; sed -i '{expression}' {path}; ! cmp -s /tmp/was {path}"


FAULTS = (
    Broken("record lost", f"rm {STATE}/record.json", "record", "degraded"),
    Broken("record cut short", f"truncate -s 100 {STATE}/record.json", "record", "degraded"),
    Broken("binary missing", f"rm {BINARY}", "binary.present"),
    Broken("binary not executable", f"chmod 644 {BINARY}", "binary.executable"),
    Broken(
        "binary of another architecture",
        f"cp {BINARY} /tmp/b; printf '\\267' | dd of=/tmp/b bs=1 seek=18 conv=notrunc; mv /tmp/b {BINARY}",
        "binary.architecture",
    ),
    Broken("binary changed", f"cp {BINARY} /tmp/b; echo >>/tmp/b; mv /tmp/b {BINARY}", "binary.digest"),
    Broken("config missing", f"rm {CONFIG}", "config.present"),
    Broken("config unparsable", f"echo '[[[' >>{CONFIG}", "config.parses"),
    Broken(
        "config key misspelt", edit(CONFIG, "s/_downloads_per_image/_download_per_image/"), "config.rules"
    ),
    Broken("chunk size that stops the daemon", edit(CONFIG, 's/"16mb"/"16MiB"/'), "config.rules"),
    Broken("config edited", edit(CONFIG, 's/"16mb"/"32mb"/'), "config.ours", "degraded"),
    Broken("decompressor uninstalled", "rm /usr/bin/unpigz", "decompressor.present"),
    Broken(
        "decompressor broken",
        "rm /usr/bin/unpigz; printf '#!/bin/sh\\nexec cat\\n' >/usr/bin/unpigz; chmod 755 /usr/bin/unpigz",
        "decompressor.works",
    ),
    Broken("agent missing", f"rm {AGENT}", "agent"),
    Broken("service unit missing", f"rm {ETC}/soci-snapshotter.service", "service.unit"),
    Broken("socket unit missing", f"rm {ETC}/soci-snapshotter.socket", "socket.unit"),
    Broken(
        "service drop-in missing",
        f"rm {ETC}/soci-snapshotter.service.d/50-soci-bootstrap.conf",
        "service.drop-in",
    ),
    Broken("hooks missing", f"rm {ETC}/containerd.service.d/50-soci-bootstrap.conf", "containerd.hooks"),
    Broken("boot-time unit missing", f"rm {ETC}/soci-bootstrap.service", "boot-unit", "degraded"),
    Broken(
        "service masked",
        f"ln -sf /dev/null {ETC}/soci-snapshotter.service; systemctl daemon-reload",
        "service.unit",
    ),
    Broken("socket disabled", "systemctl disable soci-snapshotter.socket", "units.enabled", "degraded"),
    Broken("drop-in missing", f"rm {NODEADM}/50-soci-bootstrap.json", "node-config.drop-in"),
    Broken(
        "drop-in after ours",
        f"printf 'spec: {{containerd: {{config: snapshotter = overlayfs}}}}\\n' >{NODEADM}/90-team.yaml",
        "node-config.later",
        "degraded",
    ),
    Broken(
        "failed open",
        f"""echo '{{"degraded": "the moon was full", "at": "2026-11-23T00:00:00Z"}}' >{STATE}/state.json""",
        "failed-open",
        "degraded",
    ),
    Broken("socket stopped", "systemctl stop soci-snapshotter.socket", "socket.active"),
    Broken(
        "SOCI dies again and again",
        "echo exit >/opt/lab/soci-fault; systemctl kill --signal=KILL soci-snapshotter.service; sleep 1",
        "service.active",
    ),
    Broken("SOCI hangs", "pkill -STOP -f '^/usr/local/bin/soci-snapshotter-grpc'", "soci.answers"),
    Broken(
        "containerd not wired",
        edit(CONTAINERD, 's/snapshotter = .soci.$/snapshotter = "overlayfs"/'),
        "containerd.snapshotter",
    ),
    Broken(
        "exports.root elsewhere",
        edit(CONTAINERD, 's|root = .*v1.soci.$|root = "/var/lib/other"|'),
        "containerd.exports",
    ),
    Broken(
        "GPU toolkit's file shadows the snapshotter",
        f"mkdir -p /etc/containerd/conf.d; printf '{_SHADOW}' >/etc/containerd/conf.d/99-nvidia.toml; "
        f"sed -i '1i imports = [\"/etc/containerd/conf.d/*.toml\"]' {CONTAINERD}",
        "containerd.imports",
    ),
    Broken(
        "mirror of a registry out of reach",
        f"mkdir -p {CERTS}; printf '[host.\"https://mirror.test:5001\"]\n' >{CERTS}/hosts.toml",
        "containerd.registries",
    ),
    Broken("kubelet stopped", "systemctl stop kubelet", "kubelet.active"),
    Broken("kubelet asks containerd", f"rm {KUBELET}/40-nodeadm.conf", "kubelet.endpoint"),
    Broken(
        "pause image missing in SOCI",
        "ctr -n k8s.io images rm localhost/kubernetes/pause:latest",
        "image.pause",
    ),
    Broken(
        "layer in the content store, discarding",
        f"grep -q 'discard_unpacked_layers = true' {CONFIG} && head -c 5000000 /dev/urandom >{BLOBS}/feed1",
        "content.layers",
    ),
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A node that is well, and a copy of what makes it so."""
    with Bench(Row("well"), ()) as bench:
        bench.boot()
        bench.sh(f"cd / && tar -cpf /opt/well.tar {_KEPT}")
        yield bench


def doctor(bench: Bench) -> dict[str, Any]:
    """Its document; run from the zipapp, since the agent may be what is broken."""
    done = bench.node.run("python3 /opt/soci-bootstrap.pyz doctor --json", check=False, timeout=60)
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == EXIT_STATUS[document["verdict"]]
    return document


def unwell(document: dict[str, Any]) -> list[dict[str, str]]:
    """The checks that are not well."""
    return [check for check in document["checks"] if check["status"] in {"fail", "warn"}]


def first(document: dict[str, Any]) -> dict[str, str]:
    """The one that comes first of them."""
    return next(iter(unwell(document)), {"id": "none", "found": "nothing"})


def test_a_node_that_is_well(bench: Bench) -> None:
    document = doctor(bench)
    assert (document["verdict"], first(document)["id"]) == ("healthy", "none"), first(document)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_names_the_fault_first(fault: Broken, bench: Bench, record_property: pytest.FixtureRequest) -> None:
    broken = bench.node.run(fault.script, check=False)
    assert broken.returncode == 0, broken.stderr
    document, report = doctor(bench), bench.report()
    bench.sh(_MEND)
    named = first(document)
    cells = (f"doctor: {fault.name}", document["verdict"], named["id"], named["found"][:70])
    record_property(PROPERTY, cells)  # type: ignore[operator]
    assert (named["id"], document["verdict"]) == (fault.check, fault.verdict), f"{unwell(document)}\n{report}"
    assert named["hint"]
    after = doctor(bench)
    assert after["verdict"] == "healthy", f"{unwell(after)}\n{bench.report()}"


def test_a_node_without_soci() -> None:
    with Bench(Row("none", options=""), ()) as bare:
        bare.boot()
        bare.sh("rm -f /etc/systemd/system/soci-snapshotter.*; systemctl daemon-reload")
        document = doctor(bare)
        assert (document["verdict"], first(document)["id"]) == ("absent", "installed")


def test_install_failed_open() -> None:
    with Bench(Row("exit"), ()) as unlucky:
        unlucky.node.write("/opt/lab/soci-fault", "exit")
        unlucky.boot()
        document = doctor(unlucky)
        assert document["verdict"] == "degraded", first(document)
        assert "does not run on this node" in first(document)["found"]


def test_soci_failed_open() -> None:
    with Bench(Row("exit unit"), ()) as unlucky:
        unlucky.node.write("/opt/lab/soci-fault", "exit unit")
        unlucky.boot()
        document = doctor(unlucky)
        assert (document["verdict"], first(document)["id"]) == ("degraded", "failed-open"), first(document)
        assert unlucky.node.state("soci-snapshotter.service") != "active"


def test_without_root_what_is_hidden_is_skipped(bench: Bench) -> None:
    script = (
        "setpriv --reuid=65534 --regid=65534 --clear-groups python3 /opt/soci-bootstrap.pyz doctor --json"
    )
    document = json.loads(bench.node.run(script, check=False).stdout)
    checks = {check["id"]: check for check in document["checks"]}
    assert (document["verdict"], first(document)["id"]) == ("unknown", "privileges")
    hidden = {name for name, check in checks.items() if check["found"] == "needs root"}
    assert {"record", "soci.answers", "snapshot.probe", "files", "failed-open"} <= hidden
    assert [name for name, check in checks.items() if check["status"] == "warn"] == ["privileges"]
    assert checks["binary.runs"]["status"] == checks["containerd.snapshotter"]["status"] == "ok"


def test_it_leaves_nothing_behind(bench: Bench) -> None:
    def snapshots() -> str:
        return bench.sh("for s in soci overlayfs; do ctr -n k8s.io snapshots --snapshotter $s ls; done")

    before = snapshots()
    standing = bench.node.snapshot_tree()
    doctor(bench)
    changed = tree.differences(standing, bench.node.snapshot_tree(), ignore=_LIVING)
    assert (snapshots(), changed) == (before, [])


def test_the_bundle_holds_no_secret(bench: Bench) -> None:
    secret = "pl4nt3d" + "S3cr3t"
    dropin = "/etc/systemd/system/containerd.service.d/90-proxy.conf"
    bench.node.write(dropin, f"[Service]\nEnvironment=HTTPS_PROXY=http://team:{secret}@proxy.test:3128\n")
    bench.sh(f"logger -t soci-bootstrap 'GET https://bucket.test/x?X-Amz-Signature={secret}'")
    done = bench.node.run(
        "umask 0; python3 /opt/soci-bootstrap.pyz doctor --bundle /opt/report.tgz", check=False
    )
    bench.sh(f"rm {dropin}; systemctl daemon-reload")
    assert "wrote /opt/report.tgz" in done.stderr
    assert bench.sh("stat -c %a /opt/report.tgz").strip() == "600"
    listing = bench.sh("cd /opt && tar xzf report.tgz && find soci-bootstrap-report -type f")
    for name in ("doctor.json", "journal/soci-bootstrap.txt", "commands/containerd-config-dump.toml"):
        assert name in listing
    assert bench.sh(f"grep -rl {secret} /opt/soci-bootstrap-report") == ""

"""An image baked here, booted there: tuned to each machine, wired at its first boot, no network used."""

from __future__ import annotations

import json

import pytest

from tests.node.lab.eks import NODECONFIG, Ami
from tests.node.matrix import AGENT, RECORD, SOCI, Bench, Row
from tests.node.test_live import agent


def test_a_baked_image_is_tuned_and_wired_by_each_boot() -> None:
    row = Row("bake", options="", ami=Ami("trixie-containerd2"), nodeconfig=NODECONFIG)
    with Bench(row, ()) as bench:
        bench.boot()
        before = {unit: bench.node.show(unit, "MainPID") for unit in ("containerd", "kubelet")}
        tarball = f"--tarball /opt/soci.tgz --sha256 {bench.release.sha256}"
        baked = agent(bench, "bake", tarball, "--set max_concurrent_downloads_per_image=33")
        assert (baked.status, baked.document["outcome"]) == (0, "installed"), baked
        assert before == {unit: bench.node.show(unit, "MainPID") for unit in before}
        assert bench.node.state("soci-snapshotter.service") == "inactive"
        assert not bench.node.exists("/etc/eks/nodeadm.d/50-soci-bootstrap.json")
        assert bench.json(RECORD)["outcome"] == "baked"

        bench.node.run("rm /opt/soci.tgz")
        bench.reboot()
        assert bench.problems(SOCI) == [], bench.report()
        assert bench.json(RECORD)["outcome"] == "installed"
        assert bench.config()["max_concurrent_downloads_per_image"] == 33

        # userData's later options override the image's.
        options = f"--set max_concurrent_downloads_per_image=44 --sha256 {bench.release.sha256}"
        changed = agent(bench, "install", options, program=AGENT).document
        assert changed["outcome"] == "changed"
        assert bench.config()["max_concurrent_downloads_per_image"] == 44
        bench.reboot()
        assert bench.problems(SOCI) == [], bench.report()
        assert bench.config()["max_concurrent_downloads_per_image"] == 44


_MACHINE = """\
[Unit]
Description=Another machine's processors and memory
After=local-fs.target
Before=nodeadm-config.service soci-bootstrap.service

[Service]
Type=oneshot
ExecStart=mount --bind /opt/lab/online /sys/devices/system/cpu/online
ExecStart=mount --bind /opt/lab/meminfo /proc/meminfo

[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize("root", ["bullseye", "trixie-containerd2"])
def test_one_image_boots_on_machines_of_different_sizes(root: str) -> None:
    row = Row("bake", options="", ami=Ami(root), nodeconfig=NODECONFIG)
    with Bench(row, ()) as bench:
        bench.boot()
        baked = agent(bench, "bake", f"--tarball /opt/soci.tgz --sha256 {bench.release.sha256}")
        assert (baked.status, baked.document["outcome"]) == (0, "installed"), baked
        assert not bench.node.exists(
            "/etc/soci-snapshotter-grpc/config.toml"
        )  # nothing of the builder's is frozen
        bench.node.write("/etc/systemd/system/lab-machine.service", _MACHINE)
        bench.node.run("systemctl enable lab-machine.service")

        tuned = []
        for vcpus, gib in ((2, 1), (64, 512)):
            bench.node.write("/opt/lab/online", f"0-{vcpus - 1}\n")
            bench.node.write("/opt/lab/meminfo", f"MemTotal: {gib << 20} kB\nMemAvailable: {gib << 20} kB\n")
            bench.reboot()
            assert bench.problems(SOCI) == [], bench.report()
            config = bench.config()
            tuned.append(
                (config["max_concurrent_downloads_per_image"], config["max_concurrent_unpacks_per_image"])
            )
            doctor = bench.node.run([AGENT, "doctor", "--json"], check=False, timeout=90)
            document = json.loads(doctor.stdout)
            unwell = [check for check in document["checks"] if check["status"] in ("warn", "fail")]
            assert (doctor.returncode, document["verdict"], unwell) == (0, "healthy", [])
        assert tuned == [(20, 4), (40, 12)]

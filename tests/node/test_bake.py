"""An image baked here, booted there: tuned to each machine, wired at its first boot, no network used."""

from __future__ import annotations

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

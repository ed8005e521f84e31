"""Nodes of the real programs that run already, and images that are baked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.node.lab import real
from tests.node.matrix import AGENT, OVERLAYFS, RECORD, SOCI
from tests.node.real_bench import NEEDS_PROGRAMS, RealBench, layered, row, serving

pytestmark = NEEDS_PROGRAMS
FETCHED = "/usr/bin/python3 /opt/soci-bootstrap.pyz"


def agent(bench: RealBench, command: str, *words: str, program: str = AGENT) -> tuple[int, dict[str, Any]]:
    """A command's status, and the object that it prints."""
    line = " ".join([program, command, "--json", *words])
    done = bench.node.run(line, check=False, timeout=120)
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(params=real.CONTAINERDS)
def bench(request: pytest.FixtureRequest) -> Iterator[RealBench]:
    """A node that booted without us."""
    with RealBench(row("live", request.param, options="")) as bench:
        serving(bench)
        bench.boot()
        yield bench


def test_beside_a_workload_it_waits_for_the_next_boot_which_rolls_back_once_drained(bench: RealBench) -> None:
    pod = bench.run_pod(bench.registry.push(layered(b"works"), "works"), name="works", policy="IfNotPresent")
    assert pod.snapshotter == OVERLAYFS
    status, staged = agent(bench, "install", bench.options(), program=FETCHED)
    assert (status, staged["outcome"]) == (0, "staged"), staged
    assert bench.runs(pod.container)
    assert bench.problems(OVERLAYFS) == [], bench.report()

    bench.reboot()
    assert bench.wait_pod("works").snapshotter == SOCI
    assert bench.problems(SOCI) == [], bench.report()
    assert (bench.json(RECORD)["outcome"], bench.unwell()) == ("installed", [])

    status, refused = agent(bench, "rollback")
    assert status == 1
    assert "default/works" in str(refused["reason"])
    bench.remove_pod("works")
    status, rolled = agent(bench, "rollback")
    assert (status, rolled["outcome"]) == (0, "rolled-back"), rolled
    assert bench.problems(OVERLAYFS) == [], bench.report()


def test_a_drained_node_is_switched_now_and_retuned_beside_its_pods(bench: RealBench) -> None:
    reference = bench.registry.push(layered(b"drained"), "drained")
    bench.run_pod(reference, name="before", policy="IfNotPresent")
    bench.remove_pod("before")
    status, switched = agent(bench, "install", bench.options(), program=FETCHED)
    assert (status, switched["outcome"]) == (0, "installed"), switched
    pod = bench.run_pod(reference, name="after", policy="IfNotPresent")
    assert pod.snapshotter == SOCI

    tuned = f"{bench.options()} --set max_concurrent_downloads_per_image=7"
    status, changed = agent(bench, "install", tuned, program=FETCHED)
    assert (status, changed["outcome"]) == (0, "changed"), changed
    assert bench.runs(pod.container)
    assert bench.config()["max_concurrent_downloads_per_image"] == 7
    assert bench.problems(SOCI) == [], bench.report()
    assert bench.unwell() == []


def test_soci_dies_under_running_pods_and_pulls_go_on(bench: RealBench) -> None:
    agent(bench, "install", bench.options(), program=FETCHED)
    pod = bench.run_pod(bench.registry.push(layered(b"under"), "under"))
    bench.node.run("systemctl kill --signal=KILL soci-snapshotter.service")
    bench.wait(lambda: bench.node.state("soci-snapshotter.service") == "active")
    assert bench.runs(pod.container)
    assert bench.problems(SOCI) == [], bench.report()


def test_a_baked_image_is_wired_by_its_first_boot() -> None:
    with RealBench(row("bake", real.CONTAINERDS[-1], options="")) as bench:
        serving(bench)
        bench.boot()
        status, baked = agent(bench, "bake", bench.options(), program=FETCHED)
        assert (status, baked["outcome"]) == (0, "installed"), baked
        # Nothing is pulled before it: an image that brings others on overlayfs is not switched.
        assert bench.snapshotter() == OVERLAYFS
        bench.mirror.close()
        bench.reboot()
        assert bench.problems(SOCI) == [], bench.report()
        assert (bench.json(RECORD)["outcome"], bench.unwell()) == ("installed", [])

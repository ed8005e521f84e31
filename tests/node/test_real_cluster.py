"""The node joins: what the API server of a cluster of one says of it, of its pods and of their images."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.node.lab import real
from tests.node.lab.mirror import Registry
from tests.node.lab.server import Request, Response
from tests.node.matrix import SOCI
from tests.node.real_bench import (
    NEEDS_CLUSTER,
    NEEDS_PROGRAMS,
    STRANDED,
    JoinedBench,
    layered,
    row,
)

pytestmark = [NEEDS_PROGRAMS, NEEDS_CLUSTER]
USER, PASSWORD = "puller", "open sesame"


class PrivateRegistry(Registry):
    """A registry that gives nothing to those who don't say who they are."""

    def _answer(self, request: Request) -> Response:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") == f"Basic {expected}":
            return super()._answer(request)
        return Response(b"{}", 401, {"WWW-Authenticate": 'Basic realm="lab"'})


@pytest.fixture(scope="module")
def joined() -> Iterator[JoinedBench]:
    with JoinedBench(row("cluster", real.CONTAINERDS[-1])) as bench:
        bench.boot()
        yield bench


def test_the_node_is_ready_with_the_programs_that_were_built(joined: JoinedBench) -> None:
    status = joined.cluster.wait_ready()["status"]
    assert status["nodeInfo"]["kubeletVersion"] == f"v{real.KUBERNETES}"
    assert status["nodeInfo"]["containerRuntimeVersion"] == f"containerd://{real.CONTAINERDS[-1]}"
    assert joined.snapshotter() == SOCI


def test_a_pod_bound_to_it_runs_on_socis_snapshots(joined: JoinedBench) -> None:
    reference = joined.registry.push(layered(b"bound"), "bound")
    joined.cluster.run_pod("bound", reference)
    assert joined.snapshotter_of(joined.cluster.wait_running("bound")) == SOCI


def test_two_pods_of_one_image_at_once(joined: JoinedBench) -> None:
    reference = joined.registry.push(layered(b"twice", 4, 30_000_000), "twice")
    for name in ("twice-a", "twice-b"):
        joined.cluster.run_pod(name, reference)
    for name in ("twice-a", "twice-b"):
        assert joined.snapshotter_of(joined.cluster.wait_running(name)) == SOCI


def test_a_private_image_is_pulled_with_the_pods_secret_alone(joined: JoinedBench) -> None:
    cluster = joined.cluster
    with PrivateRegistry(joined.node, port=5001) as registry:
        reference = registry.push(layered(b"private"), "private")
        cluster.add_pull_secret("registry", f"registry.test:{registry.port}", USER, PASSWORD)
        cluster.run_pod("without", reference)
        joined.wait(
            lambda: (
                "ErrImagePull" in str(cluster.container_status("without"))
                or "ImagePullBackOff" in str(cluster.container_status("without"))
            )
        )
        cluster.run_pod("with", reference, secret="registry")
        assert joined.snapshotter_of(cluster.wait_running("with")) == SOCI
        agents = {r.headers.get("User-Agent", "") for r in registry.log if "Authorization" in r.headers}
        assert any("soci" in agent.lower() for agent in agents), agents


def test_the_node_is_ready_again_after_a_reboot(joined: JoinedBench) -> None:
    joined.reboot()
    joined.cluster.wait_ready()
    assert joined.snapshotter_of(joined.cluster.wait_running("bound")) == SOCI


@pytest.mark.parametrize("rule", ["in force", "left out"])
def test_an_image_stranded_by_a_live_switch_is_pulled_again_with_its_secret(rule: str) -> None:
    patches = () if rule == "in force" else (STRANDED.patch,)
    with (
        JoinedBench(row("switch", real.CONTAINERDS[-1], options=""), patches) as bench,
        PrivateRegistry(bench.node, port=5001) as registry,
    ):
        cluster = bench.cluster
        bench.boot()
        cluster.wait_ready()
        reference = registry.push(layered(b"private"), "private")
        cluster.add_pull_secret("registry", f"registry.test:{registry.port}", USER, PASSWORD)
        cluster.run_pod("before", reference, secret="registry", policy="IfNotPresent")
        cluster.wait_running("before")
        cluster.kubectl("delete", "pod", "before", "--wait")
        bench.node.run(f"python3 /opt/soci-bootstrap.pyz install {bench.options()}", timeout=120)
        cluster.run_pod("after", reference, secret="registry", policy="IfNotPresent")
        if patches:
            # SOCI fetches layers for containerd by itself, and nobody has told it the secret.
            with pytest.raises(AssertionError, match="no basic auth credentials"):
                cluster.wait_running("after")
        else:
            assert bench.snapshotter_of(cluster.wait_running("after")) == SOCI

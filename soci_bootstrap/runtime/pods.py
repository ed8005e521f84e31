"""A node that is already running: what runs on it, and switching its snapshotter under it.

There is no asking the API server from here, so which pods belong to DaemonSets is told by name: a
DaemonSet's pod is called after it plus five characters. The list below is short on purpose. A pod
that is not on it counts as a workload, and the switch waits for the next boot.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from soci_bootstrap.errors import BootstrapError, CommandError
from soci_bootstrap.runtime import mounts as mounts_
from soci_bootstrap.runtime.ctr import NAMESPACE, Ctr
from soci_bootstrap.system import System

AGENTS = {
    "kube-system": (
        "aws-node",
        "aws-node-termination-handler",
        "ebs-csi-node",
        "efs-csi-node",
        "eks-node-monitoring-agent",
        "eks-pod-identity-agent",
        "fsx-csi-node",
        "kube-proxy",
        "node-local-dns",
        "nvidia-device-plugin-daemonset",
        "s3-csi-node",
    ),
    "amazon-cloudwatch": ("cloudwatch-agent", "fluent-bit"),
}
"""DaemonSets of EKS and its add-ons, by namespace: they come back by themselves."""
# The characters of Kubernetes' own generated names.
_SUFFIX = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}")
_TERM_SECONDS = 5.0


@dataclass(frozen=True)
class Running:
    """One running container.

    Attributes:
        space: containerd's namespace.
        id: containerd's own.
        pod_namespace: of its pod, empty where kubelet did not start it.
        pod: the pod's name.
        name: within the pod; empty for the sandbox itself.
        snapshotter: that its root file system comes from.
        network: the sandbox's network namespace, a path; empty for none of its own.
        kind: CRI's: ``sandbox`` or ``container``; empty for a container that is no part of a pod.
    """

    space: str
    id: str
    pod_namespace: str = ""
    pod: str = ""
    name: str = ""
    snapshotter: str = ""
    network: str = ""
    kind: str = ""

    @property
    def is_agent(self) -> bool:
        """Tell whether its pod is one of those in ``AGENTS``."""
        return any(
            self.pod.startswith(known) and _SUFFIX.fullmatch(self.pod[len(known) :])
            for known in AGENTS.get(self.pod_namespace, ())
        )

    @property
    def label(self) -> str:
        """Name of its pod, or its own, for telling someone what to drain."""
        return f"pod {self.pod_namespace}/{self.pod}" if self.pod else f"container {self.space}/{self.id}"


def running(system: System) -> tuple[Running, ...]:
    """Every running container, of all of containerd's namespaces.

    Raises:
        CommandError: containerd did not say.
    """
    found: list[Running] = []
    for space in Ctr(system).namespaces():
        ctr = Ctr(system, namespace=space)
        for container in ctr.tasks():
            try:
                found.append(_container(space, container, ctr.info(container)))
            except CommandError:
                # It ended since: jobs do.
                if container in ctr.tasks():
                    raise
    return tuple(found)


def labels(found: Iterable[Running]) -> tuple[str, ...]:
    """Name these, each pod once."""
    return tuple(dict.fromkeys(container.label for container in found))


def workloads(found: Sequence[Running]) -> tuple[Running, ...]:
    """Those that do not come back by themselves."""
    return tuple(container for container in found if not container.is_agent)


def remove_pods(system: System, found: Sequence[Running]) -> None:
    """Stop and remove containers and all of kubelet's that ended, kubelet being down.

    Sandboxes go last, with their network namespaces: the virtual interfaces vanish with these, by
    which the network plugin sees that their addresses are free again.

    Raises:
        CommandError: one would not go.
    """
    spaces = {one.space: Ctr(system, seconds=10.0, namespace=one.space) for one in found}
    for container in found:
        _quietly(spaces[container.space].kill, container.id, "SIGTERM")
    end = time.monotonic() + _TERM_SECONDS
    alive = {container.id for container in found}
    while alive and time.monotonic() < end:
        alive &= {task for ctr in spaces.values() for task in ctr.tasks()}
        time.sleep(0.1 if alive else 0)
    for container in sorted(found, key=_is_sandbox):
        ctr = spaces[container.space]
        # All of its processes, which takes a cgroup of its own; and in any case the first.
        _quietly(ctr.kill, container.id, "SIGKILL", everything=True)
        _quietly(ctr.kill, container.id, "SIGKILL")
        _quietly(ctr.remove_task, container.id)
        ctr.remove_container(container.id)
        _unmount(system, container)
    ctr = Ctr(system, seconds=10.0)
    # Pods that ended before: their containers would keep snapshots in use.
    for container_id in ctr.containers(of_pods=True):
        _quietly(ctr.remove_task, container_id)
        ctr.remove_container(container_id)


def pods(found: Sequence[Running]) -> tuple[Running, ...]:
    """Those that were started through CRI."""
    return tuple(container for container in found if container.space == NAMESPACE and container.kind)


def _is_sandbox(container: Running) -> bool:
    return container.kind == "sandbox"


def _unmount(system: System, container: Running) -> None:
    mounts = [path for path in mounts_.mount_points(system) if f"/sandboxes/{container.id}/" in path]
    if _is_sandbox(container) and container.network.startswith(("/run/netns/", "/var/run/netns/")):
        mounts.append(container.network)
    for path in mounts:
        system.run([system.which("umount") or "umount", "-l", path], timeout=5)
    if container.network in mounts:
        # Else it was the network plugin's to clean up, and is out of use.
        with suppress(BootstrapError):
            system.remove(container.network)


def _container(space: str, container_id: str, info: bytes) -> Running:
    try:
        document = json.loads(info)
        labels_ = document.get("Labels") or {}
        spaces = ((document.get("Spec") or {}).get("linux") or {}).get("namespaces") or []
        said = (
            labels_.get("io.kubernetes.pod.namespace", ""),
            labels_.get("io.kubernetes.pod.name", ""),
            labels_.get("io.kubernetes.container.name", ""),
            document.get("Snapshotter", ""),
            next((one.get("path", "") for one in spaces if one.get("type") == "network"), ""),
            labels_.get("io.cri-containerd.kind", ""),
        )
        if not all(isinstance(value, str) for value in said):
            raise TypeError(f"values that are no text: {said!r:.200}")
        return Running(space, container_id, *said)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(
            f"ctr does not describe the container {container_id}",
            found=str(error),
            expected="a JSON object",
            remedy="check that this ctr belongs to this containerd",
        ) from error


def _quietly(do: Callable[..., None], *words: str, **options: bool) -> None:
    """Do it and pass over its failure: what is left shows when it is removed."""
    with suppress(BootstrapError):
        do(*words, **options)

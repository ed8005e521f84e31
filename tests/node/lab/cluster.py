"""A cluster of one node: etcd and kube-apiserver, run on this machine in the node's network.

There is no scheduler and no controller: a pod names its node, and tokens stand for everyone's identity.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tests.node.lab import real
from tests.node.lab.node import Node
from tests.node.lab.rootfs import LabError
from tests.node.real.sets import SETS

if TYPE_CHECKING:
    from typing_extensions import Self

NODE_NAME = "i-1234567890abcdef0"
"""As EKS names nodes with the feature gate InstanceIdNodeName: after the instance."""
_ETCD = SETS["etcd-3.7.3"]
_KUBERNETES = SETS[f"kubernetes-{real.KUBERNETES}"]
_KUBECONFIG = "/var/lib/kubelet/kubeconfig"
_SERVER = "https://127.0.0.1:6443"
_TOKENS = f"admin,admin,1,system:masters\nnode,system:node:{NODE_NAME},2,system:nodes\n"
_CNI = {"cniVersion": "0.4.0", "name": "lo", "plugins": [{"type": "loopback"}]}
"""Enough for kubelet to call the node ready; pods are to use the node's own network."""
_UP_SECONDS = 60.0


def missing() -> str:
    """Say which programs of a cluster have not been built; empty where all are there."""
    wanted = {_KUBERNETES: ("kube-apiserver", "kubectl"), _ETCD: ("etcd",)}
    found = [name for each, names in wanted.items() for name in each.missing(names)]
    return f"not built: {', '.join(found)}; run scripts/setup real" if found else ""


class Cluster:
    """The servers, and kubectl. A context manager that ends them.

    Args:
        node: off, with a private network; it is given what its kubelet needs to join.
    """

    def __init__(self, node: Node) -> None:
        if node.net is None:
            raise LabError("a cluster needs a node with a private network")
        self.node = node
        self.directory = node.directory / "cluster"
        self.directory.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []
        node.write(_KUBECONFIG, json.dumps(_kubeconfig("node")), 0o600)
        node.write("/etc/cni/net.d/10-lo.conflist", json.dumps(_CNI))
        (self.directory / "kubeconfig").write_text(json.dumps(_kubeconfig("admin")))
        (self.directory / "tokens").write_text(_TOKENS)
        key = ["openssl", "genrsa", "-out", str(self.directory / "accounts.key"), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        try:
            self._start_servers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the servers."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._processes.clear()

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl as an administrator; its stdout.

        Raises:
            AssertionError: it failed and ``check`` is set.
        """
        program = _KUBERNETES.place / "kubectl"
        command = [str(program), f"--kubeconfig={self.directory}/kubeconfig", *words]
        done = subprocess.run(
            self._inside(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=self._descriptors(),
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *words: str) -> dict[str, Any]:
        """One object, or a list; empty where there is none."""
        text = self.kubectl("get", *words, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def apply(self, document: Mapping[str, object]) -> None:
        """Create an object or change it."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps(document))

    def wait_ready(self, seconds: float = _UP_SECONDS) -> dict[str, Any]:
        """Wait until the API server says that the node is Ready; the Node.

        Raises:
            AssertionError: it does not become Ready in time; holds the conditions.
        """
        end = time.monotonic() + seconds
        while True:
            found = self.get("node", NODE_NAME)
            conditions = {c["type"]: c for c in found.get("status", {}).get("conditions", [])}
            if conditions.get("Ready", {}).get("status") == "True":
                return found
            if time.monotonic() > end:
                raise AssertionError(f"the node is not Ready: {conditions or 'it has not registered'}")
            time.sleep(0.3)

    def run_pod(self, name: str, image: str, *, secret: str = "", policy: str = "Always") -> None:
        """Create a pod that is bound to the node."""
        spec: dict[str, object] = {
            "nodeName": NODE_NAME,
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": image, "imagePullPolicy": policy}],
        }
        if secret:
            spec["imagePullSecrets"] = [{"name": secret}]
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def wait_running(self, name: str, seconds: float = _UP_SECONDS) -> str:
        """Wait until a pod's container runs; its id.

        Raises:
            AssertionError: it does not in time; holds what the API server knows of it.
        """
        end = time.monotonic() + seconds
        while True:
            status = self.container_status(name)
            if "running" in status.get("state", {}):
                return str(status["containerID"]).rpartition("/")[2]
            if time.monotonic() > end:
                raise AssertionError(f"pod {name} does not run: {status}\n{self.kubectl('get', 'events')}")
            time.sleep(0.3)

    def container_status(self, name: str) -> dict[str, Any]:
        """What the API server knows of a pod's one container."""
        found: list[dict[str, Any]] = self.get("pod", name).get("status", {}).get("containerStatuses") or [{}]
        return found[0]

    def add_pull_secret(self, name: str, registry: str, user: str, password: str) -> None:
        """Create what a pod's imagePullSecrets name."""
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        config = json.dumps({"auths": {registry: {"username": user, "password": password, "auth": auth}}})
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": config},
            }
        )

    # --- inside

    def _start_servers(self) -> None:
        etcd = [str(_ETCD.place / "etcd"), f"--data-dir={self.directory}/etcd"]
        etcd += [
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
        ]
        self._start("etcd", [*etcd, "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"])
        accounts = f"{self.directory}/accounts.key"
        options = {
            "etcd-servers": "http://127.0.0.1:2379",
            "bind-address": "127.0.0.1",
            # Loopback is not taken for one, and nobody asks for it.
            "advertise-address": "10.0.0.1",
            "cert-dir": f"{self.directory}/certificates",
            "authorization-mode": "Node,RBAC",
            "token-auth-file": f"{self.directory}/tokens",
            "service-cluster-ip-range": "10.100.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": accounts,
            "service-account-signing-key-file": accounts,
            # Nobody is there who would make accounts, or who would look for the server elsewhere.
            "disable-admission-plugins": "ServiceAccount",
            "endpoint-reconciler-type": "none",
        }
        program = str(_KUBERNETES.place / "kube-apiserver")
        self._start("kube-apiserver", [program, *[f"--{name}={value}" for name, value in options.items()]])
        end = time.monotonic() + _UP_SECONDS
        while self.kubectl("get", "--raw", "/readyz", check=False) != "ok":
            ended = [process for process in self._processes if process.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "\n".join(self._log_end(name) for name in ("etcd", "kube-apiserver"))
                raise LabError(f"the API server does not come up:\n{logs}")
            time.sleep(0.3)

    def _start(self, name: str, command: Sequence[str]) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                self._inside(["setpriv", "--pdeathsig", "KILL", *command]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._descriptors(),
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            )
        self._processes.append(process)

    def _log_end(self, name: str) -> str:
        lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join([f"{name}:", *lines[-5:]])

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/self/fd/{self._descriptors()[0]}", *command]

    def _descriptors(self) -> list[int]:
        assert self.node.net is not None
        return [self.node.net.fd]


def _kubeconfig(token: str) -> dict[str, object]:
    cluster = {"server": _SERVER, "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }

#!/usr/bin/python3
"""Stands for the EKS AMI's nodeadm: `nodeadm init [--skip config|run] --config-source … --config-cache …`.

Runs on the node, on Python 3.9 and newer. What it does is the real one's behaviour as far as it
concerns containerd, kubelet and local disks; /opt/lab/ami.json says which AMI it is and what the
instance looks like, /opt/lab/user-data stands for the instance metadata service.
"""

from __future__ import annotations

import argparse
import email
import json
import os
import subprocess
import sys
import time
from typing import Any

sys.path.insert(0, "/opt/lab/python")

import nodeadm_disks
import nodeadm_templates as templates
import tomli
import tomli_w
import yaml

SOCI_SOCKET = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
GATE_SINCE, GATE_IMPORT_SINCE = 20250813, 20260512

with open("/opt/lab/ami.json") as _facts:
    AMI: dict[str, Any] = json.load(_facts)


class FatalError(Exception):
    """nodeadm ends with an error."""


# --- NodeConfig: sources and merging


def provide(sources: list[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for source in sources:
        scheme, _, rest = source.partition("://")
        documents = from_user_data() if scheme == "imds" else from_files(rest)
        if not documents:
            sys.stderr.write(f"warn: no config found in {source}\n")
        for document in documents:
            merge(merged, document)
    if not merged:
        raise FatalError("no config found")
    return merged


def from_user_data() -> list[dict[str, Any]]:
    text = read("/opt/lab/user-data")
    if not text.startswith(("MIME-Version", "Content-Type: multipart")):
        return [parse(text, "user data")] if "node.eks.aws" in text else []
    return [
        parse(part.get_payload(decode=True).decode(), "user data")  # type: ignore[union-attr]
        for part in email.message_from_string(text).walk()
        if part.get_content_type() == "application/node.eks.aws"
    ]


def from_files(path: str) -> list[dict[str, Any]]:
    if not os.path.isdir(path):
        return [parse(read(path), path)]
    names = sorted(name for name in os.listdir(path) if name.endswith((".json", ".yaml", ".yml")))
    return [parse(read(os.path.join(path, name)), name) for name in names]


def parse(text: str, where: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FatalError(f"{where} does not parse: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != "NodeConfig":
        raise FatalError(f"{where} is not a NodeConfig")
    if document.get("apiVersion") != "node.eks.aws/v1alpha1":
        raise FatalError(f"{where}: unknown apiVersion {document.get('apiVersion')}")
    return {"spec": document.get("spec") or {}}


def merge(into: dict[str, Any], other: dict[str, Any], path: str = "") -> None:
    for key, value in other.items():
        here = f"{path}.{key}"
        if here == ".spec.containerd.config" and into.get(key):
            into[key] = toml_merged(into[key], value)
        elif here == ".spec.kubelet.flags":
            into[key] = [*into.get(key, []), *value]
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value, here)
        elif value not in ("", None, []):  # an empty field says nothing
            into[key] = value


def toml_merged(below: str, above: str) -> str:
    document = load_toml(below)
    deep(document, load_toml(above))
    return tomli_w.dumps(document)


def load_toml(text: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise FatalError(f"containerd config does not parse: {error}") from error


def deep(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            deep(into[key], value)
        else:
            into[key] = value


def enrich(config: dict[str, Any]) -> dict[str, Any]:
    spec = config["spec"]
    cluster = spec.get("cluster") or {}
    missing = [
        name
        for name in ("name", "apiServerEndpoint", "certificateAuthority", "cidr")
        if not cluster.get(name)
    ]
    if missing:
        raise FatalError(f"cluster lacks {', '.join(missing)}")
    instance = spec.get("instance") or {}
    instance = {
        **instance,
        "localStorage": instance.get("localStorage") or {},
        "network": instance.get("network") or {},
    }
    full = {
        "cluster": cluster,
        "containerd": spec.get("containerd") or {},
        "instance": instance,
        "kubelet": spec.get("kubelet") or {},
    }
    if spec.get("featureGates"):
        full["featureGates"] = spec["featureGates"]
    status = {
        "instance": AMI["instance"],
        "default": {"sandboxImage": templates.PAUSE},
        "kubeletVersion": AMI["kubelet_version"],
    }
    return {"metadata": {}, "spec": full, "status": status}


# --- the config phase


def configure(config: dict[str, Any]) -> None:
    configure_environment(config)
    configure_containerd(config)
    configure_kubelet(config)


def gated(config: dict[str, Any]) -> bool:
    wanted = config["spec"].get("featureGates", {}).get("FastImagePull") is True
    # A node that is too small is told nothing.
    return wanted and AMI["generation"] >= GATE_SINCE and AMI["vcpus"] >= 4 and AMI["memory_gib"] >= 7


def configure_containerd(config: dict[str, Any]) -> None:
    write("/etc/containerd/base-runtime-spec.json", output("ctr", "oci", "spec"))
    user = config["spec"]["containerd"].get("config", "")
    major = int(output("containerd", "--version").split()[2].lstrip("v").split(".")[0])
    speaks_v3 = any(name in user for name in ("io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"))
    if major < 2 and speaks_v3:
        raise FatalError("containerd 1 does not know the plugins io.containerd.cri.v1.*")
    v3 = major >= 2 and (speaks_v3 or not user)
    document = load_toml(templates.V3 if v3 else templates.V2)
    if gated(config):
        deep(document, load_toml(templates.SOCI_V3 if v3 else templates.SOCI_V2))
        write("/etc/soci-snapshotter-grpc/config.toml", templates.SOCI_CONFIG)
        if AMI["generation"] >= GATE_IMPORT_SINCE:
            write(
                "/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf", templates.SOCI_DEPENDENCY
            )
            command("systemctl", "daemon-reload")
    deep(document, load_toml(user))
    path = "/etc/containerd/config.toml"
    write(path, tomli_w.dumps(document))
    if major >= 2 and not v3:
        write(path, output("containerd", "--config", path, "config", "migrate"))


def configure_kubelet(config: dict[str, Any]) -> None:
    own: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "systemd",
    }
    if gated(config):
        own["imageServiceEndpoint"] = f"unix://{SOCI_SOCKET}"
    place = "/etc/kubernetes/kubelet/config.json"
    write(place, json.dumps(own, indent=4))
    arguments = f"--config={place}"
    user = config["spec"]["kubelet"].get("config")
    if user:
        full = {**user, "apiVersion": own["apiVersion"], "kind": own["kind"]}
        write(f"{place}.d/40-nodeadm.conf", json.dumps(full, indent=4, sort_keys=True))
        arguments += f" --config-dir={place}.d"
    write("/etc/eks/kubelet/environment", f"NODEADM_KUBELET_ARGS='{arguments}'\n")


def configure_environment(config: dict[str, Any]) -> None:
    wanted = config["spec"]["instance"].get("environment") or {}
    for who, path, section, key in templates.ENVIRONMENT:
        if wanted.get(who):
            lines = [f'{key}="{name}={value}"'.replace("%", "%%") for name, value in wanted[who].items()]
            write(path, "\n".join([section, *lines, ""]))
    if wanted:
        command("systemctl", "daemon-reload")


# --- the run phase


def start_daemons(config: dict[str, Any]) -> None:
    nodeadm_disks.set_up(config["spec"]["instance"]["localStorage"], AMI["generation"])
    restart("containerd")
    if gated(config) and AMI["generation"] >= GATE_IMPORT_SINCE and os.path.exists("/etc/eks/pause.tar"):
        # FatalError where it fails: kubelet is then never started.
        arguments = [
            "--snapshotter",
            "soci",
            "--discard-unpacked-layers=false",
            "--local",
            "/etc/eks/pause.tar",
        ]
        command("ctr", "--namespace", "k8s.io", "images", "import", *arguments)
    restart("kubelet")


def restart(unit: str) -> None:
    subprocess.run(["systemctl", "restart", unit], check=False)
    while subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode:
        time.sleep(0.1)  # for ever, as the real one


# --- plumbing


def read(path: str) -> str:
    with open(path) as source:
        return source.read()


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as target:
        target.write(text)


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def command(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True)
    except subprocess.CalledProcessError as error:
        raise FatalError(str(error)) from error


def main() -> None:
    parser = argparse.ArgumentParser("nodeadm")
    parser.add_argument("command", choices=["init"])
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--config-source", action="append", default=[])
    parser.add_argument("--config-cache", default="")
    options = parser.parse_args()
    config = enrich(provide(options.config_source or ["imds://user-data"]))
    text = json.dumps(config, separators=(",", ":")) + "\n"
    cached = (
        read(options.config_cache) if options.config_cache and os.path.exists(options.config_cache) else ""
    )
    changed = bool(cached) and json.loads(cached) != config
    if "config" not in options.skip or changed:
        configure(config)
        if options.config_cache:
            write(options.config_cache, text)
    if "run" not in options.skip:
        start_daemons(config)


if __name__ == "__main__":
    try:
        main()
    except FatalError as failure:
        sys.exit(f"nodeadm: {failure}")

#!/usr/bin/python3
"""Stands for kubelet: reads its configuration likewise, dials both endpoints, says if the node is ready.

/run/lab/kubelet.json: {"ready": bool, "runtime": endpoint, "image": endpoint, "errors": [str]}, written
again each half second.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from typing import Any

STATE = "/run/lab/kubelet.json"
CALLS = {"image": "ImageService/ListImages", "runtime": "RuntimeService/Status"}


def effective(config: str, directory: str) -> dict[str, Any]:
    """The configuration file, then each *.conf in order, maps merged; one that doesn't parse is fatal."""
    with open(config) as source:
        merged: dict[str, Any] = json.load(source)
    names = sorted(os.listdir(directory)) if directory and os.path.isdir(directory) else []
    for name in names:
        if name.endswith(".conf"):
            with open(os.path.join(directory, name)) as source:
                deep(merged, json.load(source))
    return merged


def deep(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            deep(into[key], value)
        else:
            into[key] = value


def answers(endpoint: str, call: str) -> str:
    """Why a gRPC call without arguments brings no message; empty where it brings one."""
    path = endpoint[len("unix://") :] if endpoint.startswith("unix://") else endpoint
    for version in ("runtime.v1", "runtime.v1alpha2"):
        try:
            if unary(path, f"/{version}.{call}"):
                return ""
            problem = "it answered with an error"
        except OSError as error:
            problem = str(error) or type(error).__name__
    return f"{call} at {endpoint}: {problem}"


def unary(path: str, method: str) -> bool:
    """Whether the server sends a message back: a unary call that fails gets trailers only."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        headers = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost")]
        headers += [("content-type", "application/grpc"), ("te", "trailers")]
        block = b"".join(b"\0" + text(name) + text(value) for name, value in headers)
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
        connection.sendall(hello + frame(1, 4, 1, block) + frame(0, 1, 1, b"\0" * 5))
        stream = connection.makefile("rb")
        while True:
            head = stream.read(9)
            if len(head) < 9:
                raise OSError("the connection was closed")
            payload = stream.read(int.from_bytes(head[:3], "big"))
            kind, flags = head[3], head[4]
            if kind == 0 and len(payload) >= 5:
                return True
            if kind in (3, 7) or (kind == 1 and flags & 1):  # reset, goodbye, or trailers
                return False
            if kind == 4 and not flags & 1:
                connection.sendall(frame(4, 1, 0, b""))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(value: str) -> bytes:
    assert len(value) < 127, "longer ones need another length form"
    return bytes([len(value)]) + value.encode()


def main() -> None:
    parser = argparse.ArgumentParser("kubelet")
    parser.add_argument("--config", required=True)
    parser.add_argument("--config-dir", default="")
    options = parser.parse_args()
    config = effective(options.config, options.config_dir)
    runtime = config["containerRuntimeEndpoint"]
    endpoints = {"runtime": runtime, "image": config.get("imageServiceEndpoint") or runtime}
    os.makedirs(os.path.dirname(STATE), exist_ok=True)
    while True:
        errors = [problem for kind, call in CALLS.items() if (problem := answers(endpoints[kind], call))]
        with open(f"{STATE}.tmp", "w") as target:
            json.dump({"ready": not errors, **endpoints, "errors": errors}, target)
        os.rename(f"{STATE}.tmp", STATE)
        time.sleep(0.5)


if __name__ == "__main__":
    main()

"""A small client of the Container Runtime Interface, talking from this machine to a node's sockets.

Field numbers are those of the CRI's api.proto, which runtime.v1 and runtime.v1alpha2 share.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Union

import grpc  # type: ignore[import-untyped]

from tests.node.lab.node import Node

CONTAINERD = "/run/containerd/containerd.sock"
SOCI = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"

Value = Union[str, bytes, int, "Fields", Sequence["Value"]]
Fields = Mapping[int, "Value"]
Message = dict[int, list[Union[bytes, int]]]


@dataclasses.dataclass(frozen=True)
class Container:
    """A container that was started, and its sandbox."""

    sandbox: str
    id: str


class Cri:
    """CRI at two endpoints, as kubelet uses it.

    Args:
        node: a running node; make another client after a reboot.
        image_socket: where images are pulled: containerd's own socket, or SOCI's.
    """

    def __init__(self, node: Node, image_socket: str = CONTAINERD) -> None:
        root = f"unix:/proc/{node.pid}/root"
        self._runtime = grpc.insecure_channel(root + CONTAINERD)
        self._images = grpc.insecure_channel(root + image_socket)
        self._version = ""

    def __enter__(self) -> Cri:  # noqa: PYI034 - not subclassed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime.close()
        self._images.close()

    def pull(self, image: str, timeout: float = 60) -> str:
        """Pull; the image's id. Raises ``grpc.RpcError`` with the server's words."""
        return _text(self._call("ImageService/PullImage", {1: {1: image}}, timeout), 1)

    def images(self) -> dict[str, bool]:
        """Every tag, and whether it is pinned."""
        found = {}
        for raw in self._call("ImageService/ListImages", {})[1]:
            image = decode(raw)
            for tag in image.get(2, []):
                found[_bytes(tag).decode()] = bool(image.get(8, [0])[0])
        return found

    def remove(self, image: str) -> None:
        """Remove an image's record."""
        self._call("ImageService/RemoveImage", {1: {1: image}})

    def image_filesystem(self) -> str:
        """Where ImageFsInfo says that images lie."""
        usage = decode(self._call("ImageService/ImageFsInfo", {})[1][0])
        return _text(decode(usage[2][0]), 1)

    def run(
        self,
        image: str,
        command: Sequence[str] = (),
        timeout: float = 30,
        *,
        name: str = "",
        namespace: str = "default",
    ) -> Container:
        """A pod of one container in the node's own network, started. Raises ``grpc.RpcError``."""
        name = name or uuid.uuid4().hex[:8]
        # kubelet labels what it starts so.
        pod_labels = {"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace}
        pod: Fields = {
            1: {1: name, 2: name, 3: namespace},
            6: _labels(pod_labels),
            8: {2: {1: {1: 2}}},  # linux.security_context.namespace_options.network = NODE: no CNI here
        }
        sandbox = _text(self._call("RuntimeService/RunPodSandbox", {1: pod}, timeout), 1)
        labels = _labels({**pod_labels, "io.kubernetes.container.name": "main"})
        config: Fields = {1: {1: "main"}, 2: {1: image}, 3: list(command), 9: labels, 15: {2: {3: {1: 2}}}}
        created = self._call("RuntimeService/CreateContainer", {1: sandbox, 2: config, 3: pod}, timeout)
        container = Container(sandbox, _text(created, 1))
        self._call("RuntimeService/StartContainer", {1: container.id}, timeout)
        return container

    def running(self, container: Container) -> bool:
        """Whether its process lives."""
        status = decode(self._call("RuntimeService/ContainerStatus", {1: container.id})[1][0])
        return status.get(3, [0])[0] == 1

    def stop(self, container: Container) -> None:
        """Stop and remove the whole pod."""
        self._call("RuntimeService/StopPodSandbox", {1: container.sandbox})
        self._call("RuntimeService/RemovePodSandbox", {1: container.sandbox})

    def _call(self, method: str, request: Fields, timeout: float = 20) -> Message:
        channel = self._images if method.startswith("ImageService") else self._runtime
        for version in [self._version] if self._version else ["v1", "v1alpha2"]:
            invoke = channel.unary_unary(f"/runtime.{version}.{method}")
            try:
                answer = invoke(encode(request), timeout=timeout, wait_for_ready=False)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED and version == "v1" and not self._version:
                    continue  # containerd 1.4
                raise
            self._version = version
            found = decode(answer)
            return found if found else {1: []}
        raise AssertionError("unreachable: v1alpha2 raises")


def _labels(labels: Mapping[str, str]) -> list[Fields]:
    """A map of the wire's: a list of its entries."""
    return [{1: key, 2: value} for key, value in labels.items()]


def encode(fields: Fields) -> bytes:
    """A protobuf message: field number → text, bytes, integer, message, or a list of these."""
    wire = b""
    for number, value in fields.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, int):
                wire += _varint(number << 3) + _varint(item)
                continue
            data = (
                item.encode()
                if isinstance(item, str)
                else encode(item)
                if isinstance(item, Mapping)
                else item
            )
            wire += _varint(number << 3 | 2) + _varint(len(data)) + data
    return wire


def decode(data: bytes | int) -> Message:
    """Field number → every value, raw; messages of varints and length-delimited fields only."""
    data = _bytes(data)
    message: Message = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == 2:
            message.setdefault(key >> 3, []).append(data[at : at + value])
            at += value
        else:
            message.setdefault(key >> 3, []).append(value)
    return message


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def _bytes(value: bytes | int) -> bytes:
    assert isinstance(value, bytes)
    return value


def _text(message: Message, number: int) -> str:
    return _bytes(message[number][0]).decode()

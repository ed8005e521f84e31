"""The machine's architecture, cores and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.errors import UnsupportedArchitectureError

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Machine:
    """The machine, as far as tuning depends on it.

    Attributes:
        vcpus: logical processors this node may use.
        memory_bytes: what the kernel counts as the node's memory (MemTotal), in bytes.
    """

    vcpus: int
    memory_bytes: int


def architecture(asked: str | None, machine: str = "") -> str:
    """SOCI's name for an architecture.

    Args:
        asked: ``--arch``, which wins.
        machine: the kernel's name; this machine's by default.

    Raises:
        UnsupportedArchitectureError: SOCI publishes nothing for it.
    """
    if asked:
        return asked
    machine = machine or os.uname().machine
    if machine not in ARCHITECTURES:
        raise UnsupportedArchitectureError(
            "the SOCI snapshotter is not published for this architecture",
            found=machine,
            expected=" or ".join(ARCHITECTURES),
            remedy="leave soci-bootstrap out of this node group's userData",
        )
    return ARCHITECTURES[machine]


def this_machine(vcpus: int | None = None, memory_gib: float | None = None) -> Machine:
    """The running machine's cores and memory, or those asked for instead."""
    if memory_gib is None:
        with open(paths.MEMINFO, encoding="ascii") as file:
            memory = next(int(line.split()[1]) for line in file if line.startswith("MemTotal:")) * 1024
    else:
        memory = int(memory_gib * (1 << 30))
    return Machine(vcpus or os.cpu_count() or 1, memory)

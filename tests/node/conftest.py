"""Node tests need root, cgroup2 and Debian roots; elsewhere they are skipped, or fail if required."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.lab import cgroup, rootfs
from tests.node.lab.eks import eks_node
from tests.node.lab.node import Node
from tests.node.matrix_report import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]

for module in ("matrix", "matrix_rows", "matrix_running", "matrix_wiring", "matrix_images"):
    pytest.register_assert_rewrite(f"tests.node.{module}")

REQUIRED = os.environ.get("SOCI_LAB_TESTS") == "required"
_PROGRAMS = ("debootstrap", "unshare", "nsenter", "setpriv", "openssl", "cc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here boots nodes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.node)


@functools.cache
def _obstacle() -> str:
    """Why no node can boot on this machine; empty if one can."""
    if os.geteuid() != 0:
        return "booting nodes needs root"
    missing = [program for program in _PROGRAMS if not shutil.which(program)]
    if missing:
        return f"booting nodes needs {', '.join(missing)}"
    try:
        cgroup.path("")
        rootfs.get("soci-daemon")
    except rootfs.LabError as error:
        return f"no Debian root can be built: {error}"
    return ""


@pytest.fixture(autouse=True)
def _nodes_can_boot() -> None:
    """Skip, or fail where ``SOCI_LAB_TESTS=required`` says that node tests must run."""
    if obstacle := _obstacle():
        if REQUIRED:
            pytest.fail(obstacle)
        pytest.skip(obstacle)


@pytest.fixture
def boot() -> Iterator[Callable[..., Node]]:
    """``eks_node(...)``, booted, and gone at the end of the test.

    The function's ``prepare`` is called with the node before it boots.
    """
    nodes = []

    def make(*arguments: object, prepare: Callable[[Node], object] = lambda _: None, **named: object) -> Node:
        node = eks_node(*arguments, **named)  # type: ignore[arg-type]
        nodes.append(node)
        prepare(node)
        return node.boot()

    yield make
    for node in nodes:
        node.close()

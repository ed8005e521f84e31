from __future__ import annotations

import json

import pytest

from soci_bootstrap.errors import StateError
from soci_bootstrap.paths import HEALTH
from soci_bootstrap.state import health
from soci_bootstrap.state.health import State, Unwired
from soci_bootstrap.system import System
from tests.support.nodes import Node, write


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, State()),
        (b"", State()),
        (b"{}", State()),
        (b'{"snapshotter": "soci", "degraded": "why"}', State("soci", "why")),
        (b'{"of a newer version": 1}', State()),
        (
            b'{"unwired": [{"path": "/a", "original": "b", "sha256": "c"}]}',
            State(unwired=(Unwired("/a", "b", "c"),)),
        ),
        (b'{"unwired": [{"path": "/a", "original": 3, "sha256": "c"}]}', State()),
        (b'{"unwired": [3], "degraded": "why"}', State()),
        (b'{"unwired": 3}', State()),
        (b"[]", State()),
        (b"[1]", State()),
        (b"{", State()),
        (b"\xff", State()),
    ],
)
def test_load(tmp_path, data, expected) -> None:
    assert health.load(System(str(write(tmp_path, {HEALTH: data} if data is not None else {})))) == expected


def test_what_can_not_be_read_is_a_fresh_one(tmp_path) -> None:
    assert health.load(System(str(write(tmp_path, {HEALTH: None})))) == State()


def test_saved_once(tmp_path) -> None:
    node = Node(tmp_path)
    health.save(node, State("soci"))
    first = node.entry(HEALTH)
    assert (first.mode, health.load(node)) == (0o600, State("soci"))
    health.save(node, State("soci"))
    assert node.entry(HEALTH).inode == first.inode


def test_the_default_is_saved_too(tmp_path) -> None:
    health.save(Node(tmp_path), State())
    assert (tmp_path / HEALTH.lstrip("/")).exists()


def test_degraded_and_recovered(tmp_path) -> None:
    node = Node(write(tmp_path, {"/proc/sys/kernel/random/boot_id": "abc\n"}))
    health.save(node, State("soci"))
    health.degraded(node, "why")
    found = health.load(node)
    assert (found.snapshotter, found.degraded, found.boot_id) == ("soci", "why", "abc")
    assert found.at.endswith("Z")
    health.recovered(node)
    assert health.load(node) == State("soci")
    before = node.entry(HEALTH)
    health.recovered(node)
    assert node.entry(HEALTH) == before


def test_an_image_has_no_boot(tmp_path) -> None:
    system = System(str(write(tmp_path, {"/proc/sys/kernel/random/boot_id": "abc\n"})))
    health.degraded(system, "why")
    assert json.loads((tmp_path / HEALTH.lstrip("/")).read_bytes())["boot_id"] == ""


def test_a_disk_that_can_not_be_written_to(tmp_path) -> None:
    write(tmp_path, {"/var/lib/soci-bootstrap": "a file is in the way"})
    with pytest.raises(StateError, match="can't be written"):
        health.save(Node(tmp_path), State("soci"))

"""systemctl's calls: bounded, and read back."""

from __future__ import annotations

import pytest

from soci_bootstrap.errors import CommandError, DeadlineError, StateError
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import Systemd, UnitState, has_systemd
from tests.support.nodes import Node, write


class Timed(Node):
    """A node that notes how long each program may take."""

    def run(self, argv, *, timeout, input=b"", env=None):  # noqa: A002
        self.seconds = timeout
        return super().run(argv, timeout=timeout, input=input, env=env)


def test_a_command_is_bounded_by_the_deadline(tmp_path) -> None:
    node = Timed(tmp_path, {"systemctl": b""})
    Systemd(node, Deadline(5)).run("start", "x.service")
    assert node.calls == ["systemctl start x.service"]
    assert node.seconds <= 5
    with pytest.raises(DeadlineError):
        Systemd(node, Deadline(0)).run("stop", "x.service")
    assert len(node.calls) == 1


def test_the_way_back_heeds_no_deadline(tmp_path) -> None:
    node = Node(tmp_path, {"systemctl": b"", "systemctl start": 1})
    assert Systemd(node, Deadline(0)).try_run("stop", "x.service") == []
    (failure,) = Systemd(node, Deadline(0)).try_run("start", "x.service")
    assert "start x.service failed with status 1" in failure


def test_a_job_is_queued_without_waiting(tmp_path) -> None:
    node = Node(tmp_path, {"systemctl --no-block": b""})
    Systemd(node).queue("restart", "x.service")
    assert node.calls == ["systemctl --no-block restart x.service"]
    with pytest.raises(CommandError):
        Systemd(Node(tmp_path, {"systemctl": 1})).queue("restart", "x.service")


def test_without_systemctl(tmp_path) -> None:
    node = Node(tmp_path)
    Systemd(node).queue("restart", "x.service")
    with pytest.raises(CommandError, match="systemctl is not on this node"):
        Systemd(node).run("restart", "x.service")
    with pytest.raises(StateError, match="systemd is not on this node"):
        Systemd(node).unit_states()
    assert node.calls == []


@pytest.mark.parametrize(
    ("said", "active"), [(b"ActiveState=active\n", True), (b"ActiveState=activating\n", False), (b"", False)]
)
def test_is_active(tmp_path, said, active) -> None:
    assert Systemd(Node(tmp_path, {"systemctl show": said})).is_active("x.service") is active


def test_units_in_the_order_asked_for(tmp_path) -> None:
    node = Node(tmp_path, {"systemctl show": b"Id=a\nX=1=2\n\nId=b\nX=\n"})
    assert Systemd(node).show(["Id", "X"], "a", "b") == ({"Id": "a", "X": "1=2"}, {"Id": "b", "X": ""})
    assert node.calls == ["systemctl show -p Id,X a b"]


def test_unit_states(tmp_path) -> None:
    said = b"Id=a\nActiveState=active\nLoadState=loaded\nNeedDaemonReload=yes\n\nId=b\n"
    states = Systemd(Node(tmp_path, {"systemctl show": said})).unit_states()
    assert states == {"a": UnitState("active", needs_reload=True), "b": UnitState("")}
    assert Systemd(System(str(tmp_path))).unit_states() == {}


@pytest.mark.parametrize(
    ("said", "due"),
    [
        (b"LoadState=loaded\nExecMainStartTimestampMonotonic=0\n", True),
        (b"LoadState=loaded\nExecMainStartTimestampMonotonic=7\n", False),
        (b"LoadState=not-found\nExecMainStartTimestampMonotonic=0\n", False),
        (b"", False),
    ],
)
def test_nodeadm_is_due(tmp_path, said, due) -> None:
    assert Systemd(Node(tmp_path, {"systemctl show": said})).nodeadm_is_due() is due


def test_has_systemd(tmp_path) -> None:
    assert not has_systemd(Node(tmp_path))
    node = Node(write(tmp_path, {"/run/systemd/system": None}))
    assert has_systemd(node)
    assert not has_systemd(System(str(tmp_path)))

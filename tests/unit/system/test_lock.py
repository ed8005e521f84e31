"""One run at a time, whatever became of the last one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from soci_bootstrap import paths
from soci_bootstrap.errors import LockHeldError, StateError
from soci_bootstrap.system import System, lock
from soci_bootstrap.system.deadline import Deadline
from tests.support import trees


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr(paths, "LOCK", str(tmp_path / "run/lock/soci-bootstrap.lock"))
    system = System(str(tmp_path))
    system.live = True
    return system


def test_a_second_run_says_who_holds_it(node: System) -> None:
    with lock.held(node, Deadline(5)):
        with pytest.raises(LockHeldError) as caught, lock.held(node, Deadline(0.05)):
            raise AssertionError("both ran")
        assert f"process {os.getpid()}" in str(caught.value)
    with lock.held(node, Deadline(0)):
        pass


@pytest.mark.subprocess
@pytest.mark.parametrize("live", [True, False])
def test_it_names_another_process_except_in_an_image(node: System, live: bool) -> None:
    node.live = live
    ready, holding = os.pipe(), os.pipe()

    def hold() -> None:
        with lock.held(node, Deadline(5)):
            os.write(ready[1], b".")
            os.read(holding[0], 1)

    child = os.fork()
    if child == 0:
        try:
            hold()
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    with pytest.raises(LockHeldError) as caught, lock.held(node, Deadline(0.05)):
        raise AssertionError("both ran")
    os.write(holding[1], b".")
    os.waitpid(child, 0)
    assert (f"held by process {child} (" if live else "held by another process for") in str(caught.value)


def test_what_it_was_called_with_is_told_without_secrets(
    node: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://me:word@m.example/x?X-Amz-Signature=f00"
    monkeypatch.setattr(sys, "argv", ["soci-bootstrap", "install", "--mirror", url])
    with (
        lock.held(node, Deadline(5)),
        pytest.raises(LockHeldError) as caught,
        lock.held(node, Deadline(0.05)),
    ):
        raise AssertionError("both ran")
    told = f"process {os.getpid()} (soci-bootstrap install --mirror https://m.example/x)"
    assert told in str(caught.value)
    assert Path(paths.LOCK).read_text() == f"{told}\n"


def test_a_second_run_waits_its_turn(node: System) -> None:
    order: list[str] = []
    waiting = Event()

    def second() -> None:
        waiting.set()
        with lock.held(node, Deadline(30)):
            order.append("second")

    thread = Thread(target=second)
    with lock.held(node, Deadline(5)):
        thread.start()
        waiting.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_that_its_holder_has_not_signed_yet(node: System) -> None:
    with lock.held(node, Deadline(5)):
        os.truncate(paths.LOCK, 0)
        with pytest.raises(LockHeldError, match="held by another process"), lock.held(node, Deadline(0.05)):
            raise AssertionError("both ran")


def test_what_another_user_wrote_there_does_nothing_to_a_terminal(node: System) -> None:
    with lock.held(node, Deadline(5)):
        Path(paths.LOCK).write_bytes(b"\x1b[2Jnobody\xff\n" * 100)
        with pytest.raises(LockHeldError, match="nobody") as caught, lock.held(node, Deadline(0.05)):
            raise AssertionError("both ran")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.subprocess
def test_a_holder_that_was_killed_holds_it_no_longer(node: System) -> None:
    def hold() -> None:
        with lock.held(node, Deadline(5)):
            os._exit(trees.KILLED)

    assert trees.in_child(hold) == trees.KILLED
    with lock.held(node, Deadline(0)):
        pass


def test_who_waited_for_a_lock_that_rollback_removed_takes_the_next_one(node: System) -> None:
    taken, done = Event(), Event()

    def waiter() -> None:
        with lock.held(node, Deadline(30)):
            taken.set()
            done.wait()

    thread = Thread(target=waiter)
    with lock.held(node, Deadline(5)):
        thread.start()
        lock.discard()
    taken.wait()
    with pytest.raises(LockHeldError), lock.held(node, Deadline(0.05)):
        raise AssertionError("both ran")
    done.set()
    thread.join()


def test_an_image_is_locked_without_a_file_in_it(tmp_path: Path) -> None:
    system = System(str(tmp_path))
    with lock.held(system, Deadline(1)):
        with pytest.raises(LockHeldError), lock.held(system, Deadline(0.05)):
            raise AssertionError("both ran")
        assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_locks_place_is_not_followed(node: System, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    Path(paths.LOCK).parent.mkdir(parents=True)
    Path(paths.LOCK).symlink_to(victim)
    with pytest.raises(StateError), lock.held(node, Deadline(1)):
        raise AssertionError("it ran")
    assert victim.read_text() == "untouched"

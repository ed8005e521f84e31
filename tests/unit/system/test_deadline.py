from __future__ import annotations

import pytest

from soci_bootstrap.errors import DeadlineError
from soci_bootstrap.system.deadline import Deadline


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("passed", "remaining", "limited"), [(0, 10, 3), (8, 2, 2), (9.5, 0.5, 0.5), (10, 0, 0), (99, 0, 0)]
)
def test_what_is_left(passed, remaining, limited) -> None:
    clock = Clock()
    deadline = Deadline(10, clock=clock)
    clock.now += passed
    assert (deadline.remaining(), deadline.limit(3)) == (remaining, limited)


def test_check_names_what_is_waited_for() -> None:
    clock = Clock()
    deadline = Deadline(2.5, clock=clock)
    deadline.check("the lock")
    clock.now += 2.5
    with pytest.raises(DeadlineError, match=r"while waiting for the lock: found more than 2\.5 s") as caught:
        deadline.check("the lock")
    assert "--deadline" in caught.value.remedy


def test_the_real_clock() -> None:
    assert 0 < Deadline(60).remaining() <= 60

"""The fuzz targets on their seeds, what fuzzing once found, and some of both torn apart; without atheris."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from soci_bootstrap.errors import BootstrapError
from tests.fuzz import targets
from tests.support.hostile import no_hang

FOUND = Path(targets.__file__).parents[1] / "found"
TORN = 40


def inputs(name: str) -> list[bytes]:
    seeds = [*targets.target(name).SEEDS, *(path.read_bytes() for path in sorted(FOUND.glob(f"{name}/*")))]
    chance = random.Random(name)
    return seeds + [torn(chance, chance.choice(seeds), chance.choice(seeds)) for _ in range(TORN)]


def torn(chance: random.Random, one: bytes, other: bytes) -> bytes:
    """The head of one, the tail of another, a few bytes changed."""
    data = bytearray(one[: chance.randrange(len(one) + 1)] + other[chance.randrange(len(other) + 1) :])
    for _ in range(min(len(data), chance.randrange(4))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("name", targets.NAMES)
def test_target(name: str) -> None:
    one, refused = targets.target(name).one, 0
    tried = inputs(name)
    with no_hang():
        for data in tried:
            try:
                one(data)
            except BootstrapError:
                refused += 1
    # A target that refuses everything tests nothing but refusals.
    assert refused < len(tried)


def test_what_was_found_belongs_to_a_target() -> None:
    assert {path.name for path in FOUND.glob("*")} <= set(targets.NAMES)

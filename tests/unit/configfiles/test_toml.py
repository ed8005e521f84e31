from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soci_bootstrap.configfiles import toml
from soci_bootstrap.errors import StateError
from tests.support.nodes import CAPTURED


@pytest.mark.parametrize("name", sorted(path.name for path in CAPTURED.glob("*.toml")))
def test_what_programs_wrote_survives(name) -> None:
    document = toml.loads((CAPTURED / name).read_bytes(), name)
    assert toml.loads(toml.dumps(document), name) == document
    assert document["version"] == 3


@pytest.mark.parametrize("data", ['a = "é"', 'a = "é"'.encode()])
def test_text_and_bytes(data) -> None:
    assert toml.loads(data, "x") == {"a": "é"}


@pytest.mark.parametrize("data", [b"\xff", "a = ", "a = 1\na = 2", "a = [", "[" * 100_000])
def test_what_is_not_toml(data) -> None:
    with pytest.raises(StateError, match=r"^/etc/x is not TOML") as caught:
        toml.loads(data, "/etc/x")
    assert "nothing was changed" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["a = 9223372036854775808", "a = [{b = -9223372036854775809}]", "[a.b]\nc = 99999999999999999999"]
)
def test_numbers_that_no_other_reader_takes(text) -> None:
    with pytest.raises(StateError, match="more than 64 bits"):
        toml.loads(text, "x")


def _deep() -> dict[str, object]:
    document: dict[str, object] = {}
    for _ in range(100_000):
        document = {"a": document}
    return document


@pytest.mark.parametrize("document", [_deep(), {"a": "\udc80"}])
def test_what_can_not_be_written(document) -> None:
    with pytest.raises(StateError, match="can't be written"):
        toml.dumps(document)


VALUES = st.recursive(
    st.one_of(
        st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False), st.datetimes()
    ),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.text(), below, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES))
def test_round_trip(document) -> None:
    assert toml.loads(toml.dumps(document), "x") == document

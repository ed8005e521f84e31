"""Records that are not what we wrote, read by themselves: believed whole, or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from soci_bootstrap.errors import StateError
from soci_bootstrap.state.record import Before, Binary, Managed, Outcome, Record, backup_name, load
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import Entry
from tests.support.corpus.inputs import CASES
from tests.support.corpus.node_files import RECORD
from tests.support.nodes import write

GOOD = Record(
    outcome=Outcome.INSTALLED,
    binary=Binary("/b", "0.15.0", "amd64", "a", "b", 1, 2, 3),
    managed={"/a": Managed("file", 0o644, "c", earlier=("d",))},
    before={"/a": Before(Entry("file", 0o644), backup_name("/a")), "/c": Before(Entry("absent"))},
    directories=("/x", "/x/y"),
    units_active={"containerd.service": True},
    settings={"force": True, "parallel_pull": {"enable": True}},
    registries={"docker.io": ""},
    excluded=("isal",),
)


def read(tmp_path, document: object) -> Record | None:
    return load(System(str(write(tmp_path, {RECORD: json.dumps(document)}))))


def edited(changes) -> dict[str, object]:
    document = json.loads(json.dumps({"schema": 1, **asdict(GOOD)}))
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        table = document
        for key in parents:
            table = table[key]
        table[last] = value
    return document


def test_what_was_written_is_read(tmp_path) -> None:
    assert read(tmp_path, edited({})) == GOOD
    # As a version without the fields of this one left it, and one with more.
    older = edited({})
    for field in ("excluded", "registries", "node_config", "units_active"):
        del older[field]
    del older["managed"]["/a"]["earlier"]  # type: ignore[index]
    assert read(tmp_path, older) == replace(
        GOOD, excluded=(), registries={}, units_active={}, managed={"/a": Managed("file", 0o644, "c")}
    )
    assert read(tmp_path, edited({"later": 1})) == GOOD


@pytest.mark.parametrize(
    "changes",
    [
        *(case.edits[RECORD] for case in CASES if case.problem and RECORD in case.edits),
        {"managed": {"/": {"kind": "file"}}},
        {"managed": {"/a\0": {"kind": "file"}}},
        {"managed": {"/a": {"kind": "file", "earlier": "text"}}},
        {"managed": {"/a": {"kind": "file", "earlier": [1]}}},
        {"managed": {"/a": {"kind": "file", "merged": 1}}},
        {"before": {"/a": {"entry": {"kind": "file", "mode": "0644"}, "backup": ""}}},
        {"before": {"/a": {"entry": {"kind": "file"}, "backup": backup_name("/other")}}},
        {"before": {"a": {"entry": {"kind": "absent"}, "backup": ""}}},
        {"binary.path": None},
        {"binary.inode": 1.5},
        {"directories": ["x"]},
        {"directories": {"/x": 1}},
        {"excluded": "isal"},
        {"units_active": {"a": "yes"}},
        {"registries": {"a": None}},
        {"prepulled": "many"},
        {"outcome": None},
        {"outcome": "unheard of"},
    ],
    ids=lambda changes: str(changes).replace("\\", ""),
)
def test_what_was_not_is_not(tmp_path, changes) -> None:
    with pytest.raises(StateError, match=r"record\.json can't be used: found .*, expected ") as caught:
        read(tmp_path, edited(changes))
    assert "move it away and install anew" in caught.value.remedy

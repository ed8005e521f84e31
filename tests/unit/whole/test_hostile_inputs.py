"""Every hostile input through the real commands: a clear refusal that changes nothing, or a right result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soci_bootstrap.configfiles import toml
from soci_bootstrap.errors import BootstrapError
from tests.support.corpus.inputs import CASES
from tests.support.corpus.node_files import CONTAINERD, DIRECT, KUBELET, NODE, Case
from tests.support.corpus.outputs import OUTPUTS, READERS
from tests.support.hostile import Commands, edit, lay, no_hang, shape

READING = ("plan", "config")


@pytest.fixture
def commands(tmp_path, capsys, monkeypatch) -> Iterator[Commands]:
    with no_hang():
        yield Commands(tmp_path, capsys, monkeypatch)


def prepared(commands: Commands, case: Case) -> Path:
    root = lay(commands.root, case.base)
    if case.installed:
        assert commands.run("install").document["outcome"] == "installed"
    lay(root, case.files)
    for path, changes in case.edits.items():
        edit(Path(f"{root}{path}"), changes)
    return root


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_input(commands: Commands, case: Case) -> None:
    root = prepared(commands, case)
    before = shape(root)
    for command in READING:
        done = commands.run(command, *case.options, environ=case.environ)
        assert not done.reason.startswith("unexpected"), done.reason
        assert done.status in {0, 1, 3}
    assert shape(root) == before, "a command that only reads has changed the node"
    done = commands.run("install", *case.options, environ=case.environ)
    assert not done.reason.startswith("unexpected"), done.reason
    if case.problem is not None:
        assert (done.document["outcome"], done.status) == ("failed", 1)
        assert re.search(case.problem, done.reason), done.reason
        assert "hunter2" not in done.reason
        assert shape(root) == before, "a refusal has changed the node"
        return
    assert (done.document["outcome"], done.status) in {
        (outcome, 0) for outcome in ("installed", "changed", "unchanged")
    }, done.reason
    again = commands.run("plan", *case.options, environ=case.environ)
    assert again.document["steps"], again.reason
    assert [step for step in again.document["steps"] if step["changed"]] == []
    _users_own_is_kept(root, case)


def _users_own_is_kept(root: Path, case: Case) -> None:
    """What containerd's and kubelet's files said they say still."""
    files = {**case.base, **case.files}
    found = files.get(CONTAINERD)
    if isinstance(found, str) and not found.startswith("-> "):
        _contains(toml.loads(Path(f"{root}{CONTAINERD}").read_bytes(), "after"), toml.loads(found, "before"))
    found = files.get(KUBELET)
    if isinstance(found, str):
        _contains(json.loads(Path(f"{root}{KUBELET}").read_text()), json.loads(found))


def _contains(now: object, before: object) -> None:
    if isinstance(before, dict):
        assert isinstance(now, dict)
        for key, value in before.items():
            _contains(now[key], value)
    else:
        assert repr(now) == repr(before)


def test_the_corpus_is_not_empty_talk() -> None:
    """Its bases install, so that a refusal is the case's own doing; every kind is there."""
    assert len({case.name for case in CASES}) == len(CASES)
    kinds = {case.name.split(":")[0] for case in CASES}
    assert {"settings", "environment", "NodeConfig", "containerd", "kubelet", "record"} <= kinds
    assert sum(case.problem is None for case in CASES) >= len(CASES) // 3
    assert sum(case.problem is not None for case in CASES) >= len(CASES) // 3


@pytest.mark.parametrize("base", [NODE, DIRECT], ids=["nodeadm", "direct"])
def test_the_bases_install(commands: Commands, base) -> None:
    lay(commands.root, base)
    assert commands.run("install").document["outcome"] == "installed"
    assert commands.run("install").document["outcome"] == "unchanged"


@pytest.mark.parametrize("reader", READERS)
def test_outputs(tmp_path, reader: str) -> None:
    for name, output in OUTPUTS.items():
        (directory := tmp_path / name.replace("/", "_")).mkdir()
        with no_hang():
            refusal = _refusal(READERS[reader], directory, output)
        assert refusal is None or refusal.remedy, name


def _refusal(read: Callable[..., object], *arguments: object) -> BootstrapError | None:
    try:
        read(*arguments)
    except BootstrapError as error:
        return error
    return None

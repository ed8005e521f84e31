"""Building the real programs of nodes: locked, cached, resumed, with words that help, by a sham go."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path

import pytest

from tests.node.real import build, sets, toolchain
from tests.node.real.sets import SETS, ProgramSet
from tests.node.real.toolchain import BuildError

_GO = """\
#!/bin/sh
echo "$*" >>{log}
[ "$1" != "{fails}" ] || {{ echo "{words}" >&2; exit 1; }}
for word; do
    [ "$last" = -o ] && [ "${{word%/two.tmp}}" != "$word" ] && [ -e {log}.two-fails ] && exit 1
    [ "$last" != -o ] || {{ sleep 0.2; echo built >"$word"; }}
    last=$word
done
"""
_LOCK = """\
module real

tool (
	example.com/a/cmd/one
	example.com/a/cmd/two
)
"""


def quiet(text: str, lasting: bool) -> None:
    """Nobody listens."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a lock of two programs; a go that fails at nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sets, "HERE", tmp_path / "locks")
    (tmp_path / "locks/some-1.2").mkdir(parents=True)
    (tmp_path / "locks/some-1.2/go.mod").write_text(_LOCK)
    (tmp_path / "locks/some-1.2/go.sum").write_text("sums\n")
    use(tmp_path, monkeypatch)
    return tmp_path


def use(lab: Path, monkeypatch: pytest.MonkeyPatch, fails: str = "nothing", words: str = "") -> None:
    program = lab / "go"
    program.write_text(_GO.format(log=lab / "log", fails=fails, words=words))
    program.chmod(0o755)
    monkeypatch.setattr(toolchain, "go", lambda: program)
    monkeypatch.setattr(toolchain, "installed", lambda: True)


def calls(lab: Path) -> list[str]:
    """Each run of go by its first word and the package that it was asked for."""
    lines = [line.split() for line in (lab / "log").read_text().splitlines()]
    return [f"{words[0]} {words[-1].rpartition('/')[2]}" for words in lines]


SOME = ProgramSet("some-1.2", ("v.Version=v{version}",), gib=0)


def test_every_lock_is_complete() -> None:
    for each in SETS.values():
        assert each.programs, each.name
        sums = (each.folder / "go.sum").read_text()
        assert len(sums.splitlines()) > 10, each.name
        assert each.version in (each.folder / "go.mod").read_text(), each.name
    assert "--hash=sha256:" in sets.GO_LOCK.read_text()


def test_a_changed_lock_moves_its_own_set_alone(lab: Path) -> None:
    shutil.copytree(lab / "locks/some-1.2", lab / "locks/other-1")
    other = dataclasses.replace(SOME, name="other-1")
    before = SOME.place, other.place
    (lab / "locks/other-1/go.sum").write_text("other sums\n")
    assert SOME.place == before[0]
    assert other.place != before[1]


@pytest.mark.subprocess
def test_what_is_built_is_not_built_again(lab: Path) -> None:
    place = build.ensure(SOME, quiet)
    assert sorted(path.name for path in place.iterdir()) == ["one", "two"]
    assert calls(lab) == ["list two", "build one", "build two"]
    assert build.ensure(SOME, quiet) == place
    assert len(calls(lab)) == 3


@pytest.mark.subprocess
def test_one_program_of_a_set_can_be_built_alone(lab: Path) -> None:
    build.ensure(SOME, quiet, ["two"])
    assert calls(lab) == ["list two", "build two"]
    assert SOME.missing() == ["one"]
    assert SOME.missing(["two"]) == []


@pytest.mark.subprocess
def test_an_interrupted_build_goes_on_where_it_stopped(lab: Path) -> None:
    (lab / "log.two-fails").touch()
    with pytest.raises(BuildError):
        build.ensure(SOME, quiet)
    assert SOME.missing() == ["two"]
    (SOME.place / "two.tmp").write_text("half")
    (lab / "log.two-fails").unlink()
    (lab / "log").unlink()
    build.ensure(SOME, quiet)
    assert calls(lab) == ["list two", "build two"]
    assert not list(SOME.place.glob("*.tmp"))


@pytest.mark.subprocess
def test_two_at_once_build_once(lab: Path) -> None:
    said: list[str] = []
    threads = [
        threading.Thread(target=build.ensure, args=(SOME, lambda text, _: said.append(text))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(lab) == ["list two", "build one", "build two"]
    assert "some-1.2: waiting for another build of it" in said


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("go: a@v1: Get: dial tcp: lookup modules.test: no such host", "needs the network"),
        ("write x: no space left on device", "disk is full"),
        ("/usr/bin/ld: cannot find -lz", "zlib1g-dev"),
    ],
)
def test_a_failure_says_what_to_do(lab: Path, monkeypatch: pytest.MonkeyPatch, words: str, hint: str) -> None:
    use(lab, monkeypatch, "list", words)
    with pytest.raises(BuildError, match=hint) as error:
        build.ensure(SOME, quiet)
    assert words in str(error.value)


def test_too_little_disk_is_said_before_anything_is_fetched(lab: Path) -> None:
    with pytest.raises(BuildError, match=r"takes up to 1e\+06 GiB .* XDG_CACHE_HOME"):
        build.ensure(dataclasses.replace(SOME, gib=1_000_000), quiet)
    assert not (lab / "log").exists()


def test_settings_for_other_builds_are_not_taken_over(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GOFLAGS": "-tags=x", "GOROOT": "/other", "GOARCH": "arm", "GOPROXY": "kept"}.items():
        monkeypatch.setenv(name, value)
    found = toolchain.environment(cgo=False)
    assert found["GOPROXY"] == "kept"
    assert found["GOTOOLCHAIN"] == "local"
    assert found["CGO_ENABLED"] == "0"
    assert "x" not in found["GOFLAGS"]
    assert not {"GOROOT", "GOARCH"} & set(found)
    assert found["GOMODCACHE"].startswith(str(lab / "cache"))

"""scripts/bench: how figures are made of samples, told and drawn; measuring itself needs nodes."""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[3]))

from scripts.bench_lib import __main__ as bench
from scripts.bench_lib import at_boot, chart, figures, given, imports, inflate
from scripts.bench_lib.figures import Figure, Sample, figure, ratio, shown
from soci_bootstrap.errors import UsageError
from soci_bootstrap.fetch import release as release_
from tests.node.lab.soci.build import this_arch

RELEASE = f"soci-snapshotter-0.15.0-linux-{this_arch()}.tar.gz"


def rounds(*pairs: tuple[float, float]) -> figures.Rounds:
    return [{"a": Sample(a, 2 * a, 0), "b": Sample(b, b, 0)} for a, b in pairs]


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    # The medians' ratio would be 2 / 20: the slow round has both in it.
    found = ratio("p", "n", rounds((1, 2), (30, 60), (2, 20)), "a", "b", 0.6)
    assert (found.value, found.rounds, found.met) == (0.5, 3, True)
    assert ratio("p", "n", rounds((1, 2)), "a", "b", cpu=True).value == 1.0


@pytest.mark.parametrize(("value", "target", "met"), [(1.0, 1.0, True), (1.1, 1.0, False), (1.1, None, None)])
def test_a_target_is_the_most_that_is_allowed(value: float, target: float | None, met: bool | None) -> None:
    assert figure("p", "n", "x", [value], target).met is met


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [("x", 0.544, "0.54x"), ("ms", 512.4, "512 ms"), ("ms", 9.26, "9.3 ms"), ("MiB", 1.13, "1.1 MiB")],
)
def test_values_have_three_digits_or_so(unit: str, value: float, text: str) -> None:
    assert shown(Figure("p", "n", unit, value, value, value), value) == text


def test_the_table_says_what_was_not_met() -> None:
    lines = figures.table(
        [figure("p", "good", "x", [1, 2, 3], 2.0), figure("p", "bad", "ms", [7], 2.0)]
    ).splitlines()
    assert lines[2].split("|")[-4:-1] == ["      3 ", "   2.00x ", " met     "]
    assert "NOT MET" in lines[3]
    assert len({len(line) for line in lines}) == 1


def test_the_chart_is_xml_and_bars_end_with_it() -> None:
    found = [figure("p", "a < b & c", "x", [100.0], 1.0), figure("p", "half", "x", [0.5], 1.0)]
    root = ET.fromstring(chart.draw([*found, figure("p", "no target", "x", [1.0])], "here"))
    bars = [node for node in root if node.get("class") in ("met", "over")]
    assert [bar.get("class") for bar in bars] == ["over", "met"]
    tracks = [float(node.get("width", 0)) for node in root if node.get("class") == "track"]
    assert float(bars[0].get("width", 0)) == tracks[0]
    assert float(bars[1].get("width", 0)) < tracks[0] / 2


def archive(place: Path, name: str = RELEASE, member: str = "soci-snapshotter-grpc") -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"ELF"))
    (place / name).write_bytes(packed.getvalue())
    return place / name


def test_words_without_an_option_are_parts() -> None:
    asked = bench._parsed(["sizes", "--release", "r.tar.gz", "pull", "--json", "--svg", "a.svg"])
    assert (asked.parts, asked.release, asked.as_json, asked.svg) == (
        ["sizes", "pull"],
        "r.tar.gz",
        True,
        "a.svg",
    )
    assert bench._parsed([]).parts == list(bench._PARTS)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["pull", "--release"], "--release takes a file"),
        (["--release", "--json"], "--release takes a file"),
        (["--svg"], "--svg takes a file"),
        (["pul"], "unknown: pul"),
        (["pull", "--release", "soci.tar.gz"], "soci.tar.gz is no release for this machine by its name"),
    ],
)
def test_bad_usage_is_told_before_anything_is_measured(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(words)
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_without_a_release_pull_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bench, "_about", dict)
    reason = "needs a real release of SOCI: --release soci-snapshotter-V-linux-ARCH.tar.gz"
    assert bench.main(["pull", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"left_out": {"pull": reason}, "figures": []}
    assert bench.main(["pull"]) == 0
    assert f"left out: pull, which {reason}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "user", "release", "reason"),
    [
        ("pull", 0, "r.tar.gz", ""),
        ("pull", 1000, "r.tar.gz", "needs root"),
        ("boot", 1000, "", "needs root"),
        ("boot", 0, "", ""),
        ("sizes", 1000, "", ""),
    ],
)
def test_why_a_part_is_left_out(
    part: str, user: int, release: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert bench._why_not(part, release) == reason


def test_a_release_is_told_by_its_name_and_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path)
    release = given.opened(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (release.version, release.name, release.binary) == ("0.15.0", RELEASE, b"ELF")
    assert given.described(release) == f"{RELEASE}, sha256 {digest}, unpinned"
    monkeypatch.setitem(release_.PINNED, "0.15.0", {"amd64": digest})  # type: ignore[arg-type]
    assert given.described(release).endswith(", pinned as 0.15.0 amd64")


@pytest.mark.parametrize(
    ("name", "member", "problem"),
    [
        ("soci-snapshotter-0.15.0-linux-riscv64.tar.gz", "soci-snapshotter-grpc", "by its name"),
        (RELEASE.replace("0.15.0", "0.10.0"), "soci-snapshotter-grpc", "has no parallel pull"),
        (RELEASE, "soci", "can't be read"),
    ],
)
def test_what_is_no_release_is_refused(name: str, member: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=problem):
        given.opened(str(archive(tmp_path, name, member)))
    with pytest.raises(UsageError, match="can't be read"):
        given.opened(str(tmp_path / "none" / RELEASE))


def test_what_programs_for_nodes_import_is_there() -> None:
    """They are text, so that no linter follows when a module moves."""
    for program in (at_boot._PREFLIGHT, inflate._PLACE_OURS):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
    for name in imports._MODULES:
        importlib.import_module(f"soci_bootstrap.{name}")


def test_our_modules_are_counted_without_empty_faces(tmp_path: Path) -> None:
    told = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       123 |        123 |   soci_bootstrap.errors\n"
        "import time:       123 |        246 | soci_bootstrap\nsoci-bootstrap: done\n"
        "import time:         1 |          1 | json\n"
    )
    assert imports.imported(told) == {"soci_bootstrap", "soci_bootstrap.errors"}
    (tmp_path / "full").mkdir()
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "full" / "__init__.py").write_text('"""Text."""\nx = 1\n')
    for name in ("empty", "empty/inner"):
        (tmp_path / name / "__init__.py").write_text('"""Text."""\n')
    assert set(imports.faces(tmp_path)) == {"empty", "empty.inner"}

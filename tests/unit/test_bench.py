"""scripts/bench: how figures are made of samples, told and drawn; measuring itself needs nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.bench_lib import chart, figures
from scripts.bench_lib.figures import Figure, Sample, figure, ratio, shown


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

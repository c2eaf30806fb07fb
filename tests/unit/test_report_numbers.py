"""Numbers as people read them."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.gates.verdict import GateResult, Verdict
from gradatim.report import blocks, numbers
from gradatim.report.model import Curve, Severity, TimedModel
from gradatim.report.numbers import number_format
from gradatim.report.pictures import axes
from gradatim.report.pictures.gate import draw_gate, higher_is_better
from gradatim.report.pictures.latency import draw_distribution
from gradatim.report.pictures.robustness import common_extent, draw_curve
from gradatim.report.scale import Scale, extent, spread_apart
from gradatim.report.text import fitting, one_line, width_of
from gradatim.report.verdicts import detectable_text, gate_format


def parsed(xml: str | bytes) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 (our own)


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("value", "unit", "metric", "shown"),
    [
        (0.7954, "1", "recall[class=8]", "79.5 %"),
        (1.0, "1", "accuracy", "100.0 %"),
        (0.99971, "1", "accuracy", "99.97 %"),
        (0.0002, "1", "negative_flips", "0.02 %"),
        (0.0, "1", "negative_flips", "0.0 %"),
        (0.91, "1", "f1_macro", "91.0 %"),
        (0.0421, "nat", "log_loss", "0.0421 nat"),
        (0.9987, "1", "roc_auc[class=8]", "99.9 %"),
        (0.31, "1", "recall_at_5", "31.0 %"),
        (0.31, "1", "my_own", "0.310"),
        (12.345, "1", "perplexity", "12.3"),
        (0.00124, "s", "latency_p50", "1.24 ms"),
        (9.9996e-4, "s", "latency_p50", "1.00 ms"),
        (505e-9, "s", "latency_p50", "505 ns"),
        (0.0, "s", "latency_p50", "0 s"),
        (369_000, "B", "size", "369 kB"),
        (999, "B", "size", "999 B"),
        (1_204_331, "B", "size", "1.20 MB"),
        (0.417, "s/s", "latency_p50", "-58.3 %"),
        (1.0004, "s/s", "latency_p50", "+0.04 %"),
        (1234.0, "1/s", "throughput", "1 234 /s"),
        (94_410, "count", "parameters", "94.4 k"),
        (3.5, "J", "energy", "3.50 J"),
        (None, "1", "accuracy", "\u2013"),
    ],
)
def test_a_number_is_written_as_people_write_it(
    value: float | None, unit: str, metric: str, shown: str
) -> None:
    assert plain(numbers.number_format([value], unit, metric)(value)) == shown


def test_a_difference_of_shares_is_told_in_points() -> None:
    form = numbers.number_format([0.0084, 0.001, 0.018], "1", "accuracy", difference=True)
    assert plain(form.estimate(0.0084, 0.001, 0.018)) == "+0.8 points (+0.1 .. +1.8)"


def test_a_relative_difference_is_told_in_per_cent_of_the_baseline() -> None:
    gate = GateResult(
        "latency_p50",
        "latency_p50",
        Verdict.PASS,
        "v",
        "not slower",
        "t",
        -0.583,
        -0.591,
        -0.574,
        0.03,
        baseline=1.21e-3,
        candidate=5.05e-4,
        detectable=0.008,
    )
    assert plain(gate_format(gate).estimate(gate.value, gate.low, gate.high)) == "-58.3 % (-59.1 .. -57.4)"
    assert plain(detectable_text(gate)) == "0.8 %"


def test_a_size_held_against_the_baseline_is_told_in_bytes() -> None:
    gate = GateResult(
        "size", "size", Verdict.PASS, "v", "w", "t", 1e5, threshold=4e5, unit="B", baseline=4e5, candidate=1e5
    )
    assert plain(gate_format(gate)(gate.value)) == "100 kB"
    assert not higher_is_better(gate)


def test_an_interval_shares_the_unit_and_the_digits_of_its_value() -> None:
    form = numbers.number_format([0.00121, 0.00098, 0.0015], "s")
    assert plain(form.estimate(0.00121, 0.00098, 0.0015)) == "1.21 ms (0.98 .. 1.50)"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.01, "10 ms"), (0.2, "0.2 s"), (9.96, "10 s"), (41, "41 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")],
)
def test_a_wait_is_written_as_people_say_it(seconds: float, shown: str) -> None:
    assert plain(numbers.duration(seconds)) == shown


def test_a_bound_loses_its_needless_zeros() -> None:
    assert plain(numbers.NumberFormat(100.0, decimals=1, suffix="%").short(0.9)) == "90 %"
    assert plain(numbers.NumberFormat(100.0, decimals=1, suffix="%").short(0.995)) == "99.5 %"


def test_a_digest_is_shortened_and_a_name_is_not() -> None:
    assert numbers.digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert numbers.digest("v1.0.0") == "v1.0.0"


@given(
    finite,
    st.sampled_from(["1", "s", "B", "s/s", "1/s", "count", "J"]),
    st.sampled_from(["accuracy", "mae", ""]),
)
def test_any_number_can_be_written(value: float, unit: str, metric: str) -> None:
    shown = numbers.number_format([value], unit, metric)(value)
    assert shown
    assert "nan" not in shown
    assert "e+" not in shown or abs(value) > 1e15


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_no_axis_of_shares_goes_beyond_all_or_below_none(values: list[float]) -> None:
    low, high = extent(values, share=True)
    assert 0 <= low < high <= 1
    assert low <= min(values)
    assert high >= max(values)


@given(finite, finite, st.integers(2, 9))
def test_ticks_lie_inside_the_axis_and_are_few(one: float, other: float, about: int) -> None:
    low, high = extent([one, other])
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        return
    ticks = Scale(low, high, 0, 100).ticks(about)
    room = (high - low) * 1e-6
    assert all(low - room <= tick <= high + room for tick in ticks)
    assert len(ticks) <= 2 * about + 2


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_are_kept_apart(wanted: list[float]) -> None:
    placed = sorted(spread_apart(wanted, 10, 0, 100))
    assert all(after - before >= 10 - 1e-9 for before, after in pairwise(placed))
    assert placed[0] >= -1e-9
    assert placed[-1] <= 100 + 1e-9


@given(st.text(max_size=400), st.floats(20, 300))
def test_any_name_is_made_to_fit(text: str, width: float) -> None:
    assert width_of(fitting(text, width)) <= width + 12
    line = one_line(text)
    assert "\n" not in line
    parsed(ET.tostring(ET.Element("a", name=line)))


@given(
    finite,
    st.none() | finite,
    st.none() | finite,
    finite,
    st.sampled_from(Verdict),
    st.sampled_from(["1", "s", "s/s", "B"]),
)
def test_any_gate_can_be_drawn(
    value: float, low: float | None, high: float | None, threshold: float, verdict: Verdict, unit: str
) -> None:
    gate = GateResult("g", "accuracy", verdict, "v", "at least 1", "t", value, low, high, threshold, unit)
    root = parsed(draw_gate(gate, "g"))
    for element in root.iter("circle"):
        assert 0 <= float(element.get("cx", "nan")) <= 232


@pytest.mark.parametrize(
    ("verdict", "value", "threshold", "unit", "wanted", "higher"),
    [
        (Verdict.PASS, 0.95, 0.9, "1", "at least 90 %", True),
        (Verdict.FAIL, 0.85, 0.9, "1", "at least 90 %", True),
        (Verdict.FAIL, 0.02, 0.01, "1", "at most 1 %", False),
        (Verdict.INCONCLUSIVE, 0.008, 0.01, "1", "at most 1 %", False),
        (Verdict.INCONCLUSIVE, 0.93, 0.9, "1", "at least 90 %", True),
        (Verdict.INCONCLUSIVE, 1.01, 1.03, "s/s", "not slower", False),
    ],
)
def test_the_passing_side_of_a_threshold_is_known(
    verdict: Verdict, value: float, threshold: float, unit: str, wanted: str, higher: bool
) -> None:
    gate = GateResult("g", "negative_flips", verdict, "v", wanted, "t", value, threshold=threshold, unit=unit)
    assert higher_is_better(gate) is higher


def test_blocks_draw_what_they_are_told() -> None:
    assert blocks.bar(0.5) == "█████"
    assert blocks.bar(0.0001) == "▏"
    assert blocks.spark([0, 1, 2]) == "▁▅█"
    assert blocks.spark([]) == ""
    assert blocks.whisker(0.5, 0.25, 0.75, (0.0, 1.0), 0.0, 9) == "┆ ├─●─┤  "
    assert math.isclose(len(blocks.whisker(5.0, None, None, (1.0, 1.0))), 40)


def test_times_far_apart_are_written_each_in_its_own_unit() -> None:
    calls = TimedModel("original", {"p50": 7e-6}, ((6.9e-6, 0.01), (7.5e-6, 0.98), (2.1e-2, 1.0)), 1000)
    written = re.findall(r">([\d.]+) (µs|ms)<", plain(draw_distribution([calls])))
    assert ("10", "µs") in written
    assert ("1", "ms") in written
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("value", [1.0, 0.123, 1234.5])
def test_the_last_value_of_a_curve_is_not_cut_off(value: float) -> None:
    unit = "1" if value <= 1 else "nat"
    curve = Curve("contrast", tuple(Severity(n, value) for n in range(6)), "accuracy", unit)
    root = parsed(draw_curve(curve, "robustness-1", common_extent([curve])))
    (last,) = [each for each in root.iter("text") if each.get("class") == "candidate small strong"]
    assert float(last.get("x", "0")) + width_of("".join(last.itertext()), 12) <= float(root.get("width", "0"))


@pytest.mark.parametrize(
    ("low", "high", "unit"),
    [(0.3609, 0.363, "s/s"), (0.98, 1.4, "s/s"), (66_900.0, 67_100.0, "B"), (0.0004, 0.9, "s")],
)
def test_no_two_ticks_of_an_axis_say_the_same(low: float, high: float, unit: str) -> None:
    scale = Scale(low, high, 0, 100)
    write = axes.tick_format(scale, number_format([low, high], unit))
    told = [write(tick) for tick in scale.ticks()]
    assert len(set(told)) == len(told)

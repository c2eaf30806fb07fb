"""The ranges that leave outliers out, beside what they stand for done the long way: numbers really rounded, really counted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.compression.ranges import RANGES, _histogram, _values

PARTS = 0.5 ** (np.arange(40) / 4)
Numbers = NDArray[np.float64]


def tails(seed: int, kind: str) -> Numbers:
    draw = np.random.default_rng(seed)
    found: Numbers = {
        "laplace": draw.laplace(0, 1, 5_000),
        "far": np.r_[draw.normal(0, 1, 20_000), 60.0, -35.0],
        "one side": np.abs(draw.standard_t(3, 20_000)),
    }[kind]
    return found


def ends(kind: str, numbers: Numbers) -> tuple[float, float]:
    low, high = min(0.0, numbers.min()), max(0.0, numbers.max())
    counts, values = _histogram(numbers, max(-low, high)), _values() * max(-low, high)
    return RANGES[kind](counts[counts > 0], values[counts > 0], low, high)


def lost_by_rounding(numbers: Numbers, low: float, high: float) -> float:
    step = (high - low) / 255
    rounded = np.clip(np.rint((numbers - low) / step), 0, 255) * step + low
    return float(((rounded - numbers) ** 2).mean())


@pytest.mark.parametrize("kind", ["laplace", "far", "one side"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_least_squares_range_loses_least_of_what_is_really_rounded(seed: int, kind: str) -> None:
    numbers = tails(seed, kind)
    low, high = numbers.min(), numbers.max()
    lows = [low * part for part in PARTS[:24:2]] if low < 0 else [0.0]
    least = min(lost_by_rounding(numbers, a, high * part) for a in lows for part in PARTS[:24:2])
    found = lost_by_rounding(numbers, *ends("mse", numbers))
    assert found <= 1.05 * least


@pytest.mark.parametrize("kind", ["laplace", "far", "one side"])
def test_the_percentile_range_leaves_out_what_it_says(kind: str) -> None:
    numbers = tails(3, kind)
    low, high = ends("percentile", numbers)
    width = 4e-3 * np.abs(numbers).max()  # of the outermost bins
    assert (numbers > high + width).mean() <= 5e-5 >= (numbers < low - width).mean()
    assert (numbers > high - width).mean() >= 5e-5
    assert low == 0.0 if kind == "one side" else (numbers < low + width).mean() >= 5e-5


def told_apart(numbers: Numbers, low: float, high: float) -> float:
    """Kullback and Leibler's divergence of what was counted from what is left of it, bin by bin."""
    largest = np.abs(numbers).max()
    whole: dict[int, float] = {}
    for value, count in zip(_values() * largest, _histogram(numbers, largest), strict=True):
        if count and low <= value <= high:
            whole[len(whole)] = float(count)
    inside = [v for v, n in zip(_values() * largest, _histogram(numbers, largest), strict=True) if n and low <= v <= high]  # fmt: skip
    levels = [round((value - low) / ((high - low) / 255)) for value in inside]
    widths = [np.sqrt(abs(value)) + 1e-9 for value in inside]
    mass, room = dict.fromkeys(levels, 0.0), dict.fromkeys(levels, 0.0)
    for place, level in enumerate(levels):
        mass[level] += whole[place]
        room[level] += widths[place]
    left = [mass[level] * width / room[level] for level, width in zip(levels, widths, strict=True)]
    counts, values = _histogram(numbers, largest), _values() * largest
    whole[0] += float(counts[values < low].sum())
    whole[len(inside) - 1] += float(counts[values > high].sum())
    total = sum(whole.values())
    return sum(n * np.log(n / total * sum(left) / q) for n, q in zip(whole.values(), left, strict=True))


@pytest.mark.parametrize("kind", ["laplace", "far", "one side"])
def test_no_step_of_either_end_tells_more_than_the_range_by_entropy(kind: str) -> None:
    numbers = tails(4, kind)
    low, high = ends("entropy", numbers)
    least = told_apart(numbers, low, high)
    assert least <= told_apart(numbers, min(0.0, numbers.min()), numbers.max())
    for step in (0.5**0.25, 2**0.25):
        assert low * step < numbers.min() or least <= told_apart(numbers, low * step, high) + 1e-9
        assert high * step > numbers.max() or least <= told_apart(numbers, low, high * step) + 1e-9

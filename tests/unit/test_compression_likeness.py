"""How alike outputs are, beside numpy's own answers for each item alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.compression.fidelity import Fidelity
from gradatim.compression.parity import check_parity
from gradatim.errors import InvalidInput

Numbers = NDArray[np.float64]


def alone(exact: Numbers, near: Numbers) -> dict[str, float]:
    """The three measures of one output, item by item."""
    pairs = [
        (a, b)
        for a, b in zip(exact.reshape(-1, exact.shape[-1]), near.reshape(-1, exact.shape[-1]), strict=True)
    ]
    cosines = [
        1.0 if not a.any() and not b.any() else 0.0 if not a.any() or not b.any() else a @ b / np.sqrt((a @ a) * (b @ b))
        for a, b in pairs
    ]  # fmt: skip
    explained = 1 - ((exact - near) ** 2).sum() / ((exact - exact.mean()) ** 2).sum()
    same = [list(a).index(max(a)) == list(b).index(max(b)) for a, b in pairs]
    return {"fidelity": explained, "cosine": np.mean(cosines), "agreement": np.mean(same)}


@pytest.mark.parametrize("seed", range(6))
def test_likeness_is_that_of_all_items_together_whatever_the_batches(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shape = [(40, 3), (12, 5, 4), (30, 2)][seed % 3]
    exact = draw.normal(2, 1, shape)
    near = exact + draw.normal(0, 10.0 ** -draw.integers(0, 3), shape)
    exact[3], near[3], near[5], exact[7] = 0, 0, 0, 0
    found, parts = Fidelity(), np.array_split(np.arange(len(exact)), 3)
    for part in parts:
        found.add({"y": exact[part]}, {"y": near[part]})
    assert found.result() == pytest.approx(alone(exact, near), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_difference_is_a_part_of_the_largest_number_and_a_thousandth_is_the_most(scale: float) -> None:
    exact = scale * np.array([1.0, -4.0, 0.5])
    for part in (1e-5, 9.9e-4):
        other = np.add(exact, [4 * scale * part, 0, 0])
        assert check_parity(lambda _: {"y": exact}, lambda _, o=other: {"y": o}, [{"x": exact}]) == pytest.approx(part)  # type: ignore[misc]  # fmt: skip
    with pytest.raises(InvalidInput, match=r"differ by up to 0\.001"):
        check_parity(
            lambda _: {"y": exact}, lambda _: {"y": np.add(exact, [0, 0, 4.05e-3 * scale])}, [{"x": exact}]
        )

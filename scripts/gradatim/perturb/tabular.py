"""Corrupted table rows: float64 [b, features] in, the same out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.perturb.catalogue import TABULAR
from gradatim.perturb.modality import Reference
from gradatim.perturb.randomness import Dice
from gradatim.perturb.single import in_a_file

Rows = NDArray[np.float64]


def corrupt_rows(rows: Rows, reference: Reference | None, dice: Dice) -> Rows:
    """Apply one corruption of the catalogue; a single feature has none to be swapped with and stays.

    Raises:
        InvalidInput: there is no reference for the spread of the features, or it has another number of them.
    """
    if reference is None:
        raise InvalidInput(
            f"The perturbation `{dice.corruption}` needs the spread of the features: measure it on the calibration or evaluation data with fit_reference."
        )
    features = rows.shape[1]
    if len(reference.mean) != features:
        raise InvalidInput(f"The rows have {features} features, their reference has {len(reference.mean)}.")
    level = TABULAR[dice.corruption][dice.severity - 1]
    if (alone := in_a_file(dice.corruption)) is not None:
        return np.asarray(alone(rows, level, dice))
    if dice.corruption == "feature_noise":
        return rows + level * reference.deviation * dice.normal((features,))
    if dice.corruption == "column_swap":
        return _swapped(rows, level, dice)
    hit = dice.uniform((features,)) < level
    if dice.corruption == "missing_values":
        return np.where(hit, reference.mean, rows)
    chance = dice.uniform((features,), part=1)
    sign = np.where(dice.uniform((features,), part=2) < 0.5, -1.0, 1.0)
    if dice.corruption == "unit_error":
        powers = sign * np.floor(1 + 3 * chance)
        return np.where(hit, rows * 10.0**powers, rows)
    return np.where(hit, reference.mean + sign * (5 + 5 * chance) * reference.deviation, rows)


def _swapped(rows: Rows, level: float, dice: Dice) -> Rows:
    features = rows.shape[1]
    if features < 2:
        return rows.copy()
    hit, one, other = dice.uniform((3,)).T
    first = (one * features).astype(int)
    second = (first + 1 + (other * (features - 1)).astype(int)) % features
    swapped = rows.copy()
    chosen = np.flatnonzero(hit < level)
    swapped[chosen, first[chosen]] = rows[chosen, second[chosen]]
    swapped[chosen, second[chosen]] = rows[chosen, first[chosen]]
    return swapped
